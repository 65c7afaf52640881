// A real Chromium, and what it must never do, whatever a test is about.

import { existsSync } from "node:fs";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { PATIENCE } from "./waiting.js";

const PROGRAM = process.env.CHROMIUM ?? "/usr/bin/chromium";

const FLAGS = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-gpu",
  "--disable-quic",
  "--disable-sync",
  "--no-first-run",
];

/** Starts a browser with a profile of its own. */
export async function startBrowser() {
  if (!existsSync(PROGRAM)) throw new Error(`there is no Chromium at ${PROGRAM}: install it, or name it in CHROMIUM`);
  const isRoot = process.getuid?.() === 0;
  return chromium.launch({ executablePath: PROGRAM, args: isRoot ? [...FLAGS, "--no-sandbox"] : FLAGS });
}

/** A person at a browser: an own context, with an own cookie jar. */
export class Person {
  /** What went wrong in any page, in words. */
  wrongs = [];
  #browser;
  #url;
  #options;

  constructor(browser, url, options = {}) {
    this.#browser = browser;
    this.#url = url;
    this.#options = options;
  }

  async arrive() {
    this.context = await this.#browser.newContext({
      baseURL: this.#url,
      viewport: { width: 1280, height: 900 },
      locale: "en-GB",
      timezoneId: "Europe/Berlin",
      reducedMotion: "reduce",
      ...this.#options,
    });
    this.context.setDefaultTimeout(PATIENCE);
    this.#watch();
    return this;
  }

  /** A new tab with this page. */
  async opens(path = "/") {
    const page = await this.context.newPage();
    await page.goto(path);
    return page;
  }

  /** Fails if anything went wrong but for what the test itself brought about. */
  assertNothingWrong(allowed = []) {
    const wrongs = this.wrongs.filter((wrong) => !allowed.some((pattern) => pattern.test(wrong)));
    assert.deepEqual(wrongs, [], "what a page did that none may");
  }

  #watch() {
    const { context, wrongs } = this;
    const origin = new URL(this.#url).origin;
    context.on("request", (request) => {
      const url = new URL(request.url());
      if (!["data:", "blob:"].includes(url.protocol) && url.origin !== origin) wrongs.push(`request to another origin: ${url}`);
    });
    // A violation of the content security policy is told as an error of the console.
    context.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) wrongs.push(`console: ${message.text()} (${message.location().url})`);
    });
    context.on("weberror", (error) => wrongs.push(`page error: ${error.error().stack}`));
    context.on("dialog", (dialog) => {
      wrongs.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
  }
}
