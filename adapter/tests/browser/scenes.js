// Every page in every state that a person can meet, with the data of a lead-generation team: looked at for
// accessibility, and taken as pictures for the documents.

import { token } from "./line.js";
import { formOf, logIn, reads, seesLine, send } from "./screen.js";
import { until } from "./waiting.js";

const DAY = token("day-shift", "operator");
const WALL = token("wall-screen", "viewer");

const QUOTA = "rate limit reached for this organisation: retry after 20 s";

/** Calls of a campaign to the five services, as a pipeline makes them. */
function calls(leads) {
  return Array.from({ length: leads }, () => ["millionverifier", "perplexity", "openai", "instantly"]).flat();
}

/** Four campaigns, of which one is finished, one is yet to be started, and two are under way. */
async function team({ line }) {
  await line.campaign("Dentists in Ohio, spring offer", calls(3));
  const worker = line.worker("worker-1");
  await until("a campaign is completed", async () => Object.values(await line.database.campaigns()).includes("COMPLETED"));
  await line.created("Roofing contractors in Texas", calls(12));
  const running = await line.campaign("Plumbers in Austin, follow-up", calls(10));
  await line.campaign("Accountants in the EU, first mail", calls(16));
  return { worker, running };
}

/** The same, stopped by OpenAI's refusal of a call. */
async function stopped(scene) {
  scene.vendor.breaks("openai", { after: 9, saying: QUOTA });
  const { running } = await team(scene);
  await scene.database.untilQueue("PAUSED");
  await until("nothing is in flight", async () => !(await scene.database.jobs()).PROCESSING);
  return { running };
}

async function opened({ person }, path, state) {
  const page = await (await person()).opens(path);
  if (state) await seesLine(page, state);
  return page;
}

/** The same in the middle of their work. */
async function working(scene) {
  const calls = 47;
  scene.vendor.holds({ after: calls });
  await team(scene);
  await until("the calls are answered", () => scene.vendor.calls.length === calls);
  await until("two are in flight", async () => (await scene.database.jobs()).PROCESSING === 2);
}

/** Each scene answers the page to look at. */
export const SCENES = [
  {
    name: "line-empty",
    arrange: (scene) => opened(scene, "/", "RUNNING"),
  },
  {
    name: "line-running",
    async arrange(scene) {
      await working(scene);
      return opened(scene, "/", "RUNNING");
    },
  },
  {
    name: "line-stopped",
    // The state, why, and both steps.
    height: 860,
    async arrange(scene) {
      await stopped(scene);
      return opened(scene, "/", "PAUSED");
    },
  },
  {
    name: "line-ready",
    async arrange(scene) {
      await stopped(scene);
      const page = await opened(scene, "/", "PAUSED");
      await send(page, "Reset openai", { usual: "Key or quota is renewed" });
      await seesLine(page, "PAUSED – READY TO RESUME");
      return page;
    },
  },
  {
    name: "line-acknowledged",
    tokens: [DAY],
    async arrange(scene) {
      await scene.line.campaign("Plumbers in Austin, follow-up", calls(2));
      const page = await logIn(await scene.person(), DAY);
      await send(page, "Pause the queue", { usual: "Maintenance" });
      await page.getByText("Acknowledge this stop").click();
      await send(page, "I have it in hand", { usual: "I am looking into it" });
      await reads(page, ".in-hand", "Acknowledged by operator day-shift");
      return page;
    },
  },
  {
    name: "line-acknowledging",
    async arrange(scene) {
      await stopped(scene);
      const page = await opened(scene, "/", "PAUSED");
      await page.getByText("Acknowledge this stop").click();
      return page;
    },
  },
  {
    name: "line-refused",
    allows: [/status of 422/],
    async arrange(scene) {
      await stopped(scene);
      const page = await opened(scene, "/", "PAUSED");
      await send(page, "Reset openai", {});
      await reads(page, "#act-services-openai-reset .refusal", "Not done");
      return page;
    },
  },
  {
    name: "line-outdated",
    async arrange(scene) {
      await stopped(scene);
      const page = await opened(scene, "/", "PAUSED");
      await formOf(page, "Reset openai").locator("[name=reason]").fill("new quota is booked");
      await scene.line.api("POST", "/queue-management/pause-service", { service: "apollo", reason: "vendor announced an outage" });
      await page.locator("#step-1 .outdated").waitFor();
      return page;
    },
  },
  {
    name: "line-cut-off",
    allows: [/net::ERR_/],
    async arrange(scene) {
      await stopped(scene);
      const page = await opened(scene, "/", "PAUSED");
      await page.context().setOffline(true);
      await page.locator("body[data-stale]").waitFor();
      return page;
    },
  },
  {
    name: "line-unknown",
    allows: [/status of 503/],
    async arrange(scene) {
      await scene.database.rows("ALTER TABLE andon_queue DROP CONSTRAINT andon_queue_state");
      await scene.database.rows("ALTER TABLE andon_queue DROP CONSTRAINT andon_queue_active_iff_no_pause");
      await scene.database.rows("UPDATE andon_queue SET state = 'SIDEWAYS'");
      return opened(scene, "/", "UNKNOWN");
    },
  },
  {
    name: "line-act-on-a-service",
    async arrange(scene) {
      await working(scene);
      const page = await opened(scene, "/", "RUNNING");
      await page.getByText("Act on openai").click();
      return page;
    },
  },
  {
    name: "line-viewer",
    tokens: [DAY, WALL],
    async arrange(scene) {
      await scene.line.created("Plumbers in Austin, follow-up", calls(10));
      await scene.line.api("POST", "/queue-management/pause-service", { service: "openai", reason: "quota is used up" });
      return logIn(await scene.person(), WALL);
    },
  },
  {
    name: "login",
    tokens: [DAY],
    arrange: (scene) => opened(scene, "/login"),
  },
  {
    name: "login-refused",
    tokens: [DAY],
    allows: [/status of 401/],
    async arrange(scene) {
      const page = await opened(scene, "/login");
      await page.getByLabel("Your token").fill("not a token");
      await page.getByRole("button", { name: "Log in" }).click();
      await reads(page, ".refusal", "not known");
      return page;
    },
  },
  {
    name: "campaigns",
    async arrange(scene) {
      await stopped(scene);
      return opened(scene, "/campaigns");
    },
  },
  {
    name: "campaign-created",
    async arrange(scene) {
      const id = await scene.line.created("Roofing contractors in Texas", calls(12));
      return opened(scene, `/campaigns/${id}`);
    },
  },
  {
    name: "campaign-paused",
    async arrange(scene) {
      const { running } = await stopped(scene);
      return opened(scene, `/campaigns/${running}`);
    },
  },
  {
    name: "campaign-none",
    allows: [/status of 404/],
    arrange: (scene) => opened(scene, "/campaigns/01900000-0000-7000-8000-000000000000"),
  },
  {
    name: "jobs",
    async arrange(scene) {
      await stopped(scene);
      return opened(scene, "/jobs");
    },
  },
  {
    name: "job-paused",
    async arrange(scene) {
      await stopped(scene);
      const [{ id }] = await scene.database.rows("SELECT job_id AS id FROM andon_attempts WHERE error IS NOT NULL ORDER BY claimed_at LIMIT 1");
      return opened(scene, `/jobs/${id}`);
    },
  },
  {
    name: "job-held",
    async arrange(scene) {
      await working(scene);
      const [{ id }] = await scene.database.rows("SELECT id FROM andon_jobs WHERE stage = 'PROCESSING' ORDER BY id LIMIT 1");
      const page = await opened(scene, `/jobs/${id}`);
      await page.getByText("Held by").waitFor();
      return page;
    },
  },
  {
    name: "job-completed",
    async arrange(scene) {
      await stopped(scene);
      const [{ id }] = await scene.database.rows("SELECT id FROM andon_jobs WHERE stage = 'COMPLETED' ORDER BY id LIMIT 1");
      return opened(scene, `/jobs/${id}`);
    },
  },
  {
    name: "service-running",
    async arrange(scene) {
      await working(scene);
      return opened(scene, "/services/openai");
    },
  },
  {
    name: "service-stopped",
    async arrange(scene) {
      await stopped(scene);
      return opened(scene, "/services/openai");
    },
  },
  {
    name: "service-none",
    allows: [/status of 404/],
    arrange: (scene) => opened(scene, "/services/nobody"),
  },
  {
    name: "history",
    async arrange(scene) {
      await stopped(scene);
      return opened(scene, "/history");
    },
  },
  {
    name: "history-of-a-service",
    async arrange(scene) {
      await stopped(scene);
      return opened(scene, "/history?service=openai");
    },
  },
];
