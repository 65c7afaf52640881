// Two people at one line: each sees the other's acts, and nobody acts on what is no longer so.

import assert from "node:assert/strict";
import { token } from "./line.js";
import { fill, formOf, isTold, logIn, reads, seesLine, send, textOf } from "./screen.js";
import { story } from "./story.js";
import { until } from "./waiting.js";

/** Within this time after an act has been answered, everybody else sees it. */
const SEEN_WITHIN = 1000;

const DAY = token("day-shift", "operator");
const NIGHT = token("night-shift", "operator");

story("each_operator_sees_the_others_act_within_a_second", { tokens: [DAY, NIGHT] }, async ({ line, database, person, t }) => {
  await line.campaign("Plumbers in Austin", ["openai", "openai"]);
  const day = await logIn(await person(), DAY);
  const night = await logIn(await person(), NIGHT);
  await Promise.all([seesLine(day, "RUNNING"), seesLine(night, "RUNNING")]);

  const acts = [
    [day, night, "Open openai", "The service looks broken", "PAUSED"],
    [night, day, "Reset openai", "The service answers again", "PAUSED – READY TO RESUME"],
    [day, night, "Resume the queue", "The cause is fixed", "RUNNING"],
    [night, day, "Pause the queue", "Maintenance", "PAUSED – READY TO RESUME"],
  ];
  for (const [actor, watcher, name, usual, state] of acts) {
    if (name.startsWith("Open")) await actor.getByText("Act on openai").click();
    const button = await fill(actor, name, { usual });
    const answered = actor.waitForResponse((response) => response.request().method() === "POST");
    await button.click();
    await answered;
    const began = performance.now();
    await seesLine(watcher, state, SEEN_WITHIN);
    t.diagnostic(`${name}: seen by the other after ${Math.round(performance.now() - began)} ms`);
    await seesLine(actor, state);
  }
  await reads(night, "#timeline", "day-shift", "The service looks broken", "night-shift", "The service answers again");
  const entries = await database.journal("breaker_opened", "breaker_reset", "queue_resumed");
  const actors = entries.map(({ actor }) => JSON.stringify(actor));
  assert.deepEqual(actors.map((actor) => /(day|night)-shift/.exec(actor)?.[0]), ["day-shift", "night-shift", "day-shift"]);
});

story("r7_one_person_takes_a_stop_in_hand_and_the_other_sees_who_has_it", { tokens: [DAY, NIGHT] }, async ({ line, database, person }) => {
  await line.campaign("Plumbers in Austin", ["openai"]);
  const day = await logIn(await person(), DAY);
  const night = await logIn(await person(), NIGHT);
  await send(day, "Pause the queue", { usual: "Maintenance" });
  await seesLine(night, "PAUSED – READY TO RESUME");

  await night.getByText("Acknowledge this stop").click();
  await send(night, "I have it in hand", { usual: "I am looking into it" });
  await isTold(night, "Acknowledged", "It was not resumed");
  await reads(day, ".in-hand", "Acknowledged by operator night-shift", "I am looking into it");
  assert.equal(await day.getByText("Acknowledge this stop").count(), 0, "one person is enough");
  await seesLine(day, "PAUSED – READY TO RESUME");
  assert.equal((await database.queue()).state, "PAUSED");

  // The next stop is nobody's yet.
  await send(day, "Resume the queue", { usual: "Maintenance is over" });
  await seesLine(night, "RUNNING");
  await send(day, "Pause the queue", { usual: "Maintenance" });
  await night.getByText("Acknowledge this stop").waitFor();
  assert.equal(await night.locator(".in-hand").count(), 0);
  assert.equal((await database.journal("stop_acknowledged")).length, 1);
});

/** Answers a promise of the next time that a page hears something from its stream of events. */
async function streamOf(page) {
  const devtools = await page.context().newCDPSession(page);
  let stream;
  devtools.on("Network.requestWillBeSent", ({ requestId, request }) => {
    if (request.url.endsWith("/events")) stream = requestId;
  });
  await devtools.send("Network.enable");
  const isOfStream = (resolve) => devtools.on("Network.dataReceived", ({ requestId }) => requestId === stream && resolve());
  return { hears: () => new Promise(isOfStream) };
}

story("an_act_that_is_heard_of_while_the_page_is_fetched_is_seen_within_a_second_too", {}, async ({ line, person }) => {
  const operator = await person();
  const page = await operator.context.newPage();
  const stream = await streamOf(page);
  await page.goto("/");
  await seesLine(page, "RUNNING");
  const open = (service) => line.api("POST", "/queue-management/pause-service", { service, reason: "quota" });
  let answered;
  const isAnswered = new Promise((resolve) => (answered = resolve));
  const openMeanwhile = async (route) => {
    const response = await route.fetch();
    const hears = stream.hears();
    await open("perplexity");
    await hears;
    await route.fulfill({ response });
    answered();
  };
  await page.route(`${line.url}/`, openMeanwhile, { times: 1 });
  await open("openai");
  await isAnswered;
  await page.locator("#services tr", { hasText: "perplexity" }).getByText("held").waitFor({ timeout: SEEN_WITHIN });
});

const REFUSED = [/status of 412/];

/** Keeps a tab from hearing of anything, without its noticing: what it asks for is not answered. */
async function isHeldBack(page) {
  await page.route("**/*", (route) => (route.request().method() === "GET" ? new Promise(() => {}) : route.continue()));
}

story("r11_a_resume_from_a_page_held_back_is_refused_and_says_what_changed", { allows: REFUSED }, async ({ line, database, person }) => {
  await line.campaign("Plumbers in Austin", ["openai"]);
  await line.api("POST", "/queue-management/pause-queue", { reason: "maintenance" });
  const page = await (await person()).opens();
  await seesLine(page, "PAUSED – READY TO RESUME");
  await isHeldBack(page);
  await line.api("POST", "/queue-management/pause-service", { service: "apollo", reason: "quota" });
  await line.api("POST", "/queue-management/circuit-breakers/apollo/reset", { reason: "renewed" });

  const before = await database.facts();
  await send(page, "Resume the queue", { usual: "Maintenance is over", words: "all quiet" });
  await reads(page, "#act-queue-resume-queue .refusal", "Not done", "apollo", "quota", "renewed");
  assert.equal((await database.queue()).state, "PAUSED");
  assert.deepEqual(await database.facts(), before);
  assert.equal((await database.journal("queue_resumed")).length, 0);
  const form = formOf(page, "Resume the queue");
  assert.equal(await form.locator("[name=reason]").inputValue(), "all quiet");
  assert.equal(await form.locator("[name=reason_usual]").inputValue(), "Maintenance is over");
});

for (const javaScriptEnabled of [true, false]) {
  const script = javaScriptEnabled ? "with" : "without";
  const name = `r11_a_reset_of_a_breaker_that_opened_again_meanwhile_is_refused_${script}_a_script`;
  story(name, { allows: REFUSED }, async ({ line, database, person }) => {
    const open = (reason) => line.api("POST", "/queue-management/pause-service", { service: "openai", reason });
    await open("quota");
    const page = await (await person({ javaScriptEnabled })).opens();
    await seesLine(page, "PAUSED");
    await isHeldBack(page);
    await line.api("POST", "/queue-management/circuit-breakers/openai/reset", { reason: "renewed" });
    await open("the new key is refused");

    const before = await database.facts();
    await send(page, "Reset openai", { words: "quota is renewed" });
    await reads(page, "#act-services-openai-reset .refusal", "Not done", "the new key is refused");
    assert.equal(await database.breaker("openai"), "open");
    assert.deepEqual(await database.facts(), before);
    assert.equal(await formOf(page, "Reset openai").locator("[name=reason]").inputValue(), "quota is renewed");
  });
}

story("a_form_in_progress_is_never_rendered_again_and_says_that_it_is_outdated", {}, async ({ line, database, person }) => {
  await line.api("POST", "/queue-management/pause-service", { service: "openai", reason: "quota" });
  const page = await (await person()).opens();
  await seesLine(page, "PAUSED");
  const field = formOf(page, "Reset openai").locator("[name=reason]");
  await field.pressSequentially("the key is ren");
  await page.evaluate(() => (window.field = document.activeElement));

  for (const service of ["apollo", "instantly", "perplexity"]) {
    await line.api("POST", "/queue-management/pause-service", { service, reason: "the same quota" });
    await page.locator("#services tr", { hasText: service }).getByText("held").waitFor();
  }
  await page.locator("#step-1 .outdated").waitFor();
  assert.ok(await page.evaluate(() => window.field.isConnected && document.activeElement === window.field));
  await page.keyboard.type("ewed");
  assert.equal(await field.inputValue(), "the key is renewed");
  assert.ok(!(await textOf(page, "#step-1")).includes("perplexity"), "step 1 is as it was");

  // What was typed can be sent: that others opened too is nothing to this breaker.
  await formOf(page, "Reset openai").getByRole("button").click();
  await isTold(page, "openai", "Nothing was resumed");
  assert.equal(await database.breaker("openai"), "closed");
  await reads(page, "#step-1", "perplexity");
});

for (const javaScriptEnabled of [true, false]) {
  const script = javaScriptEnabled ? "with" : "without";
  story(`i14_a_double_click_acts_once_${script}_a_script`, {}, async ({ database, person }) => {
    const operator = await person({ javaScriptEnabled });
    const page = await operator.opens();
    let posts = 0;
    operator.context.on("request", (request) => (posts += request.method() === "POST"));
    const button = await fill(page, "Pause the queue", { usual: "Maintenance" });
    await button.dblclick();
    await isTold(page, "paused");
    await seesLine(page, "PAUSED – READY TO RESUME");
    if (javaScriptEnabled) assert.equal(posts, 1);
    const entries = await database.journal("queue_paused", "queue_paused_again");
    assert.equal(entries.length, 1);
  });
}

story("a_button_says_that_it_is_at_work_and_nothing_is_shown_before_it_is_so", {}, async ({ database, person }) => {
  const page = await (await person()).opens();
  let answer;
  const isHeld = new Promise((resolve) => (answer = resolve));
  await page.route("**/queue/pause-queue", async (route) => {
    await isHeld;
    await route.continue();
  });
  await send(page, "Pause the queue", { usual: "Maintenance" });
  await page.getByRole("button", { name: "Sending…" }).waitFor();
  assert.ok(await page.getByRole("button", { name: "Sending…" }).isDisabled());
  await seesLine(page, "RUNNING");
  assert.equal((await database.queue()).state, "ACTIVE");
  answer();
  await seesLine(page, "PAUSED – READY TO RESUME");
  await until("the queue is stored as PAUSED", async () => (await database.queue()).state === "PAUSED");
});
