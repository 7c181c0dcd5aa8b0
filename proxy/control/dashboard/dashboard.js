// Keeps the visible tab up to date: the server says that something changed, and the page asks for its content again.
// Without this module every page is whole, and shows what was true when it was loaded.

const root = location.pathname.split("/").slice(0, 3).join("/") + "/";
const live = document.getElementById("live");
let source = null;
let asked = false;
let due = false; // something has changed since

// Bytes a millisecond that this tab asks for, at most: as many tabs as fit a screen stay below 200 KB a second.
const PACE = 50;

async function update() {
  due = asked || isBusy();
  if (due || "still" in live.dataset) return;
  asked = true;
  let size = 0;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    due ||= isBusy(); // somebody may have begun to type since it was asked for
    if (answer.status === 401 && !due) location.reload(); // signed out: the page says so, in place of what was true then
    if (!answer.ok) return stop();
    const body = await answer.blob();
    size = body.size;
    const page = new DOMParser().parseFromString(await body.text(), "text/html");
    const fresh = page.getElementById("live");
    due ||= isBusy();
    if (fresh === null || isBusy()) return;
    const key = (each, place) => each.dataset.key ?? String(place);
    const open = new Map([...live.querySelectorAll("details")].map((each, place) => [key(each, place), each.open]));
    live.replaceChildren(...fresh.childNodes);
    live.querySelectorAll("details").forEach((each, place) => { each.open = open.get(key(each, place)) ?? false; });
  } catch {
    stop();
  } finally {
    setTimeout(() => {
      asked = false;
      if (due) update();
    }, size / PACE);
  }
}

// The pointer has left a button, perhaps: what happened while it was there is shown.
live.addEventListener("pointerout", () => {
  if (due && !asked) update();
});

// What somebody types, or has chosen, is not taken away; nor is what they are about to click: a row of another host would
// be in its place.
function isBusy() {
  const active = document.activeElement;
  return live.contains(active) || live.querySelector("button:hover, summary:hover") !== null || !getSelection().isCollapsed || [...live.querySelectorAll("input, textarea, select")].some(isEdited);
}

function isEdited(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.localName !== "select") return field.value !== field.defaultValue;
  return field.selectedIndex !== Math.max(0, [...field.options].findIndex((option) => option.defaultSelected));
}

function start() {
  if (source !== null || "still" in live.dataset) return; // a measurement stays as it was made
  source = new EventSource(root + "events" + ("follows" in live.dataset ? "?follows=" + live.dataset.follows : ""));
  source.addEventListener("open", update); // what happened since the page was made, or while the stream was broken
  source.addEventListener("changed", update);
  source.addEventListener("error", () => {
    if (source?.readyState === EventSource.CLOSED) update(); // refused, as after signing out; else it tries again
  });
}

function stop() {
  source?.close();
  source = null;
}

// A form with data-check is checked while somebody types: its fields are posted there, and the part of the page that
// comes back replaces what its [data-checked] has.
const PAUSE_MS = 300; // without a key
let pausing = 0;
let checks = 0;

live.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-check]");
  if (form === null) return;
  clearTimeout(pausing);
  pausing = setTimeout(() => check(form), PAUSE_MS);
});

async function check(form) {
  const fields = new URLSearchParams(new FormData(form));
  fields.set("part", "1");
  const mine = ++checks;
  try {
    const answer = await fetch(root + form.dataset.check, { method: "POST", body: fields });
    if (!answer.ok || mine !== checks) return; // saving says what is wrong
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    form.querySelector("[data-checked]").replaceChildren(...page.body.childNodes);
  } catch {} // Byway has ended; saving says so
}

// A link to a line of a text selects it there.
live.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-line]");
  if (link === null) return;
  event.preventDefault();
  const area = live.querySelector(link.getAttribute("href"));
  const before = area.value.split("\n").slice(0, Number(link.dataset.line) - 1).join("\n").length;
  const start = before + (before > 0 || link.dataset.line > 1 ? 1 : 0);
  const end = area.value.indexOf("\n", start);
  area.focus();
  area.setSelectionRange(start, end < 0 ? area.value.length : end);
});

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") {
    start();
    update();
  } else {
    stop();
  }
});
if (document.visibilityState === "visible") start();
