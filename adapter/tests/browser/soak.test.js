// A page that stays open while something happens all the time needs no more memory in the end than in the
// beginning. The length is ANDON_SOAK_SECONDS: short among the tests, and as long as one likes with
// `cargo xtask browser --soak`.

import assert from "node:assert/strict";
import { reads, seesLine } from "./screen.js";
import { story } from "./story.js";

const SECONDS = Number(process.env.ANDON_SOAK_SECONDS ?? 20);

/** Between two events. */
const PAUSE = 100;

/** How many times memory is looked at. */
const LOOKS = Math.max(10, Math.min(SECONDS, 240));

/** By how much the second half may exceed the first. */
const GROWTH = 1.2;

/** How many times in a row each look is taken. */
const TRIES = 5;

/** What the page holds once its garbage is collected, and no page that was fetched is just being read. */
async function holds(devtools) {
  const tries = [];
  while (tries.length < TRIES) {
    await devtools.send("HeapProfiler.collectGarbage");
    const { metrics } = await devtools.send("Performance.getMetrics");
    tries.push(Object.fromEntries(metrics.map(({ name, value }) => [name, value])));
  }
  const least = (name) => Math.min(...tries.map((one) => one[name]));
  return { nodes: least("Nodes"), heap: least("JSHeapUsedSize"), listeners: least("JSEventListeners") };
}

/** The charts show an hour. One that fills up adds a row for each sample until it holds so many: begin with it full. */
const AN_HOUR_OF_SAMPLES = `
  INSERT INTO andon_samples
  SELECT '00000000-0000-0000-0000-000000000000', 'fine',
    to_timestamp(floor(extract(epoch FROM now()) / 30) * 30) - n * interval '30 seconds',
    2, 0, 0, 0, 0, 0, 0, n % 2 = 0
  FROM generate_series(1, 125) AS n ON CONFLICT DO NOTHING`;

/** Counts the streams of events that are open. */
function streamsOf(context) {
  const streams = { open: 0, most: 0, begun: 0 };
  const isOne = (request) => request.url().endsWith("/events");
  const end = (request) => (streams.open -= isOne(request));
  context.on("request", (request) => {
    streams.open += isOne(request);
    streams.begun += isOne(request);
    streams.most = Math.max(streams.most, streams.open);
  });
  context.on("requestfinished", end);
  context.on("requestfailed", end);
  return streams;
}

/** Makes the line change, every so often, until it is told to stop. */
function keepHappening(line) {
  const happening = { events: 0, isOver: false };
  const happen = async () => {
    while (!happening.isOver) {
      const next = new Promise((resolve) => setTimeout(resolve, PAUSE));
      await line.api("POST", "/queue-management/pause-queue", { reason: `event ${happening.events}` });
      happening.events += 1;
      await next;
    }
  };
  happening.ended = happen().finally(() => (happening.isOver = true));
  // Why it ended is told to who waits for its end.
  happening.ended.catch(() => {});
  return happening;
}

const seconds = (from) => Math.round((performance.now() - from) / 1000);

story(`a_page_open_for_${SECONDS}_s_with_ten_events_a_second_stays_as_large_as_it_is`, { limit: SECONDS * 1000 + 120_000 }, async ({ line, database, person, t }) => {
  await database.rows(AN_HOUR_OF_SAMPLES);
  await line.campaign("Plumbers in Austin", ["openai", "openai"]);
  const operator = await person();
  const streams = streamsOf(operator.context);
  const page = await operator.opens();
  await seesLine(page, "RUNNING");
  const devtools = await operator.context.newCDPSession(page);
  await devtools.send("Performance.enable");

  const happening = keepHappening(line);
  const began = performance.now();
  const looks = [];
  try {
    while (looks.length < LOOKS && !happening.isOver) {
      const due = began + ((looks.length + 1) * SECONDS * 1000) / LOOKS;
      await page.waitForTimeout(Math.max(0, due - performance.now()));
      looks.push({ at: seconds(began), ...(await holds(devtools)) });
      // However often something happens, the page keeps up.
      await reads(page, "#timeline", `event ${happening.events}`);
    }
  } finally {
    happening.isOver = true;
    await happening.ended;
  }
  const { events } = happening;

  const half = looks.length / 2;
  const most = (some, name) => Math.max(...some.map((look) => look[name]));
  for (const name of ["nodes", "heap", "listeners"]) {
    const [first, second] = [most(looks.slice(0, half), name), most(looks.slice(half), name)];
    t.diagnostic(`${name}: at most ${first} in the first half, ${second} in the second`);
    assert.ok(second <= first * GROWTH, `${name} grew from ${first} to ${second}: ${JSON.stringify(looks)}`);
  }
  t.diagnostic(`${events} events in ${seconds(began)} s; ${streams.begun} stream`);
  assert.ok(events > SECONDS, `only ${events} events`);
  assert.equal(streams.most, 1, "one stream at a time");
  assert.equal(streams.begun, 1, "and the same one all the time");
});
