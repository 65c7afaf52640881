// What the page shows is true, or it says since when it does not know.

import assert from "node:assert/strict";
import { fill, formOf, isTold, reads, seesLine, send } from "./screen.js";
import { story } from "./story.js";
import { until } from "./waiting.js";

/** What the console says of requests that a test keeps from being answered. */
const CUT = [/net::ERR_/, /status of 503/];

async function isStale(page) {
  await page.locator("body[data-stale]").waitFor();
  await page.locator("#lost").waitFor();
  const words = await page.locator("#lost").innerText();
  assert.match(words, /^As of \d\d:\d\d:\d\d — connection lost/);
  const forms = page.locator("form[data-act]");
  assert.ok((await forms.count()) > 0);
  assert.deepEqual(await forms.evaluateAll((all) => all.filter((form) => !form.inert).map((form) => form.id)), []);
  const look = await page.locator("main").evaluate((main) => getComputedStyle(main).filter);
  assert.match(look, /grayscale/);
}

async function isLive(page) {
  await page.locator("body:not([data-stale])").waitFor();
  await page.locator("#lost").waitFor({ state: "hidden" });
  assert.deepEqual(await page.locator("form[data-act]").evaluateAll((all) => all.filter((form) => form.inert).map((form) => form.id)), []);
}

story("d4_a_page_that_is_cut_off_says_as_of_when_and_takes_nothing", { allows: CUT }, async ({ line, database, person }) => {
  const operator = await person();
  const page = await operator.opens();
  await seesLine(page, "RUNNING");
  const button = await fill(page, "Pause the queue", { usual: "Maintenance" });
  await operator.context.setOffline(true);
  await isStale(page);
  await line.api("POST", "/queue-management/pause-service", { service: "openai", reason: "quota" });
  await button.click({ force: true });
  await button.dispatchEvent("click");
  assert.equal((await database.journal("queue_paused_again")).length, 0);

  await operator.context.setOffline(false);
  await isLive(page);
  await seesLine(page, "PAUSED");
  await reads(page, "#step-1", "openai", "quota");
});

story("d4_a_server_that_answers_nothing_is_noticed_though_no_connection_ends", { allows: CUT }, async ({ line, person }) => {
  const page = await (await person()).opens();
  await seesLine(page, "RUNNING");
  line.freeze();
  await isStale(page);
  line.thaw();
  await isLive(page);
  await seesLine(page, "RUNNING");
});

story("r7_a_server_killed_and_started_again_under_an_open_page_resumes_nothing", { allows: CUT }, async ({ line, database, person }) => {
  await line.campaign("Plumbers in Austin", ["openai"]);
  await line.api("POST", "/queue-management/pause-service", { service: "openai", reason: "quota" });
  const page = await (await person()).opens();
  await seesLine(page, "PAUSED");
  const before = await database.facts();
  await line.kill();
  await isStale(page);
  await seesLine(page, "PAUSED");
  await line.restart();
  await isLive(page);
  await seesLine(page, "PAUSED");
  assert.deepEqual(await database.facts(), before);

  // And the page works as before.
  await send(page, "Reset openai", { usual: "Key or quota is renewed" });
  await isTold(page, "openai", "Nothing was resumed");
  await seesLine(page, "PAUSED – READY TO RESUME");
});

story("a_form_whose_answer_is_lost_says_so_and_acts_once_when_sent_again", { allows: CUT }, async ({ database, person }) => {
  const page = await (await person()).opens();
  await page.route("**/queue/pause-queue", async (route) => {
    await route.fetch();
    await route.abort();
  });
  await send(page, "Pause the queue", { usual: "Maintenance" });
  await reads(page, "#act-queue-pause-queue .refusal", "whether it was done is not known");
  await page.unroute("**/queue/pause-queue");
  await formOf(page, "Pause the queue").getByRole("button").click();
  await isTold(page, "paused");
  assert.equal((await database.journal("queue_paused", "queue_paused_again")).length, 1);
});

story("a_form_that_was_refused_does_not_say_that_its_part_has_changed_until_it_has", { allows: [/status of 422/] }, async ({ line, person }) => {
  await line.api("POST", "/queue-management/pause-service", { service: "openai", reason: "quota" });
  const page = await (await person()).opens();
  await send(page, "Reset openai", {});
  await reads(page, "#act-services-openai-reset .refusal", "Not done");
  await page.locator("#services details").first().locator("summary").click();
  const chosen = page.locator("#services details[open]");
  const looks = () => page.waitForResponse((answer) => answer.request().method() === "GET" && new URL(answer.url()).pathname === "/");
  await looks();
  await looks();
  assert.equal(await page.locator(".outdated").count(), 0);
  assert.equal(await chosen.count(), 1, "what was unfolded stays so");
  await line.api("POST", "/queue-management/pause-service", { service: "apollo", reason: "outage" });
  await page.locator("#step-1 .outdated").waitFor();
  await reads(page, "#act-services-openai-reset .refusal", "Not done");
});

story("r30_a_gate_that_cannot_be_read_is_shown_as_unknown", { allows: CUT }, async ({ database, person }) => {
  const page = await (await person()).opens();
  await seesLine(page, "RUNNING");
  await database.rows("ALTER TABLE andon_queue DROP CONSTRAINT andon_queue_state");
  await database.rows("ALTER TABLE andon_queue DROP CONSTRAINT andon_queue_active_iff_no_pause");
  await database.rows("UPDATE andon_queue SET state = 'SIDEWAYS'");
  await seesLine(page, "UNKNOWN");
  assert.match(await page.title(), /^\? UNKNOWN/);
  assert.equal(await page.locator(".chip.good").count(), 0, "nothing is shown as running");
  await page.reload();
  await seesLine(page, "UNKNOWN");
  await database.rows("UPDATE andon_queue SET state = 'ACTIVE'");
  await seesLine(page, "RUNNING");
});

const TOKYO = { timeZone: "Asia/Tokyo" };

story("times_are_in_the_readers_zone_with_utc_on_hover_and_in_utc_without_a_script", {}, async ({ line, database, person }) => {
  await line.campaign("Plumbers in Austin", ["openai"]);
  line.worker("worker-1");
  await until("the job is done", async () => (await database.jobs()).COMPLETED === 1);
  await line.api("POST", "/queue-management/pause-queue", { reason: "maintenance" });
  const [{ at }] = await database.journal("queue_paused");
  const utc = at.toISOString().slice(0, 19).replace("T", " ");

  const page = await (await person({ timezoneId: TOKYO.timeZone })).opens();
  const since = page.locator("#banner .since time").first();
  const day = new Intl.DateTimeFormat("en-GB", { ...TOKYO, dateStyle: "medium", timeStyle: "medium" }).format(at);
  const local = new Intl.DateTimeFormat("en-GB", { ...TOKYO, timeStyle: "medium" }).format(at);
  await until("the time is local, and of another day than the reader's with its day", async () => [local, day].includes(await since.innerText()));
  assert.equal(await since.getAttribute("title"), `${day} · ${utc} UTC`);
  await page.goto("/services/openai");
  await page.locator("svg text[data-clock]").first().waitFor();
  const labels = await page.locator("svg text[data-clock]").evaluateAll((all) => all.map((label) => [label.dataset.clock, label.textContent]));
  const clock = new Intl.DateTimeFormat("en-GB", { ...TOKYO, timeStyle: "short" });
  for (const [instant, shown] of labels) assert.equal(shown, clock.format(new Date(instant)));

  const plain = await (await person({ javaScriptEnabled: false })).opens();
  await reads(plain, "#banner .since", `${utc} UTC`);
});
