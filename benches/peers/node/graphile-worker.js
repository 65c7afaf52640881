// Drives graphile-worker; why it is set as it is, says ../README.md.

import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import pg from 'pg';

import { answer, chunks, databaseUrl, drain, isWorker, settings, timed, work } from './measure.js';

const set = settings();
const logger = new Logger(() => (level, message) => {
  if (level === 'error') console.error(message);
});

if (isWorker) {
  await work(async (handled) => {
    const maxPoolSize = set.concurrency + 1;
    const pgPool = new pg.Pool({ connectionString: databaseUrl, max: maxPoolSize });
    pgPool.on('error', (error) => console.error(error));
    pgPool.on('connect', (client) => client.on('error', (error) => console.error(error)));
    await pgPool.query('SELECT 1');
    const worker = {
      concurrentJobs: set.concurrency,
      maxPoolSize,
      localQueue: { size: set.batch },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
      logger,
    };
    return () => run({ pgPool, preset: { worker }, taskList: { noop: async (payload) => handled(payload) } });
  });
} else {
  const utils = await makeWorkerUtils({ connectionString: databaseUrl, logger });
  await utils.migrate();
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 1 });
  const unfinished = async () => {
    const { rows } = await pool.query('SELECT count(*)::int AS n FROM graphile_worker.jobs');
    return rows[0].n;
  };

  const enqueued = await timed(async () => {
    for (const chunk of chunks(set)) {
      await utils.addJobs(chunk.map((payload) => ({ identifier: 'noop', payload })));
    }
  });
  if ((await unfinished()) !== set.jobs) throw new Error('not all jobs were enqueued');

  const drained = await drain(set, unfinished);
  const words =
    `${set.processes} × concurrentJobs ${set.concurrency}, localQueue.size ${set.batch}, ` +
    `completeJobBatchDelay 0, addJobs of ${set.chunk}`;
  answer('graphile-worker', set, words, enqueued, drained, 'deleted');
  process.exit();
}
