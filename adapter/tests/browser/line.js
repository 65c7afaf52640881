// A line: `andon serve` and `andon worker` as real processes, on a database of their own.

import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Database } from "./database.js";
import { PATIENCE } from "./waiting.js";

const ANDON = process.env.ANDON_BINARY;

/** The services of a lead-generation line. */
export const SERVICES = ["apollo", "instantly", "millionverifier", "openai", "perplexity"];

/** A token for the configuration, and what a person pastes. */
export function token(name, role) {
  const secret = randomBytes(32).toString("hex");
  return { name, role, secret, sha256: createHash("sha256").update(secret).digest("hex") };
}

export class Line {
  #processes = new Set();

  /** A server with these tokens, whose services are all played by the vendor. */
  static async start({ vendor, tokens = [] }) {
    if (!ANDON) throw new Error("ANDON_BINARY names no program: run `cargo xtask browser`, which builds it");
    const folder = await mkdtemp(join(tmpdir(), "andon-browser-"));
    const line = new Line(folder, await Database.create(), vendor, tokens);
    try {
      await line.configure(tokens);
      await line.serve("127.0.0.1:0");
    } catch (error) {
      await line.stop();
      throw error;
    }
    return line;
  }

  constructor(folder, database, vendor, tokens) {
    this.folder = folder;
    this.database = database;
    this.vendor = vendor;
    this.tokens = tokens;
  }

  /** Writes the configuration, with these tokens. */
  async configure(tokens) {
    const services = SERVICES.map((name) => `[services.${name}]\nbase_url = "${this.vendor.url}/${name}"\ndeadline = "10s"\n`);
    const entries = tokens.map(({ name, role, sha256 }) => `[[tokens]]\nname = "${name}"\nrole = "${role}"\nsha256 = "${sha256}"\n`);
    await writeFile(join(this.folder, "andon.toml"), [...services, ...entries].join("\n"));
  }

  /** Starts the server on this address, and waits until it says that it listens. */
  async serve(address) {
    this.server = this.#spawn("serve", "--listen", address, "--database", this.database.url);
    const lines = createInterface({ input: this.server.stdout });
    const said = once(lines, "line", { signal: AbortSignal.timeout(PATIENCE) });
    const ended = once(this.server, "exit").then(([code]) => {
      throw new Error(`the server ended with ${code}: ${this.server.complaints}`);
    });
    const [line] = await Promise.race([said, ended]);
    ended.catch(() => {});
    this.url = line.replace("listening on ", "");
  }

  /** Kills the server with no chance to say goodbye. */
  async kill() {
    await end(this.server);
  }

  /** Starts it again where it was. */
  async restart() {
    await this.serve(new URL(this.url).host);
  }

  /** Stops the server's process without ending it: nothing answers, and no connection is closed. */
  freeze() {
    this.server.kill("SIGSTOP");
  }

  /** Lets it go on. */
  thaw() {
    this.server.kill("SIGCONT");
  }

  /** A worker that makes the calls of jobs of kind `http`. */
  worker(name) {
    const worker = this.#spawn("worker", "--server", this.url, "--name", name, "--concurrency", "2");
    return { stop: () => end(worker) };
  }

  /** Asks the API, as the first of the tokens if there are any; answers `data`. */
  async api(method, path, body) {
    const headers = { "content-type": "application/json" };
    if (this.tokens.length > 0) headers.authorization = `Bearer ${this.tokens[0].secret}`;
    const request = { method, headers, body: body && JSON.stringify(body) };
    const response = await fetch(`${this.url}/api/v1${path}`, request);
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return JSON.parse(text).data;
  }

  /** A campaign of calls to these services, one job each; started. */
  async campaign(name, services) {
    const id = await this.created(name, services);
    await this.api("POST", `/campaigns/${id}/start`, { reason: "as planned" });
    return id;
  }

  /** A campaign of calls to these services, one job each; not started. */
  async created(name, services) {
    const jobs = services.map((service, n) => ({ kind: "http", payload: { service, method: "POST", path: `/${n}`, body: { lead: n } } }));
    const { id } = await this.api("POST", "/campaigns", { name, jobs });
    return id;
  }

  async stop() {
    await Promise.all([...this.#processes].map(end));
    await this.database.drop();
    await rm(this.folder, { recursive: true });
  }

  #spawn(...args) {
    const variables = Object.entries(process.env).filter(([name]) => !name.startsWith("ANDON_"));
    const child = spawn(ANDON, args, { cwd: this.folder, env: Object.fromEntries(variables), stdio: ["ignore", "pipe", "pipe"] });
    child.complaints = "";
    child.stderr.on("data", (text) => (child.complaints = (child.complaints + text).slice(-4000)));
    if (args[0] === "worker") child.stdout.resume();
    this.#processes.add(child);
    return child;
  }
}

async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}
