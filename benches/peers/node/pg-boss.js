// Drives pg-boss; why it is set as it is, says ../README.md.

import pg from 'pg';
import { PgBoss } from 'pg-boss';

import { answer, chunks, databaseUrl, drain, isWorker, settings, timed, work } from './measure.js';

const set = settings();
const queue = 'noop';

async function started(max) {
  const boss = new PgBoss({ connectionString: databaseUrl, max });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  return boss;
}

if (isWorker) {
  await work(async (handled) => {
    const boss = await started(set.concurrency + 2);
    const options = {
      batchSize: set.batch,
      localConcurrency: set.concurrency,
      burstWhenBatchFull: true,
      pollingIntervalSeconds: 0.5,
    };
    return () => boss.work(queue, options, async (jobs) => jobs.forEach((job) => handled(job.data)));
  });
} else {
  const boss = await started(2);
  await boss.createQueue(queue);
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 1 });
  const count = async (condition) => {
    const { rows } = await pool.query(`SELECT count(*)::int AS n FROM pgboss.job WHERE ${condition}`);
    return rows[0].n;
  };

  const enqueued = await timed(async () => {
    for (const chunk of chunks(set)) {
      await boss.insert(queue, chunk.map((data) => ({ data })));
    }
  });
  const drained = await drain(set, () => count(`name = '${queue}' AND state < 'completed'`));
  const completed = await count(`name = '${queue}' AND state = 'completed'`);
  if (completed !== set.jobs) throw new Error(`${completed} jobs are completed instead of ${set.jobs}`);

  const words =
    `${set.processes} × localConcurrency ${set.concurrency}, batchSize ${set.batch}, ` +
    `burstWhenBatchFull, insert of ${set.chunk}`;
  answer('pg-boss', set, words, enqueued, drained, 'kept');
  process.exit();
}
