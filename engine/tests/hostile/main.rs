//! Files that nobody would publish: each is refused in words that name the file and what is wrong in
//! it, without a panic, without a hang, and without taking more memory than the file and 64 MB.

/// One test per file: its name, its bytes, and the words of its refusal.
macro_rules! refused {
    ($file:literal $($name:ident: $bytes:expr => $($word:literal),+;)+) => {
        $(#[test]
        fn $name() {
            crate::refuse($file, $bytes, &[$($word),+]);
        })+
    };
}

#[path = "../support/gguf.rs"]
mod gguf_writer;
mod ggufs;
mod mutated;
mod safetensors;

use engine::{
    error::Error,
    weights::{Checkpoint, Memory, Source},
};
use pollster::block_on;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The memory a refusal may take beside the file's own size.
const SPARE: isize = 64 << 20;

/// Counts the bytes that each thread holds; tests run on threads of their own.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    LIVE.set(LIVE.get() + bytes);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the pointer came from `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What a call gives back, and how many bytes it held at its worst.
fn measured<T>(call: impl FnOnce() -> T) -> (T, isize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = call();
    (result, PEAK.get() - before)
}

fn open(source: &dyn Source, file: &str) -> Result<Checkpoint, Error> {
    block_on(Checkpoint::open(source, &[file.to_string()]))
}

/// Opens a file that must be refused, with an error that has these words.
#[track_caller]
fn refuse(file: &str, bytes: Vec<u8>, words: &[&str]) {
    let size = bytes.len() as isize;
    let memory = Memory::new().with(file, bytes);
    let (result, peak) = measured(|| open(&memory, file));
    let error = result.expect_err("a hostile file was accepted").to_string();
    assert!(error.starts_with(&format!("{file} is malformed: ")), "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    assert!(error.len() < 1000, "{} bytes of error", error.len());
    assert!(peak <= size + SPARE, "{peak} bytes were held for a file of {size}");
}
