// Many campaigns, and names that would like to be more than names.

import assert from "node:assert/strict";
import { isTold, reads, seesLine, send } from "./screen.js";
import { story } from "./story.js";
import { until } from "./waiting.js";

/** How many campaigns the line's page lists. */
const LISTED = 50;

/** How many it lists of those that a resume sets going. */
const RESUMING_LISTED = 100;

const CAMPAIGNS = 500;

/** Campaigns under way with one waiting job each. */
const LOAD = `
  WITH campaign AS (
    INSERT INTO andon_campaigns (id, stage, open_ended, name, name_folded, metadata, created_at, started_at, revision)
    SELECT gen_random_uuid(), 'RUNNING', false, 'Region ' || n, 'region ' || n, '{}', now(), now(), 1
    FROM generate_series(1, ${CAMPAIGNS}) AS n RETURNING id
  ), job AS (
    INSERT INTO andon_jobs (id, campaign_id, stage, attempt, max_attempts, run_at, priority, token, kind, payload, created_at, updated_at)
    SELECT gen_random_uuid(), id, 'PENDING', 0, 5, now(), 0, 0, 'http', '{}', now(), now() FROM campaign
  )
  INSERT INTO andon_counts (campaign_id, pending) SELECT id, 1 FROM campaign`;

story("with_500_campaigns_the_page_is_short_and_usable_and_lists_page_by_cursor", {}, async ({ database, person }) => {
  await database.rows(LOAD);
  const page = await (await person()).opens();
  await seesLine(page, "RUNNING");
  assert.equal(await page.locator("#campaigns tbody tr").count(), LISTED);
  await reads(page, "#campaigns", `${LISTED} of ${CAMPAIGNS}`);

  await send(page, "Pause the queue", { usual: "Maintenance" });
  await seesLine(page, "PAUSED – READY TO RESUME");
  assert.equal(await page.locator("#step-2 tbody tr").count(), RESUMING_LISTED);
  await reads(page, "#step-2", `${CAMPAIGNS} campaigns`, `${CAMPAIGNS} jobs`, "all that are paused");
  await send(page, "Resume the queue", { usual: "Maintenance is over" });
  await isTold(page, `${CAMPAIGNS} campaigns`);
  await seesLine(page, "RUNNING");

  await page.getByRole("link", { name: "All campaigns" }).click();
  const names = new Set();
  for (;;) {
    const shown = await page.locator("#list tbody th").allInnerTexts();
    for (const name of shown) assert.ok(!names.has(name), `${name} is listed twice`);
    for (const name of shown) names.add(name);
    const older = page.getByRole("link", { name: "Older ones" });
    if ((await older.count()) === 0) break;
    const href = await older.getAttribute("href");
    assert.match(href, /after=/);
    await older.click();
    await page.waitForURL((url) => url.href.endsWith(href));
  }
  assert.equal(names.size, CAMPAIGNS);
  await page.getByLabel("Name contains").fill("Region 499");
  await page.getByRole("button", { name: "Show" }).click();
  await page.waitForURL(/q=/);
  assert.deepEqual(await page.locator("#list tbody th").allInnerTexts(), ["Region 499"]);
});

const EVIL = `<script>alert(1)</script><img src=x onerror="fetch('http://evil.example/')"> {{ 7*7 }} &amp; ${"W".repeat(60)}`;

story("names_errors_and_reasons_with_html_in_them_are_shown_as_they_are", {}, async ({ line, database, vendor, person }) => {
  vendor.breaks("openai", { saying: EVIL });
  const id = await line.campaign(EVIL, ["openai", "openai", "openai"]);
  line.worker("<b>worker</b>");
  await database.untilQueue("PAUSED");
  await until("nothing is in flight", async () => !(await database.jobs()).PROCESSING);
  const page = await (await person()).opens();
  await seesLine(page, "PAUSED");
  await send(page, "Reset openai", { words: EVIL });
  await isTold(page, "openai");

  const [job] = await database.rows("SELECT id FROM andon_jobs ORDER BY token DESC LIMIT 1");
  const places = [
    ["/", "#step-2", EVIL],
    ["/", "#campaigns", EVIL],
    ["/", "#timeline", EVIL],
    ["/", "#workers", "<b>worker</b>"],
    ["/campaigns", "#list", EVIL],
    [`/campaigns/${id}`, "main", EVIL],
    [`/jobs/${job.id}`, "main", EVIL],
  ];
  for (const [path, selector, text] of places) {
    if (new URL(page.url()).pathname !== path) await page.goto(path);
    await reads(page, selector, text);
    assert.equal(await page.locator("main img, main script, main b").count(), 0, `${path} has elements of other people's making`);
    const { width, inner } = await page.evaluate(() => ({ width: document.documentElement.scrollWidth, inner: innerWidth }));
    assert.ok(width <= inner, `${path} is ${width} wide in a window of ${inner}`);
  }
});
