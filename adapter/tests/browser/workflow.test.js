// The workflow of a stop, from the first error to the last job, in the browser and in the database.

import assert from "node:assert/strict";
import { isRefusedWith, isTold, reads, seesLine, send } from "./screen.js";
import { story } from "./story.js";
import { until } from "./waiting.js";

/** Two campaigns, of which one meets a vendor that breaks after five good answers. */
async function begins({ line, vendor }) {
  vendor.breaks("openai", { after: 5 });
  await line.campaign("Plumbers in Austin", Array(12).fill("openai"));
  await line.campaign("Dentists in Ohio", [...Array(4).fill("apollo"), ...Array(8).fill("openai")]);
}

/** Waits until nothing is in flight any more: what was may finish, also after a pause (R23). */
async function isQuiet(database) {
  await until("nothing is in flight", async () => !(await database.jobs()).PROCESSING);
}

/** What stays as it is while a line waits for its resume. */
async function waitingFacts(database) {
  return { queue: await database.queue(), jobs: await database.jobs(), campaigns: await database.campaigns() };
}

async function journalHasTheStory(database) {
  const entries = await database.journal("breaker_opened", "queue_paused", "breaker_reset", "queue_resumed");
  const told = entries.map(({ kind, reason, service }) => ({ kind, reason, service }));
  assert.deepEqual(told, [
    { kind: "breaker_opened", reason: null, service: "openai" },
    { kind: "queue_paused", reason: null, service: "openai" },
    { kind: "breaker_reset", reason: "The service answers again: status page is green", service: "openai" },
    { kind: "queue_resumed", reason: "The cause is fixed", service: null },
  ]);
  for (const { actor } of entries.slice(2)) assert.deepEqual(actor, entries[2].actor);
}

story("r1_r2_r8_r12_r9_a_vendor_fails_and_a_person_brings_the_line_back_step_by_step", {}, async (s) => {
  const { line, database, vendor } = s;
  const operator = await s.person();
  const page = await operator.opens();
  await seesLine(page, "RUNNING");
  await begins(s);
  line.worker("worker-1");

  // The vendor fails. The page has been open all the time and is not loaded again.
  await page.evaluate(() => (window.isTheSamePage = true));
  await seesLine(page, "PAUSED");
  assert.match(await page.title(), /^⏸ PAUSED/);
  await reads(page, "#banner", "openai opened", "503");
  await reads(page, "#step-1", "openai", "open", "503");
  assert.equal((await database.queue()).state, "PAUSED");
  assert.equal(await database.breaker("openai"), "open");
  assert.equal(await database.breaker("apollo"), "closed");
  assert.deepEqual(await database.campaigns(), { "Dentists in Ohio": "RUNNING", "Plumbers in Austin": "RUNNING" });

  // R8: not to be resumed, and the blocker is named.
  await isRefusedWith(page, "Resume the queue", "openai");
  await isQuiet(database);
  const before = await waitingFacts(database);
  const calls = vendor.calls.length;

  // R12: the reset closes the breaker, and nothing else.
  vendor.isRepaired("openai");
  await send(page, "Reset openai", { usual: "The service answers again", words: "status page is green" });
  await isTold(page, "openai", "Nothing was resumed");
  await seesLine(page, "PAUSED – READY TO RESUME");
  assert.match(await page.title(), /^✋ READY/);
  assert.equal(await database.breaker("openai"), "closed");
  const after = await waitingFacts(database);
  assert.equal(after.queue.version, before.queue.version + 1);
  assert.deepEqual({ ...after, queue: { ...after.queue, version: before.queue.version } }, before);
  assert.equal(vendor.calls.length, calls, "a reset sets nothing going");

  // What exactly a resume will do.
  const left = before.jobs.PENDING;
  await reads(page, "#step-2", "2 campaigns", `${left} jobs`, "Plumbers in Austin", "Dentists in Ohio", "the queue is paused");
  await reads(page, "#banner", "by breaker openai", "waiting for resume");

  // R9.
  await send(page, "Resume the queue", { usual: "The cause is fixed" });
  await isTold(page, "2 campaigns");
  await seesLine(page, "RUNNING");
  const resumed = await database.queue();
  assert.deepEqual([resumed.state, resumed.epoch], ["ACTIVE", before.queue.epoch + 1]);
  await until("all jobs are done", async () => (await database.jobs()).COMPLETED === 24);
  await page.locator("#campaigns").getByText("Plumbers").waitFor({ state: "detached" });
  assert.deepEqual(await database.campaigns(), { "Dentists in Ohio": "COMPLETED", "Plumbers in Austin": "COMPLETED" });
  assert.equal(vendor.count("openai 200"), 20);
  assert.ok(await page.evaluate(() => window.isTheSamePage), "the page was never loaded again");
  await journalHasTheStory(database);
  await reads(page, "#timeline", "status page is green", "The cause is fixed", "local");
});

story("r8_r12_r9_without_a_script_the_same_forms_bring_the_line_back", {}, async (s) => {
  const { line, database, vendor } = s;
  const operator = await s.person({ javaScriptEnabled: false });
  await begins(s);
  const worker = line.worker("worker-1");
  await database.untilQueue("PAUSED");
  await isQuiet(database);
  const before = await waitingFacts(database);
  vendor.isRepaired("openai");

  const page = await operator.opens();
  await seesLine(page, "PAUSED");
  await reads(page, "#banner", "openai opened", "503", "UTC");
  await isRefusedWith(page, "Resume the queue", "openai");
  await send(page, "Reset openai", { usual: "The service answers again", words: "status page is green" });
  await isTold(page, "openai", "Nothing was resumed");
  await seesLine(page, "PAUSED – READY TO RESUME");
  assert.equal(await database.breaker("openai"), "closed");
  assert.deepEqual((await database.queue()).epoch, before.queue.epoch);
  assert.deepEqual(await database.jobs(), before.jobs);

  await reads(page, "#step-2", "2 campaigns", `${before.jobs.PENDING} jobs`);
  await send(page, "Resume the queue", { usual: "The cause is fixed" });
  await isTold(page, "2 campaigns");
  await seesLine(page, "RUNNING");
  await until("all jobs are done", async () => (await database.jobs()).COMPLETED === 24);
  await journalHasTheStory(database);
  await worker.stop();
});
