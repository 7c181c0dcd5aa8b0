// Keeps the visible tab up to date: the server says that something changed, and the page asks for its content again.
// Without this module every page is whole, and shows what was true when it was loaded.

const root = location.pathname.split("/").slice(0, 3).join("/") + "/";
const live = document.getElementById("live");
const state = document.getElementById("state");
const isStill = "still" in live.dataset; // a measurement, or the answer to a form, stays as it was made
let source = null;
let asked = false;
let due = false; // something has changed since
let dragged = null; // the bars of a strip of time where dragging began and where it is

// Bytes a millisecond that this tab asks for, at most: as many tabs as fit a screen stay below 200 KB a second.
const PACE = 50;

async function update() {
  due = asked || isBusy();
  if (due && !isStill && isBusy()) say("held");
  if (due || isStill) return;
  asked = true;
  let size = 0;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.status === 401) return isTouched() ? signedOut() : location.reload(); // signed out: the page says so
    if (!answer.ok) return stop();
    const body = await answer.blob();
    size = body.size;
    const page = new DOMParser().parseFromString(await body.text(), "text/html");
    due ||= isBusy(); // somebody may be about to click by now
    if (isBusy()) return;
    const focused = document.activeElement;
    for (const id of ["replaced", "live"]) {
      const fresh = page.getElementById(id);
      if (fresh !== null) bringUpToDate(document.getElementById(id), fresh);
    }
    if (focused.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true }); // its row moved
    if (state.className === "held") say("live");
  } catch {} // Byway does not answer: the stream of events notices it, too
  finally {
    setTimeout(() => {
      asked = false;
      if (due) update();
    }, size / PACE);
  }
}

// Changes `old` into what `fresh` is, element by element: so the focus, what is scrolled and what is open stay. A form in
// which somebody types stays as a whole, and so does a row that has the focus, until a later update.
function bringUpToDate(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.localName === "form" && isTouched(old)) return tell(old, fresh);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
  }
  const keys = new Set([...fresh.childNodes].map(keyOf));
  const rest = [...old.childNodes].filter((each) => keys.has(keyOf(each)) || isHeld(each) || void each.remove());
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const index = rest.findIndex((each) => keyOf(each) === keyOf(child));
    const match = index < 0 ? null : rest.splice(index, 1)[0];
    if (match !== null) bringUpToDate(match, child);
    const node = match ?? child;
    if (node !== place) old.insertBefore(node, place);
    place = node.nextSibling;
  }
  for (const each of rest) if (!isHeld(each)) each.remove();
  if (old.localName === "form") old.reset(); // a field that was typed in before shows what it is now
}

// Says in a form that somebody types in that what it edits was changed elsewhere: by another tab, or a program.
function tell(form, fresh) {
  const note = form.querySelector("[data-told]");
  if (note === null || form.elements.version.value === fresh.elements.version.value) return;
  note.textContent = form.dataset.elsewhere;
  note.hidden = false;
}

// What tells an element from those beside it. A row has the key of what it is about.
function keyOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return node.nodeName;
  const named = node.localName === "tr" ? node.querySelector("[data-key]") ?? node.querySelector("th") : node;
  const key = named === null ? "" : named.id || named.dataset.key || named.getAttribute("href") || named.getAttribute("name");
  return `${node.nodeName} ${key || (node.localName === "tr" ? named?.textContent : node.getAttribute("aria-label")) || ""}`;
}

function isHeld(node) {
  return node.contains(document.activeElement) || (node.nodeType === Node.ELEMENT_NODE && isTouched(node));
}

// Whether somebody types, or has changed a field, in a part of the page.
function isTouched(part = live) {
  return [...part.querySelectorAll("input, textarea, select")].some((field) => field === document.activeElement || isEdited(field));
}

// The pointer has left a button, perhaps: what happened while it was there is shown.
live.addEventListener("pointerout", () => {
  if (due && !asked) update();
});

document.addEventListener("selectionchange", () => {
  if (due && !asked && !isBusy()) update();
});

// What somebody is about to click is not taken away: a row of another host would be in its place.
function isBusy() {
  return (dragged ?? moved) !== null || live.querySelector("button:hover, summary:hover") !== null || !getSelection().isCollapsed;
}

function isEdited(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.localName !== "select") return field.value !== field.defaultValue;
  return field.selectedIndex !== Math.max(0, [...field.options].findIndex((option) => option.defaultSelected));
}

// Says beside the menu whether the page follows what happens: "live", "kept" for the answer to a form, "out" after signing
// out, or "ended".
function say(word) {
  const text = (state.dataset[word] ?? "").replace("{time}", new Date().toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" }));
  if (state.className === word && word === "ended") return; // with the time at which it was noticed
  state.className = word;
  state.role = word === "ended" || word === "out" ? "alert" : null;
  state.textContent = text;
}

function start() {
  if (source !== null) return;
  source = new EventSource(root + "events" + ("follows" in live.dataset ? "?follows=" + live.dataset.follows : ""));
  source.addEventListener("open", () => {
    say(isStill ? live.dataset.still : "live");
    update(); // what happened since the page was made, or while the stream was broken
  });
  source.addEventListener("changed", update);
  source.addEventListener("error", () => {
    if (source?.readyState === EventSource.CLOSED) update(); // refused, as after signing out
    else say("ended"); // it tries again
  });
}

function signedOut() {
  stop();
  say("out");
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
  if (form === null || event.target.closest("[data-checked]") !== null) return; // an answer within the part stays
  if ("again" in form.dataset) keepTyped(form);
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

// Such a form is sent only when somebody is there to take it: else what was typed would be lost with the page.
let isSending = false;

live.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-again]");
  if (form === null || isSending) return;
  event.preventDefault();
  const { submitter } = event;
  try {
    const answer = await fetch(form.action, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.status !== 401) {
      isSending = true;
      return form.requestSubmit(submitter);
    }
    signedOut();
  } catch {
    say("ended");
  }
  checks++; // one on its way would replace what is said here
  form.querySelector("[data-checked]").textContent = form.dataset.unsent;
});

// What was typed and not saved is there again after Back, a reload, or a new sign-in in this tab.
const draftOf = (form) => "typed " + form.dataset.check;

function keepTyped(form) {
  const [area, version] = [form.querySelector("textarea"), form.elements.version];
  if (isEdited(area)) sessionStorage.setItem(draftOf(form), JSON.stringify([version.value, area.value]));
  else sessionStorage.removeItem(draftOf(form));
}

for (const form of live.querySelectorAll("form[data-again]")) {
  const [version, text] = JSON.parse(sessionStorage.getItem(draftOf(form)) ?? "[]");
  const area = form.querySelector("textarea");
  if (text === undefined || isStill) continue; // the answer to a form has the text
  if (text === area.value || document.querySelector(".notice") !== null) {
    sessionStorage.removeItem(draftOf(form)); // it was saved
    continue;
  }
  area.value = text;
  form.elements.version.value = version; // if the file has changed since, saving says so
  form.querySelector("[data-checked]").textContent = form.dataset.again;
}

live.addEventListener("click", (event) => {
  const form = event.target.closest("a[data-discard]")?.closest("form");
  if (form) sessionStorage.removeItem(draftOf(form));
});

// Text that is pasted anywhere on the page goes into the field of the form with data-paste.
document.addEventListener("paste", (event) => {
  const area = live.querySelector("form[data-paste] textarea");
  if (area === null || event.target.closest("input, textarea, select") !== null) return;
  event.preventDefault();
  area.value = [area.value.trimEnd(), event.clipboardData.getData("text/plain")].filter(Boolean).join("\n");
  area.focus();
  area.dispatchEvent(new Event("input", { bubbles: true }));
});

// The parts of a list with data-drag are put in another order by their handles. The form of that id posts their names.
let moved = null; // the part that is dragged
let order = []; // before

live.addEventListener("dragstart", (event) => {
  moved = event.target.closest?.("[data-handle]")?.closest("[data-drag] > *") ?? null;
  if (moved === null) return;
  order = [...moved.parentNode.children];
  event.dataTransfer.setDragImage(moved, 0, 0);
});

live.addEventListener("dragover", (event) => {
  const over = event.target.closest("[data-drag] > [data-name]");
  if (moved === null || over?.parentNode !== moved.parentNode) return;
  event.preventDefault();
  const isBelow = moved.compareDocumentPosition(over) & Node.DOCUMENT_POSITION_FOLLOWING;
  if (over !== moved) over[isBelow ? "after" : "before"](moved);
});

live.addEventListener("drop", (event) => {
  if (moved === null) return;
  event.preventDefault();
  const form = document.getElementById(moved.parentNode.dataset.drag);
  form.elements.order.value = [...moved.parentNode.children].flatMap((each) => each.dataset.name ?? []).join(" ");
  order = [];
  form.requestSubmit();
});

live.addEventListener("dragend", () => {
  if (order.length > 0) moved?.parentNode.append(...order); // it was not dropped
  moved = null;
  order = [];
});

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

// Dragging over a strip of time fills the field of its period, as if it was typed, and sends its form.
const barAt = ({ clientX, clientY }) => document.elementFromPoint(clientX, clientY)?.closest("a[data-from]") ?? null;

function draggedBars() {
  const bars = [...dragged[0].parentNode.querySelectorAll("a[data-from]")];
  const [first, last] = dragged.map((bar) => bars.indexOf(bar)).sort((one, other) => one - other);
  bars.forEach((bar, place) => bar.classList.toggle("dragged", place >= first && place <= last));
  return bars.slice(first, last + 1);
}

live.addEventListener("pointerdown", (event) => {
  const bar = event.button === 0 ? barAt(event) : null;
  if (bar !== null) dragged = [bar, bar];
});
live.addEventListener("dragstart", (event) => {
  if (dragged !== null) event.preventDefault(); // a bar is a link as well
});
document.addEventListener("pointermove", (event) => {
  const bar = dragged && barAt(event);
  if (bar?.parentNode !== dragged?.[0].parentNode || bar === null) return;
  dragged[1] = bar;
  draggedBars();
});
document.addEventListener("pointercancel", () => (dragged = null));
document.addEventListener("pointerup", () => {
  if (dragged === null) return;
  const bars = draggedBars();
  dragged = null;
  if (bars.length < 2) return bars[0].classList.remove("dragged"); // a click
  const field = live.querySelector("input[name=when]");
  field.value = `${bars[0].dataset.from} - ${bars.at(-1).dataset.to}`;
  field.form.requestSubmit();
});

// A field is completed from the names that Byway knows, and from what its list has already.
let typing = 0;

document.addEventListener("input", ({ target: field }) => {
  if (!field.matches("input[data-names]")) return;
  clearTimeout(typing);
  typing = setTimeout(async () => {
    try {
      const answer = await fetch(root + "names?typed=" + encodeURIComponent(field.value), { cache: "no-store" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const kept = field.list.querySelectorAll("[data-kept]");
      if (answer.ok) field.list.replaceChildren(...kept, ...page.querySelectorAll("option"));
    } catch {} // Byway has ended; the page says so
  }, PAUSE_MS);
});

// The menu closes as menus do.
const more = document.querySelector("details.more");
document.addEventListener("click", (event) => {
  if (!more.contains(event.target)) more.open = false;
});
more.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !more.open) return;
  more.open = false;
  more.querySelector("summary").focus();
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
