//! The pool: threads that compute slices of a job, and wait for the next.
//!
//! Jobs come in quick succession, a token's are hundreds, and to wake a thread costs as much as a small
//! one: whoever waits looks again and again for a while before it sleeps. On the host members are
//! threads of std; a page starts workers that share the module's memory (`wasm/threads.rs`), where std
//! sleeps and wakes by `memory.atomic.wait32` and `notify`.

use std::{
    cell::{Cell, OnceCell},
    hint,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::{self, NonNull},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicPtr, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
};

/// How often who waits looks before it sleeps: a tenth of a millisecond or two, which is longer than what
/// lies between the products of a token. A processor pauses between two looks, and WebAssembly does not.
const LOOKS: u32 = if cfg!(target_arch = "wasm32") { 1 << 16 } else { 1 << 12 };

/// All members. Who has work for them holds it, so callers take turns.
static MEMBERS: Mutex<Vec<Arc<Member>>> = Mutex::new(Vec::new());

thread_local! {
    /// Over how many threads the work of this one is spread. It is one within a slice.
    static COUNT: Cell<usize> = const { Cell::new(1) };
    /// What a member is.
    static SEAT: OnceCell<Arc<Member>> = const { OnceCell::new() };
    /// The job that a member is at.
    static TAKEN: Cell<Option<NonNull<Job<'static>>>> = const { Cell::new(None) };
}

struct Member {
    thread: Thread,
    /// What it is to do, until somebody takes it.
    job: AtomicPtr<Job<'static>>,
}

struct Job<'a> {
    slice: &'a (dyn Fn(usize) + Sync),
    /// Slices that there are, and the first that nobody has taken.
    slices: usize,
    next: AtomicUsize,
    /// Members that are not done.
    left: AtomicUsize,
    /// What a member died of.
    failure: Mutex<Option<String>>,
    caller: Thread,
}

/// Over how many threads the work of this one is spread.
pub(crate) fn count() -> usize {
    COUNT.get()
}

/// Spreads the work of this thread over so many, as far as there are as many.
pub(crate) fn spread(count: usize) {
    COUNT.set(count.clamp(1, started()));
}

/// Threads that there are, a caller included.
pub(crate) fn started() -> usize {
    lock(&MEMBERS).len() + 1
}

/// Computes slices `0..slices` and comes back when all are done.
///
/// # Panics
/// Where a slice does.
pub(super) fn broadcast(slices: usize, slice: &(dyn Fn(usize) + Sync)) {
    let count = count().min(slices);
    if count <= 1 {
        return (0..slices).for_each(slice);
    }
    let members = lock(&MEMBERS);
    let members = &members[..count - 1];
    let job = Job {
        slice,
        slices,
        next: AtomicUsize::new(0),
        left: AtomicUsize::new(members.len()),
        failure: Mutex::default(),
        caller: thread::current(),
    };
    for member in members {
        member.job.store(ptr::from_ref(&job).cast_mut().cast(), Ordering::Release);
        member.thread.unpark();
    }
    // Members look at the job until they are done, so it is left in no other way, panics included.
    let finish = Finish { job: &job, spread: COUNT.replace(1) };
    job.work();
    // Who has not begun by now is asleep, or its processor is busy with something else.
    for member in members {
        if member.take().is_some() {
            job.left.fetch_sub(1, Ordering::Relaxed);
        }
    }
    drop(finish);
    if let Some(message) = lock(&job.failure).take() {
        panic!("{message}");
    }
}

impl Job<'_> {
    /// Computes slices until all are taken.
    fn work(&self) {
        loop {
            let slice = self.next.fetch_add(1, Ordering::Relaxed);
            if slice >= self.slices {
                return;
            }
            (self.slice)(slice);
        }
    }
}

/// Waits for the members of a job.
struct Finish<'a> {
    job: &'a Job<'a>,
    spread: usize,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        wait(|| (self.job.left.load(Ordering::Acquire) == 0).then_some(()));
        COUNT.set(self.spread);
    }
}

impl Member {
    /// Its job, which is whose who takes it.
    fn take(&self) -> Option<NonNull<Job<'static>>> {
        // A look is cheaper than to write, and mostly there is nothing.
        let is_there = !self.job.load(Ordering::Relaxed).is_null();
        is_there.then(|| NonNull::new(self.job.swap(ptr::null_mut(), Ordering::AcqRel))).flatten()
    }
}

/// Counts this thread off from the job that it took.
fn finish(failure: Option<String>) {
    let Some(job) = TAKEN.take() else { return };
    // SAFETY: it came from a reference, and `broadcast` keeps the job until all who took it have been
    // here, and no longer; from then on nobody looks at it.
    let job = unsafe { job.as_ref() };
    if failure.is_some() {
        *lock(&job.failure) = failure;
    }
    let caller = job.caller.clone();
    if job.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        caller.unpark();
    }
}

/// Makes this thread a member, which is then to [`serve`].
pub(crate) fn enlist() {
    let mut members = lock(&MEMBERS);
    let member = Arc::new(Member { thread: thread::current(), job: AtomicPtr::default() });
    members.push(Arc::clone(&member));
    let is_new = SEAT.with(|seat| seat.set(member).is_ok());
    assert!(is_new, "a thread enlists once");
}

/// Computes slices of every job, for ever.
pub(crate) fn serve() -> ! {
    let member = SEAT.with(|seat| seat.get().cloned()).expect("a member serves");
    loop {
        let job = wait(|| member.take());
        TAKEN.set(Some(job));
        // SAFETY: as in `finish`, which is still to come.
        let work = unsafe { job.as_ref() };
        let done = catch_unwind(AssertUnwindSafe(|| work.work()));
        finish(done.err().map(|panic| said(&*panic)));
    }
}

/// Says what this thread died of, where it was a member in the middle of a job: in a page nothing
/// catches a panic, and the caller would wait for ever.
#[cfg(target_arch = "wasm32")]
pub(crate) fn abandon(message: String) {
    finish(Some(message));
}

/// Starts threads until there are so many, this one included.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn grow(count: usize) -> usize {
    while started() < count {
        let (say, hear) = std::sync::mpsc::channel();
        let member = move || {
            enlist();
            // Whoever started it waits for this.
            let _ = say.send(());
            serve()
        };
        let started = thread::Builder::new().name("slices".to_owned()).spawn(member);
        if started.is_err() || hear.recv().is_err() {
            break;
        }
    }
    started()
}

/// Looks for something until it is there. Whoever puts it there wakes this thread.
fn wait<T>(found: impl Fn() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = found() {
            return found;
        }
        hint::spin_loop();
    }
    loop {
        if let Some(found) = found() {
            return found;
        }
        thread::park();
    }
}

/// Who panicked while it held a lock has told, and left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn said(panic: &dyn std::any::Any) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a thread panicked").to_owned()
}
