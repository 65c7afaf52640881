// The pictures in docs/images: every scene, at a desk; the line's also at night and on a phone.

import { mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { reduced } from "./png.js";
import { SCENES } from "./scenes.js";
import { story } from "./story.js";

const IMAGES = fileURLToPath(new URL("../../../docs/images/", import.meta.url));

const DESK = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };

/** The scenes that are taken in every look. */
const IN_EVERY_LOOK = ["line-running", "line-stopped", "line-ready"];

/** How much of a long page is shown, if its scene says nothing else. */
const HEIGHT_MAX = 1500;

async function take(page, name, { width, height }, { colorScheme, heightMax }) {
  await page.emulateMedia({ colorScheme });
  await page.setViewportSize({ width, height });
  const whole = await page.evaluate(() => document.documentElement.scrollHeight);
  const clip = { x: 0, y: 0, width, height: Math.min(Math.max(whole, height), heightMax) };
  const png = await page.screenshot({ fullPage: true, clip, animations: "disabled", caret: "hide" });
  await writeFile(`${IMAGES}${name}.png`, reduced(png));
}

for (const { name, tokens, allows, arrange, height: heightMax = HEIGHT_MAX } of SCENES) {
  story(`a picture of ${name}`, { tokens, allows }, async (scene) => {
    await mkdir(IMAGES, { recursive: true });
    const page = await arrange(scene);
    await take(page, name, DESK, { colorScheme: "light", heightMax });
    if (!IN_EVERY_LOOK.includes(name)) return;
    await take(page, `${name}-dark`, DESK, { colorScheme: "dark", heightMax });
    await take(page, `${name}-phone`, PHONE, { colorScheme: "light", heightMax: HEIGHT_MAX });
  });
}
