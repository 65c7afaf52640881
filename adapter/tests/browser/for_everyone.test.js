// Everybody can use the screen: by keyboard alone, on a phone, in the dark; and who may only look sees why.

import assert from "node:assert/strict";
import { token } from "./line.js";
import { isRefusedWith, logIn, reads, seesLine } from "./screen.js";
import { story } from "./story.js";
import { until } from "./waiting.js";

/** How often somebody presses Tab at most to get to a place on the line's page. */
const TABS_MAX = 150;

/** Presses Tab until the place has the focus. */
async function tabTo(page, selector) {
  for (let presses = 0; presses < TABS_MAX; presses += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((place) => document.activeElement.matches(place), selector)) return;
  }
  assert.fail(`${selector} was not reached by ${TABS_MAX} times Tab`);
}

story("keyboard_alone_leads_from_the_stopped_line_to_the_running_one", {}, async ({ line, database, person }) => {
  await line.campaign("Plumbers in Austin", ["openai", "openai"]);
  await line.api("POST", "/queue-management/pause-service", { service: "openai", reason: "quota" });
  const page = await (await person()).opens();
  await seesLine(page, "PAUSED");

  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  await tabTo(page, "#act-services-openai-reset [name=reason]");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, "none", "what has the focus can be seen");
  await page.keyboard.type("quota is renewed");
  await tabTo(page, "#act-services-openai-reset button");
  await page.keyboard.press("Enter");
  await seesLine(page, "PAUSED – READY TO RESUME");
  assert.equal(await page.evaluate(() => document.activeElement.id), "notice", "the answer has the focus");

  await tabTo(page, "#act-queue-resume-queue [name=reason]");
  await page.keyboard.type("quota is renewed");
  await tabTo(page, "#act-queue-resume-queue button");
  await page.keyboard.press("Space");
  await seesLine(page, "RUNNING");
  assert.equal((await database.queue()).state, "ACTIVE");
});

story("r8_a_disabled_button_can_be_reached_and_says_why", {}, async ({ line, person }) => {
  await line.api("POST", "/queue-management/pause-service", { service: "openai", reason: "quota" });
  const page = await (await person()).opens();
  await tabTo(page, "#act-queue-resume-queue button");
  await isRefusedWith(page, "Resume the queue", "openai");
  await page.keyboard.press("Enter");
  await seesLine(page, "PAUSED");
});

/** Asserts that the page needs no scrolling from side to side. */
async function fits(page) {
  const { width, inner } = await page.evaluate(() => ({ width: document.documentElement.scrollWidth, inner: document.documentElement.clientWidth }));
  assert.ok(width <= inner, `${page.url()} is ${width} wide on a screen of ${inner}`);
}

story("every_page_fits_a_phone_in_the_dark_and_without_motion", { allows: [/status of 40[04]/] }, async ({ line, vendor, database, person }) => {
  vendor.breaks("openai", { after: 1 });
  const campaign = await line.campaign("Plumbers in Austin, Texas, with a follow-up after seven days", ["openai", "openai", "openai", "apollo"]);
  line.worker("worker-on-a-host-with-a-long-name.internal.example");
  await database.untilQueue("PAUSED");
  const [job] = await database.rows("SELECT id FROM andon_jobs ORDER BY token DESC LIMIT 1");
  const phone = await person({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, colorScheme: "dark" });
  const page = await phone.opens();
  await seesLine(page, "PAUSED");
  for (const path of ["/", "/campaigns", `/campaigns/${campaign}`, "/jobs", `/jobs/${job.id}`, "/services/openai", "/history", "/campaigns/none", "/nowhere"]) {
    await page.goto(path);
    await fits(page);
    const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = paper.match(/\d+/g).map(Number);
    assert.ok(Math.max(...light) < 64, `${path} is not dark: ${paper}`);
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0, `${path} moves`);
  }
  await page.goto("/");
  await page.getByText("Act on apollo").tap();
  await fits(page);
});

const DAY = token("day-shift", "operator");
const VIEWER = token("wall-screen", "viewer");

story("r36_a_viewer_sees_everything_and_why_nothing_can_be_done", { tokens: [DAY, VIEWER], allows: [/status of 40[13]/] }, async ({ line, database, person }) => {
  await line.campaign("Plumbers in Austin", ["openai"]);
  const viewer = await person();
  const page = await viewer.opens("/campaigns");
  assert.equal(new URL(page.url()).pathname, "/login", "who is unknown is asked first");
  await page.getByLabel("Your token").fill("not a token");
  await page.getByRole("button", { name: "Log in" }).click();
  await reads(page, ".refusal", "not known");
  await page.getByLabel("Your token").fill(VIEWER.secret);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL("**/campaigns");
  await reads(page, "header", "wall-screen");

  await page.goto("/");
  await isRefusedWith(page, "Pause the queue", "role");
  await line.api("POST", "/queue-management/pause-service", { service: "openai", reason: "quota" });
  await seesLine(page, "PAUSED");
  await isRefusedWith(page, "Reset openai", "role", "operator");
  await isRefusedWith(page, "Resume the queue", "role", "operator");
  const before = await database.facts();
  const status = await page.evaluate(async () => {
    const fields = { reason: "I would like to", nonce: "a1".repeat(16), seen: "1000000", version: "1", back: "/" };
    const answer = await fetch("/services/openai/reset", { method: "POST", body: new URLSearchParams(fields) });
    return answer.status;
  });
  assert.equal(status, 403);
  assert.deepEqual(await database.facts(), before);

  await page.getByRole("button", { name: "Log out" }).click();
  await page.waitForURL("**/login");
  await page.goto("/");
  assert.equal(new URL(page.url()).pathname, "/login", "nothing is shown any more");
});

story("a_session_outlives_a_restart_of_the_server_and_ends_with_its_token", { tokens: [DAY, VIEWER], allows: [/net::ERR_/, /status of 401/] }, async ({ line, person }) => {
  const page = await logIn(await person(), DAY);
  await seesLine(page, "RUNNING");
  await line.kill();
  await page.locator("body[data-stale]").waitFor();
  await line.restart();
  await page.locator("body:not([data-stale])").waitFor();
  await seesLine(page, "RUNNING");
  const cookies = await page.context().cookies();
  assert.deepEqual(cookies.map(({ httpOnly, sameSite }) => ({ httpOnly, sameSite })), [{ httpOnly: true, sameSite: "Strict" }]);

  await line.kill();
  await line.configure([VIEWER]);
  await line.restart();
  await page.waitForURL("**/login**");
  await until("the login is shown", () => page.getByLabel("Your token").isVisible());
});
