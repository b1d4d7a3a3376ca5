// One thread more for the engine: it shares the module and its memory, and ends with the worker that
// started it.

import load, { abandon, enlist, serve } from "./pkg/threads/threads.js";

self.addEventListener("message", async ({ data: { module, memory } }) => {
  try {
    await load({ module_or_path: module, memory });
    enlist();
  } catch {
    self.postMessage(false);
    return;
  }
  self.postMessage(true);
  try {
    serve();
  } catch (error) {
    // Whoever waits for this thread cannot hear events meanwhile.
    abandon(String(error));
  }
});
