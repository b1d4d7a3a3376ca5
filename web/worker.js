// Answers one request at a time in a thread of its own, so that the page stays responsive while a
// model runs and can end it when it does not come back. Requests, events and answers are JSON text
// that nobody reads here: their form is the business of the crate `record`.

const post = (event) => self.postMessage(event);

// The engine cannot speak for itself after a trap, and neither can a bundle that does not load.
const fail = (error) => {
  const text = String(error);
  const stack = String(error?.stack ?? "");
  const message = stack.includes(text) ? stack : `${text}\n${stack}`.trim();
  post(JSON.stringify({ event: "failed", message }));
};
self.addEventListener("unhandledrejection", (event) => fail(event.reason));
self.addEventListener("error", (event) => {
  // It is told here, so the page need not hear of it as well.
  event.preventDefault();
  fail(event.error ?? event.message);
});

const load = async (name) => {
  const module = await import(`./pkg/${name}/${name}.js`);
  await module.default({ module_or_path: new URL(`pkg/${name}/${name}_bg.wasm`, import.meta.url) });
  return module;
};

// WebKitGTK isolates a page, and still refuses to hand shared memory to a worker.
const sharesMemory = () => {
  try {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    new MessageChannel().port1.postMessage(memory);
    return self.crossOriginIsolated;
  } catch {
    return false;
  }
};

// A worker is called by the engine that it is to load: `engine` for cells, `threads` for cells on several
// threads, `infer` for questions. Without shared memory one thread does.
const pick = () => {
  if (self.name !== "threads") return load(self.name);
  return sharesMemory() ? load("threads").catch(() => load("engine")) : load("engine");
};
const engine = pick();

self.addEventListener("message", async ({ data: request }) => {
  try {
    const { answer } = await engine;
    post(`{"event":"done","answer":${await answer(request, post)}}`);
  } catch (error) {
    fail(error);
  }
});
