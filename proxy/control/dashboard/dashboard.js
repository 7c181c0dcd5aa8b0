// Keeps the visible tab up to date: the server says that something changed, and the page asks for its content again.
// Without this module every page is whole, and shows what was true when it was loaded.

const root = location.pathname.split("/").slice(0, 3).join("/") + "/";
const live = document.getElementById("live");
let source = null;
let asked = false;

async function update() {
  if (asked || isBusy() || "still" in live.dataset) return;
  asked = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) return stop();
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("live");
    if (fresh === null || isBusy()) return;
    const open = [...live.querySelectorAll("details")].map((each) => each.open);
    live.replaceChildren(...fresh.childNodes);
    live.querySelectorAll("details").forEach((each, place) => { each.open = open[place] ?? false; });
  } catch {
    stop();
  } finally {
    asked = false;
  }
}

// What somebody types, or has chosen, is not taken away.
function isBusy() {
  const active = document.activeElement;
  return live.contains(active) || !getSelection().isCollapsed;
}

function start() {
  if (source !== null || "still" in live.dataset) return; // a measurement stays as it was made
  source = new EventSource(root + "events");
  source.addEventListener("changed", update);
}

function stop() {
  source?.close();
  source = null;
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") {
    start();
    update();
  } else {
    stop();
  }
});
if (document.visibilityState === "visible") start();
