// What the harness calls: `run` starts a request in an engine of the page, `next` waits for what it
// says, `stop` ends it.

const state = document.getElementById("state");
let worker = null;
let engine = null;
let events = [];
let wake = null;

// Events come in flurries: one that is waited for brings along those of the next moment.
const FLURRY_MS = 15;

const post = (event) => {
  events.push(event);
  const waiting = wake;
  if (waiting) setTimeout(waiting, FLURRY_MS);
};

// Browsers slow hidden pages down, and only the page sees that it is one.
const tellIfHidden = () => {
  if (document.visibilityState === "hidden") post(JSON.stringify({ event: "hidden" }));
};
document.addEventListener("visibilitychange", tellIfHidden);

const start = (name) => {
  const started = new Worker(new URL("worker.js", import.meta.url), { type: "module", name });
  started.onmessage = ({ data }) => post(data);
  // Only a worker that does not load ends here; it reports all other errors itself.
  started.onerror = (error) => {
    const message = error.message || "the worker does not load; is the bundle complete?";
    post(JSON.stringify({ event: "failed", message }));
  };
  return started;
};

/**
 * Starts a request, given as JSON text, in the engine of this name. Its events come from `next`; the
 * last one ends it.
 */
window.run = (request, name) => {
  if (name !== engine) window.stop();
  events = [];
  engine = name;
  worker ??= start(name);
  worker.postMessage(request);
  tellIfHidden();
  state.textContent = "running";
};

/** Resolves to the events since the last call: as soon as there is one, or to none after a while. */
window.next = (maxWaitMs) =>
  new Promise((resolve) => {
    let timer = null;
    const give = () => {
      // Each waits once: a flurry that ends late must not swallow what a later call waits for.
      if (wake !== give) return;
      wake = null;
      clearTimeout(timer);
      resolve(events.splice(0));
    };
    wake = give;
    timer = setTimeout(give, maxWaitMs);
    if (events.length > 0) give();
  });

/** Ends whatever runs, together with its memory; the next `run` starts afresh. */
window.stop = () => {
  worker?.terminate();
  worker = null;
  events = [];
  state.textContent = "stopped";
};

state.textContent = "ready";
