// How a person finds things on the screen, and uses them.

import assert from "node:assert/strict";
import { until } from "./waiting.js";

/** Waits until the line's page says this of the line: RUNNING, PAUSED, PAUSED – READY TO RESUME or UNKNOWN. */
export async function seesLine(page, state, timeout = undefined) {
  await page.getByRole("heading", { level: 1, name: `The line is ${state}`, exact: true }).waitFor({ timeout });
}

/** The text of a part of the page, with its blanks made one. */
export async function textOf(page, selector) {
  const text = await page.locator(selector).innerText();
  return text.replace(/\s+/g, " ");
}

/** Waits until a part of the page has all these words in it. */
export async function reads(page, selector, ...words) {
  let text = "";
  const look = async () => {
    text = await textOf(page, selector);
    return words.every((word) => text.includes(word));
  };
  await until(`${selector} has \`${words.join("`, `")}\` in it`, look).catch((error) => {
    throw new Error(`${error.message}; it has: ${text}`);
  });
}

/** The form whose button has this name. */
export function formOf(page, name) {
  return page.locator("form").filter({ has: page.getByRole("button", { name, exact: true }) });
}

/** Fills in a form, choosing a usual reason, typing one, or both. */
export async function fill(page, name, { usual, words }) {
  const form = formOf(page, name);
  if (usual) await form.locator("[name=reason_usual]").selectOption(usual);
  if (words) await form.locator("[name=reason]").fill(words);
  return form.getByRole("button", { name, exact: true });
}

/** Fills in a form and sends it. */
export async function send(page, name, reasons) {
  const button = await fill(page, name, reasons);
  await button.click();
}

/** Waits for what the screen says was done. */
export async function isTold(page, ...words) {
  await reads(page, "#notice", ...words);
}

/** Asserts that a button cannot be used and says why with these words. */
export async function isRefusedWith(page, name, ...words) {
  const button = page.getByRole("button", { name, exact: true });
  assert.equal(await button.getAttribute("aria-disabled"), "true", `the button ${name} can be used`);
  await reads(page, `#${await button.getAttribute("aria-describedby")}`, ...words);
}

/** Logs in with a token, from the page that is asked for first, and answers that page. */
export async function logIn(person, { secret }, path = "/") {
  const page = await person.opens(path);
  await page.getByLabel("Your token").fill(secret);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("button", { name: "Log out" }).waitFor();
  return page;
}
