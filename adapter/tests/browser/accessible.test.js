// No page in any state breaks a rule of WCAG 2.2 AA that axe can check, by day or by night.

import assert from "node:assert/strict";
import axe from "axe-core";
import { SCENES } from "./scenes.js";
import { story } from "./story.js";

const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

async function violations(page) {
  const { violations: found } = await page.evaluate((tags) => window.axe.run(document, { runOnly: tags, resultTypes: ["violations"] }), TAGS);
  return found.flatMap(({ id, help, nodes }) => nodes.map((node) => `${id}: ${help}: ${node.html}: ${node.failureSummary}`));
}

for (const { name, tokens, allows, arrange } of SCENES) {
  story(`${name}_breaks_no_rule_of_accessibility`, { tokens, allows }, async (scene) => {
    const page = await arrange(scene);
    // Not as an element of the page: its policy would forbid that.
    await page.evaluate(axe.source);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      assert.deepEqual(await violations(page), [], colorScheme);
    }
    await page.setViewportSize({ width: 360, height: 740 });
    assert.deepEqual(await violations(page), [], "on a phone");
  });
}
