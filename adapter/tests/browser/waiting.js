// Waiting for a condition, with a deadline: nothing here sleeps and hopes.

/** For how long anything is waited for that has no deadline of its own. */
export const PATIENCE = 30_000;

const PAUSE = 25;

/** Looks until there is something to see, and answers it. */
export async function until(what, look, patience = PATIENCE) {
  const deadline = performance.now() + patience;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (performance.now() > deadline) throw new Error(`waited ${patience} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}
