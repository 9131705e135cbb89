// Keeps an open page up to date, and loads what takes long. Without this script every page works, and is as it was when it
// was loaded.
"use strict";

// At most one refresh in this many milliseconds, whatever is decided.
const REFRESH_EVERY = 1000;

const connection = document.getElementById("connection");
let refreshing = false;
let isStale = false;

function say(state, text) {
  if (connection.textContent !== text) connection.textContent = text;
  connection.dataset.state = state;
}

// Replaces the parts of the page that change by those of the server's present page. A part that has the focus stays.
async function refresh() {
  if (refreshing || document.hidden) {
    isStale = true;
    return;
  }
  refreshing = true;
  isStale = false;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (answer.ok) {
      let hasChanged = false;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const now = page.getElementById(part.id);
        if (!now || part.contains(document.activeElement) || part.innerHTML === now.innerHTML) continue;
        part.replaceChildren(...now.childNodes);
        part.classList.remove("fresh");
        void part.offsetWidth;
        part.classList.add("fresh");
        hasChanged = true;
      }
      if (hasChanged) document.querySelectorAll("[data-load]").forEach(load);
    }
  } catch {
    // The stream tells when the server is back.
  }
  setTimeout(() => {
    refreshing = false;
    if (isStale) refresh();
  }, REFRESH_EVERY);
}

function follow() {
  const stream = new EventSource("/decisions/stream");
  let hasOpened = false;
  stream.addEventListener("open", () => {
    say("on", "live");
    // What was decided while the stream was away.
    if (hasOpened) refresh();
    hasOpened = true;
  });
  stream.addEventListener("error", () => say("off", "not live"));
  stream.addEventListener("decided", (message) => {
    const { count, decided } = JSON.parse(message.data);
    const last = decided[decided.length - 1];
    say("on", last && count === 1 ? `live: ${last.claim} ${last.phase}` : `live: ${count} decisions`);
    refresh();
  });
}

async function load(part) {
  try {
    const answer = await fetch(part.dataset.load);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    part.replaceChildren(...(page.getElementById("loaded") ?? page.body).childNodes);
  } catch {
    // The link in its place stays.
  }
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && isStale) refresh();
});
document.querySelectorAll("[data-load]").forEach(load);
if (document.querySelector("[data-live]")) follow();
else connection.hidden = true;
