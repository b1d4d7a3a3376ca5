// What the harness calls: `run` starts a request, `next` waits for what it says, `stop` ends it.

const state = document.getElementById("state");
let worker = null;
let events = [];
let wake = null;

// Events come in flurries: one that is waited for brings along those of the next moment.
const FLURRY_MS = 15;

const post = (event) => {
  events.push(event);
  if (wake) setTimeout(wake, FLURRY_MS);
};

const start = () => {
  const started = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  started.onmessage = ({ data }) => post(data);
  // Only a worker that does not load ends here; it reports all other errors itself.
  started.onerror = (error) => {
    const message = error.message || "the worker does not load; is the bundle complete?";
    post(JSON.stringify({ event: "failed", message }));
  };
  return started;
};

/** Starts a request, given as JSON text. Its events come from `next`; the last one ends it. */
window.run = (request) => {
  events = [];
  worker ??= start();
  worker.postMessage(request);
  state.textContent = "running";
};

/** Resolves to the events since the last call: as soon as there is one, or to none after a while. */
window.next = (maxWaitMs) =>
  new Promise((resolve) => {
    const give = () => {
      clearTimeout(timer);
      wake = null;
      resolve(events.splice(0));
    };
    const timer = setTimeout(give, maxWaitMs);
    wake = give;
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
