// What the pages do beyond standing there: they keep themselves up to date, say when they cannot, send
// forms without leaving, and show times in the reader's zone. Everything works without this file.

const EVENTS = "/api/v1/queue-management/events";
const DEBOUNCE = 150; // ms between an event and looking again
const POLL_SEEN = 5000; // ms between looks at a page that is seen
const POLL_HIDDEN = 15000; // … and one that is not
const FETCH_MAX = 5000; // ms after which a look has failed
const SEND_MAX = 60000; // ms after which a form's answer is not waited for any more
const QUIET_MAX = 40000; // ms without a sign of life after which a stream counts as lost

const shown = new Map(); // of each live region: the HTML that the server gave for it
let asOf = new Date(); // when what is shown was true
let timer = 0;
let looking = false;
let hasChanged = false; // … since the last look began
let sending = false;
let stream = null;

// --- times -----------------------------------------------------------------

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const minute = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "narrow" });

function ago(at) {
  const seconds = Math.round((at - Date.now()) / 1000);
  const size = Math.abs(seconds);
  if (size < 60) return relative.format(seconds, "second");
  if (size < 3600) return relative.format(Math.trunc(seconds / 60), "minute");
  if (size < 86400) return relative.format(Math.trunc(seconds / 3600), "hour");
  return relative.format(Math.trunc(seconds / 86400), "day");
}

function age(at) {
  const seconds = Math.max(0, Math.round((Date.now() - at) / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.trunc(seconds / 60)}m`;
  if (seconds < 86400) return `${Math.trunc(seconds / 3600)}h`;
  return `${Math.trunc(seconds / 86400)}d`;
}

// The day is told only where it is not today.
function local(at, form) {
  if (form === "ago") return `(${ago(at)})`;
  if (form === "age") return age(at);
  return (form === "clock" || at.toDateString() === today ? clock : full).format(at);
}

let today = new Date().toDateString();

function localise(root) {
  for (const time of root.querySelectorAll("time[data-local]")) {
    const at = new Date(time.dateTime);
    time.title = `${full.format(at)} · ${time.dateTime.slice(0, 19).replace("T", " ")} UTC`;
    time.textContent = local(at, time.dataset.local);
  }
  for (const label of root.querySelectorAll("text[data-clock]")) label.textContent = minute.format(new Date(label.dataset.clock));
}

function tick() {
  const day = new Date().toDateString();
  if (day !== today) {
    today = day;
    localise(document);
  }
  for (const time of document.querySelectorAll('time[data-local="ago"], time[data-local="age"]')) {
    const words = local(new Date(time.dateTime), time.dataset.local);
    if (time.textContent !== words) time.textContent = words;
  }
}

// --- live regions ----------------------------------------------------------

// What a part says of the line: without what differs at each look though nothing has changed, and without
// the refusal of a form and what was filled in there, which the next look does not have.
function bare(region) {
  const part = region.cloneNode(true);
  for (const refusal of part.querySelectorAll("form .refusal")) refusal.remove();
  for (const field of part.querySelectorAll("[name=nonce], [name=reason]")) field.removeAttribute("value");
  for (const field of part.querySelectorAll("[checked], [selected]")) ["checked", "selected"].forEach((set) => field.removeAttribute(set));
  for (const details of part.querySelectorAll("details")) details.removeAttribute("open");
  return part.innerHTML.replace(/\s+/g, " ");
}

function remember(root) {
  shown.clear();
  for (const region of root.querySelectorAll("[data-live]")) shown.set(region.id, bare(region));
}

function isChanged(field) {
  if (field.type === "hidden" || field.type === "submit") return false;
  if (field.type === "checkbox") return field.checked !== field.defaultChecked;
  if (field.tagName === "SELECT") return [...field.options].some((o) => o.selected !== o.defaultSelected && (o.value || !o.selected));
  return "defaultValue" in field && field.value !== field.defaultValue;
}

// A form that somebody is at work on is never taken away from under their hands.
function isInUse(region) {
  const focused = document.activeElement;
  if (region.contains(focused) && focused.matches("input, select, textarea")) return true;
  if (region.querySelector("details[open] form[data-act], [aria-busy=true], form .refusal")) return true;
  const forms = region.querySelectorAll("form[data-act]");
  return [...forms].some((form) => [...form.elements].some(isChanged));
}

function sayOutdated(region) {
  if (region.querySelector(":scope > .outdated")) return;
  const words = document.createElement("p");
  words.className = "outdated";
  words.setAttribute("role", "status");
  words.append("This part has changed since you began here, and is shown as it was. ");
  const renew = document.createElement("button");
  renew.type = "button";
  renew.className = "plain";
  renew.textContent = "Show it as it is";
  renew.addEventListener("click", () => {
    shown.delete(region.id);
    region.querySelectorAll("form").forEach((form) => form.reset());
    region.querySelectorAll("details").forEach((details) => (details.open = false));
    region.querySelectorAll(".refusal").forEach((refusal) => refusal.remove());
    words.remove();
    look();
  });
  words.append(renew);
  region.prepend(words);
}

const parts = (root) => [...root.querySelectorAll("main > [data-live]")];

function renew(page) {
  const main = document.getElementById("main");
  const used = parts(document).filter(isInUse);
  if (parts(page).length === 0) {
    // The page of an error has nothing to be put in place of what is shown.
    if (used.length === 0) takeMain(page);
    else used.forEach(sayOutdated);
    return;
  }
  const gone = parts(document).filter((region) => !page.getElementById(region.id));
  for (const region of gone) {
    if (used.includes(region)) sayOutdated(region);
    else region.remove();
  }
  let last = document.getElementById("notice");
  for (const fresh of page.querySelectorAll("[data-live]")) {
    const region = document.getElementById(fresh.id);
    const isPart = fresh.parentElement.id === "main";
    if (region) renewRegion(region, fresh);
    else if (isPart) add(main, last, fresh);
    if (isPart) last = document.getElementById(fresh.id);
  }
}

function add(main, last, region) {
  shown.set(region.id, bare(region));
  if (last) last.after(region);
  else main.prepend(region);
  localise(region);
}

// What somebody has unfolded stays so: known by its name, or by what is said in it.
const nameOf = (details) => details.id || details.textContent;

function renewRegion(region, fresh) {
  const html = bare(fresh);
  if (shown.get(fresh.id) === html) return;
  if (isInUse(region)) {
    sayOutdated(region);
    return;
  }
  const focus = region.contains(document.activeElement) ? document.activeElement : null;
  const place = focus && [...region.querySelectorAll("a, button, summary")].indexOf(focus);
  const open = new Set([...region.querySelectorAll("details[open]")].map(nameOf));
  region.className = fresh.className;
  region.replaceChildren(...fresh.childNodes);
  for (const details of region.querySelectorAll("details")) details.open ||= open.has(nameOf(details));
  shown.set(fresh.id, html);
  localise(region);
  if (focus) region.querySelectorAll("a, button, summary")[place]?.focus({ preventScroll: true });
}

function takeMain(page) {
  remember(page);
  const main = document.getElementById("main");
  main.replaceChildren(...page.getElementById("main").childNodes);
  localise(main);
  const at = document.getElementById("as-of");
  const next = page.getElementById("as-of");
  if (at) at.replaceChildren(...(next?.childNodes ?? []));
  if (at) localise(at);
}

function takeHead(page) {
  document.title = page.title;
  const icon = document.querySelector("link[rel=icon]");
  const next = page.querySelector("link[rel=icon]");
  if (icon && next && icon.getAttribute("href") !== next.getAttribute("href")) icon.setAttribute("href", next.getAttribute("href"));
  document.body.dataset.state = page.body.dataset.state ?? "unknown";
}

// The page of an answer; none if it is of another version of the screen, which loads itself anew.
async function read(response) {
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const version = page.documentElement.dataset.version;
  if (!version) throw new Error("not a page of the screen");
  if (version !== document.documentElement.dataset.version) {
    location.reload();
    return null;
  }
  return page;
}

async function look() {
  if (looking || sending) {
    hasChanged = true;
    return;
  }
  looking = true;
  hasChanged = false;
  clearTimeout(timer);
  try {
    const began = new Date();
    const response = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(FETCH_MAX) });
    if (response.redirected && new URL(response.url).pathname === "/login") return location.reload();
    const page = await read(response);
    if (!page || sending) return;
    takeHead(page);
    renew(page);
    asOf = began;
    found();
  } catch {
    lost();
  } finally {
    looking = false;
    plan(hasChanged ? DEBOUNCE : document.hidden ? POLL_HIDDEN : POLL_SEEN);
  }
}

// Changes that come closer to each other than the wait must not put the look off for ever.
function change() {
  if (!hasChanged && !looking) plan(DEBOUNCE);
  hasChanged = true;
}

function plan(wait) {
  clearTimeout(timer);
  timer = setTimeout(look, wait);
}

// --- truthfulness ----------------------------------------------------------

const bar = document.getElementById("lost");

function lost() {
  bar.textContent = `As of ${clock.format(asOf)} — connection lost, trying again. Nothing can be sent until it is back.`;
  bar.hidden = false;
  // A tab that nobody looks at must not go on saying RUNNING.
  document.title = `? ${clock.format(asOf)} · connection lost · andon`;
  const icon = document.querySelector("link[rel=icon]");
  icon?.setAttribute("href", icon.getAttribute("href").replace(/[a-z]+\.svg$/, "unknown.svg"));
  document.body.dataset.stale = "";
  for (const form of document.querySelectorAll("form[data-act]")) form.inert = true;
}

function found() {
  if (!("stale" in document.body.dataset)) return;
  delete document.body.dataset.stale;
  bar.hidden = true;
  bar.textContent = "";
  for (const form of document.querySelectorAll("form[data-act]")) form.inert = false;
}

// A stream only says that something has changed. It is read as plain bytes, so that its silence is
// noticed too. A page that nobody sees holds none: browsers allow few connections to one server.
async function listen() {
  if (stream || document.hidden) return;
  const mine = (stream = new AbortController());
  let quiet = 0;
  try {
    const response = await fetch(EVENTS, { headers: { accept: "text/event-stream" }, cache: "no-store", signal: mine.signal });
    if (!response.ok || !response.body) throw new Error("no stream");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      clearTimeout(quiet);
      quiet = setTimeout(() => mine.abort(), QUIET_MAX);
      const { done, value } = await reader.read();
      if (done) break;
      if (value.includes("data:")) change();
    }
  } catch {
    // Whether the line can be reached at all is found by looking.
  }
  clearTimeout(quiet);
  if (stream !== mine) return;
  stream = null;
  if (document.hidden) return;
  look();
  setTimeout(listen, 2000);
}

// --- forms -----------------------------------------------------------------

function complain(form, words) {
  form.querySelector(".refusal")?.remove();
  const refusal = document.createElement("div");
  refusal.className = "refusal";
  refusal.setAttribute("role", "alert");
  refusal.tabIndex = -1;
  refusal.textContent = words;
  form.prepend(refusal);
  refusal.focus();
}

async function send(form, button) {
  if (sending || form.inert) return;
  sending = true;
  const fields = new URLSearchParams(new FormData(form));
  const label = button.textContent;
  form.setAttribute("aria-busy", "true");
  button.setAttribute("aria-busy", "true");
  button.disabled = true;
  button.textContent = "Sending…";
  try {
    const response = await fetch(form.action, { method: "POST", body: fields, headers: { accept: "text/html" }, signal: AbortSignal.timeout(SEND_MAX) });
    const url = new URL(response.url);
    if (response.redirected && url.pathname === "/login") return location.assign(url);
    const page = await read(response);
    if (!page) return;
    takeHead(page);
    takeMain(page);
    asOf = new Date();
    const message = document.querySelector("#main .refusal[role=alert], #notice") ?? document.getElementById("main");
    message.focus();
    message.scrollIntoView({ block: "nearest" });
  } catch {
    form.removeAttribute("aria-busy");
    button.removeAttribute("aria-busy");
    button.disabled = false;
    button.textContent = label;
    complain(form, "There was no answer: whether it was done is not known. Look at the line first; sending this form again does it once at most.");
  } finally {
    sending = false;
    plan(DEBOUNCE);
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[data-act]")) return;
  event.preventDefault();
  send(form, event.submitter ?? form.querySelector("button[type=submit]"));
});

// --- beginning -------------------------------------------------------------

if ("watch" in document.body.dataset) {
  remember(document);
  const here = new URL(location.href);
  if (here.searchParams.has("said")) {
    here.searchParams.delete("said");
    history.replaceState(null, "", here);
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      stream?.abort();
      stream = null;
    } else {
      listen();
      look();
    }
  });
  listen();
  plan(document.hidden ? POLL_HIDDEN : POLL_SEEN);
}
localise(document);
setInterval(tick, 1000);
