//! Threads of a page: workers that share the module and its memory.
//!
//! The engine's worker starts them. Each tells it that it is there, becomes a member of the pool and
//! never comes back to its event loop: it ends with the worker that started it. Only a module that was
//! built for threads has any, see `harness/src/bundle/module.rs`.

#[cfg(target_feature = "atomics")]
pub(super) use shared::{abandon, start};

#[cfg(target_feature = "atomics")]
mod shared {
    use crate::threads;
    use js_sys::Promise;
    use std::cell::Cell;
    use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
    use wasm_bindgen_futures::JsFuture;

    #[wasm_bindgen(inline_js = r#"
// A browser may drop a worker that nobody knows, although it waits for work.
const threads = [];

// Whether a worker came up; where nothing is heard of it, none did.
export const start_thread = (module, memory) => new Promise((resolve) => {
    const thread = new Worker(new URL("thread.js", self.location.href), { type: "module" });
    threads.push(thread);
    thread.onmessage = ({ data }) => resolve(data);
    thread.onerror = () => resolve(false);
    setTimeout(() => resolve(false), 10000);
    thread.postMessage({ module, memory });
}).catch(() => false);

export const processors = () => navigator.hardwareConcurrency || 1;
"#)]
    extern "C" {
        fn start_thread(module: JsValue, memory: JsValue) -> Promise;
        fn processors() -> u32;
    }

    thread_local! {
        /// A page that did not start a worker is not asked again.
        static REFUSES: Cell<bool> = const { Cell::new(false) };
    }

    /// Starts workers until there are so many threads, this one included; why there are not, where
    /// there are fewer.
    pub(in crate::wasm) async fn start(count: usize) -> Option<String> {
        let processors = processors() as usize;
        if !REFUSES.get() {
            let missing = threads::started()..count.min(processors);
            let starting: Vec<Promise> = missing
                .map(|_| start_thread(wasm_bindgen::module(), wasm_bindgen::memory()))
                .collect();
            for worker in starting {
                let came = JsFuture::from(worker).await;
                REFUSES.set(REFUSES.get() || !came.is_ok_and(|came| came.is_truthy()));
            }
        }
        (threads::started() < count).then(|| match REFUSES.get() {
            true => "the page does not start workers that share memory".to_owned(),
            false => format!("navigator.hardwareConcurrency is {processors}"),
        })
    }

    /// Makes this worker a thread of the pool.
    #[wasm_bindgen]
    pub fn enlist() {
        threads::enlist();
    }

    /// Computes for ever.
    #[wasm_bindgen]
    pub fn serve() {
        threads::serve();
    }

    /// Says what this worker died of.
    #[wasm_bindgen]
    pub fn abandon(message: String) {
        threads::abandon(message);
    }
}

#[cfg(not(target_feature = "atomics"))]
pub(super) use alone::{abandon, start};

#[cfg(not(target_feature = "atomics"))]
mod alone {
    /// There is one thread.
    pub(in crate::wasm) async fn start(_count: usize) -> Option<String> {
        Some("the page has no memory that its workers could share".to_owned())
    }

    /// There is none to give up.
    pub(in crate::wasm) fn abandon(_message: String) {}
}
