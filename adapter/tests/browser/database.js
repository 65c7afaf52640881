// A test's own PostgreSQL database, and what stands in it: read beside the server, so that a test sees
// what is stored and not what is shown.

import { randomBytes } from "node:crypto";
import pg from "pg";
import { until } from "./waiting.js";

const SERVER = process.env.DATABASE_URL;

export class Database {
  static async create() {
    if (!SERVER) throw new Error("DATABASE_URL names no PostgreSQL server: run `cargo xtask browser`, which starts one");
    const name = `andon_browser_${randomBytes(8).toString("hex")}`;
    await onServer(`CREATE DATABASE ${name}`);
    const url = new URL(SERVER);
    url.pathname = `/${name}`;
    return new Database(name, url.href);
  }

  constructor(name, url) {
    this.name = name;
    this.url = url;
    this.pool = new pg.Pool({ connectionString: url, max: 4 });
    // Dropping the database ends idle connections, which is no error.
    this.pool.on("error", () => {});
  }

  async rows(sql, values = []) {
    return (await this.pool.query(sql, values)).rows;
  }

  /** The queue's row: state, epoch, version. */
  async queue() {
    const [row] = await this.rows("SELECT state, epoch::int, version::int FROM andon_queue");
    return row;
  }

  /** A breaker's state: closed, open or half_open. */
  async breaker(service) {
    const [row] = await this.rows("SELECT state FROM andon_breakers WHERE service = $1", [service]);
    return row?.state;
  }

  /** How many jobs are in each stage. Stages are stored, statuses are derived (D1, D2). */
  async jobs() {
    const rows = await this.rows("SELECT stage, count(*)::int AS n FROM andon_jobs GROUP BY stage");
    return Object.fromEntries(rows.map(({ stage, n }) => [stage, n]));
  }

  /** The stage of each campaign, by name. */
  async campaigns() {
    const rows = await this.rows("SELECT name, stage FROM andon_campaigns");
    return Object.fromEntries(rows.map(({ name, stage }) => [name, stage]));
  }

  /** The journal, oldest first; of some kinds, if told. */
  async journal(...kinds) {
    return this.rows(
      `SELECT seq::int, at, version::int, epoch::int, actor, reason, kind, service, event FROM andon_journal
       WHERE cardinality($1::text[]) = 0 OR kind = ANY($1) ORDER BY seq`,
      [kinds],
    );
  }

  /** The gate and the campaigns as they are stored: two of them are equal iff nothing was changed. */
  async facts() {
    const facts = {};
    for (const table of ["andon_queue", "andon_breakers", "andon_campaigns"]) {
      facts[table] = await this.rows(`SELECT * FROM ${table} AS t ORDER BY t::text`);
    }
    // The last time seen moves with everything that is asked, and changes nothing.
    for (const queue of facts.andon_queue) delete queue.last_seen;
    return facts;
  }

  untilQueue(state) {
    return until(`the stored queue is ${state}`, async () => (await this.queue()).state === state);
  }

  async drop() {
    await this.pool.end();
    await onServer(`DROP DATABASE ${this.name} WITH (FORCE)`);
  }
}

async function onServer(sql) {
  const client = new pg.Client({ connectionString: SERVER });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
