// A test of the screen: a line, its vendor and people at browsers, and at the end a look at whether any
// page did what none may.

import { after, test } from "node:test";
import { Person, startBrowser } from "./browser.js";
import { Line } from "./line.js";
import { Vendor } from "./vendor.js";

/** The longest that a test may take, if it says nothing else. */
const LIMIT = 120_000;

let browser;
after(async () => (await browser)?.close());

/**
 * A test with a line of its own. `tokens` are the server's; `allows` are patterns of what the test brings
 * about itself and would be wrong elsewhere, such as the console's line on a refused request.
 */
export function story(name, { tokens = [], allows = [], limit = LIMIT }, body) {
  test(name, { timeout: limit }, async (t) => {
    browser ??= startBrowser();
    const vendor = await Vendor.start();
    const people = [];
    let line;
    try {
      line = await Line.start({ vendor, tokens });
      const person = async (options) => {
        const arrived = await new Person(await browser, line.url, options).arrive();
        people.push(arrived);
        return arrived;
      };
      await body({ line, database: line.database, vendor, person, t });
      for (const one of people) one.assertNothingWrong(allows);
    } catch (error) {
      if (line) t.diagnostic(`the server said: ${line.server.complaints}`);
      throw error;
    } finally {
      await Promise.all(people.map((one) => one.context.close()));
      await line?.stop();
      await vendor.stop();
    }
  });
}
