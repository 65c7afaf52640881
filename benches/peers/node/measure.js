// What the drivers of both queues share: the arguments, the worker processes, the clock and the line of
// JSON that is their answer. The contract is in ../README.md.

import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** The arguments, all of them whole numbers. */
export function settings() {
  const number = { type: 'string' };
  const options = { jobs: number, chunk: number, processes: number, concurrency: number, batch: number };
  const { values } = parseArgs({ options });
  const entries = Object.keys(options).map((name) => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 1) {
      throw new Error(`--${name} must be a whole number from 1, and is ${values[name]}`);
    }
    return [name, value];
  });
  return Object.fromEntries(entries);
}

export const databaseUrl = process.env.DATABASE_URL;

/** Whether this process is one of the workers that `drain` starts. */
export const isWorker = process.send !== undefined;

/** The payloads of all jobs, in chunks that are enqueued with one call each. */
export function chunks({ jobs, chunk }) {
  const all = [];
  for (let first = 0; first < jobs; first += chunk) {
    const length = Math.min(chunk, jobs - first);
    all.push(Array.from({ length }, (_, offset) => ({ n: first + offset })));
  }
  return all;
}

/** Seconds that a piece of work takes. */
export async function timed(work) {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) / 1000;
}

/**
 * A worker's side: it gets ready, says so, waits for the start, works, and tells every few milliseconds
 * how many jobs its handler has had, and the sum of their numbers.
 */
export async function work(ready) {
  const done = { count: 0, sum: 0 };
  const begin = await ready((job) => {
    done.count += 1;
    done.sum += job.n;
  });
  const started = new Promise((resolve) => process.once('message', resolve));
  process.send('ready');
  await started;
  setInterval(() => process.send(done), 5);
  await begin();
}

/**
 * Starts the workers and waits until they are ready; then seconds from their start until the database
 * holds no unfinished job. It is asked only once the handlers have had all jobs.
 */
export async function drain({ jobs, processes }, unfinished) {
  const workers = Array.from({ length: processes }, () =>
    fork(process.argv[1], process.argv.slice(2)),
  );
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))));
  const reports = workers.map(() => ({ count: 0, sum: 0 }));
  const total = (name) => reports.reduce((sum, report) => sum + report[name], 0);
  const seconds = await timed(async () => {
    await new Promise((resolve, reject) => {
      workers.forEach((worker, index) => {
        worker.on('message', (report) => {
          reports[index] = report;
          if (total('count') >= jobs) resolve();
        });
        worker.on('exit', (code) => reject(new Error(`a worker ended with ${code}`)));
        worker.send('start');
      });
    });
    while ((await unfinished()) > 0) await new Promise((resolve) => setTimeout(resolve, 2));
  });
  workers.forEach((worker) => worker.removeAllListeners('exit').kill('SIGKILL'));
  if (total('count') !== jobs || total('sum') !== (jobs * (jobs - 1)) / 2) {
    throw new Error(`the handlers had ${total('count')} jobs instead of ${jobs}, or not each once`);
  }
  return seconds;
}

/** The version of an installed package, as it says itself. */
export function versionOf(name) {
  const place = new URL(`node_modules/${name}/package.json`, import.meta.url);
  return JSON.parse(readFileSync(fileURLToPath(place))).version;
}

/** Prints the answer. */
export function answer(peer, { jobs }, settingsInWords, enqueued, drained, finishedJobs) {
  const line = {
    peer,
    version: versionOf(peer),
    settings: settingsInWords,
    jobs,
    enqueue_per_s: jobs / enqueued,
    drain_per_s: jobs / drained,
    keeps_finished: finishedJobs === 'kept',
    finished_jobs: finishedJobs,
  };
  console.log(JSON.stringify(line));
}
