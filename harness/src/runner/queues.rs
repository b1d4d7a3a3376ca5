//! The visits that are left, by browser, shared by the workers.

use super::rounds::Visit;
use crate::browser::BrowserId;
use record::Browser;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

pub(super) struct Queues(Mutex<Vec<Queue>>);

struct Queue {
    browser: BrowserId,
    visits: VecDeque<Visit>,
    workers: usize,
    /// Sessions that can be had at a time.
    most: usize,
}

impl Queues {
    /// `slots` are the sessions that a grid can have of each browser; a grid's nodes are machines of
    /// their own.
    pub(super) fn of(visits: Vec<Visit>, slots: Option<HashMap<Browser, usize>>) -> Queues {
        let mut queues: Vec<Queue> = Vec::new();
        for visit in visits {
            let browser = BrowserId::of(&visit.cell);
            match queues.iter_mut().find(|queue| queue.browser == browser) {
                Some(queue) => queue.visits.push_back(visit),
                None => queues.push(Queue {
                    most: match &slots {
                        Some(slots) => slots.get(&browser.family).copied().unwrap_or(1),
                        None => most(browser.family),
                    },
                    browser,
                    visits: VecDeque::from([visit]),
                    workers: 0,
                }),
            }
        }
        Queues(Mutex::new(queues))
    }

    /// The browser that a free worker is of most use to, and its first cell there: a browser that
    /// nobody works with, or else the one with the most cells left for each worker. None when no cell
    /// is left that another session may have.
    pub(super) fn join(&self) -> Option<(BrowserId, Visit)> {
        let mut queues = self.lock();
        let waiting = queues
            .iter_mut()
            .filter(|queue| !queue.visits.is_empty() && queue.workers < queue.most);
        // The first of equals, so that browsers come in the order of the plan.
        let queue = waiting.reduce(|best, queue| {
            let is_better = match (best.workers, queue.workers) {
                (0, _) => false,
                (_, 0) => true,
                (a, b) => queue.visits.len() * a > best.visits.len() * b,
            };
            if is_better { queue } else { best }
        })?;
        let visit = queue.visits.pop_front()?;
        queue.workers += 1;
        Some((queue.browser.clone(), visit))
    }

    /// Whether a worker is not the only one of its browser.
    pub(super) fn is_shared(&self, browser: &BrowserId) -> bool {
        self.lock().iter().any(|queue| queue.browser == *browser && queue.workers > 1)
    }

    pub(super) fn leave(&self, browser: &BrowserId) {
        for queue in self.lock().iter_mut().filter(|queue| queue.browser == *browser) {
            queue.workers -= 1;
        }
    }

    pub(super) fn next(&self, browser: &BrowserId) -> Option<Visit> {
        self.lock().iter_mut().find(|queue| queue.browser == *browser)?.visits.pop_front()
    }

    /// Puts another visit behind all that are left.
    pub(super) fn add(&self, visit: Visit) {
        let mut queues = self.lock();
        let browser = BrowserId::of(&visit.cell);
        let queue = queues.iter_mut().find(|queue| queue.browser == browser);
        queue.expect("its cell came from there").visits.push_back(visit);
    }

    /// Visits that are left in all of `rounds`.
    pub(super) fn left(&self, browser: &BrowserId, rounds: u32) -> u64 {
        let queues = self.lock();
        let visits = queues.iter().filter(|queue| queue.browser == *browser);
        visits.flat_map(|queue| &queue.visits).map(|visit| u64::from(visit.left(rounds))).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Queue>> {
        // A queue is whole between any two statements that hold the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sessions that one machine can have of a browser at a time.
fn most(browser: Browser) -> usize {
    match browser {
        // safaridriver has one session a machine, and there is one host.
        Browser::Safari | Browser::Host => 1,
        _ => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Axes, Backend, Bits, Cell, Class, Precision};

    fn queues(cells: &[(Browser, usize)]) -> Queues {
        let visit = |browser, number| {
            Visit::first(Cell {
                class: Class::Bert,
                case: format!("{number}"),
                precision: Precision::of(Bits::Fixed(4)),
                backend: Backend::Wasm,
                browser,
                axes: Axes::new(),
            })
        };
        let of = |(browser, count): &(Browser, usize)| {
            let browser = *browser;
            (0..*count).map(move |number| visit(browser, number))
        };
        Queues::of(cells.iter().flat_map(of).collect(), None)
    }

    #[test]
    fn browsers_come_first_and_then_the_longest_queue() {
        let queues = queues(&[(Browser::Chrome, 4), (Browser::Firefox, 9)]);
        let joined: Vec<_> = (0..4).map(|_| queues.join().unwrap().0.family).collect();
        let (chrome, firefox) = (Browser::Chrome, Browser::Firefox);
        assert_eq!(joined, [chrome, firefox, firefox, firefox]);
    }

    #[test]
    fn two_cells_are_work_for_two() {
        let queues = queues(&[(Browser::Chrome, 2)]);
        let joined: Vec<_> = (0..2).map(|_| queues.join().unwrap().1.cell.case).collect();
        assert_eq!(joined, ["0", "1"]);
        assert!(queues.join().is_none());
        assert!(queues.is_shared(&Browser::Chrome.into()));
        queues.leave(&Browser::Chrome.into());
        assert!(!queues.is_shared(&Browser::Chrome.into()));
    }

    #[test]
    fn a_worker_goes_where_cells_are_left() {
        let queues = queues(&[(Browser::Chrome, 1), (Browser::Safari, 5)]);
        assert_eq!(queues.join().unwrap().0.family, Browser::Chrome);
        assert_eq!(queues.join().unwrap().0.family, Browser::Safari);
        assert!(queues.join().is_none(), "Safari has one session, Chrome no cell left");
        assert!(queues.next(&Browser::Chrome.into()).is_none());
        queues.leave(&Browser::Chrome.into());
        queues.leave(&Browser::Safari.into());
        assert_eq!(queues.join().unwrap().0.family, Browser::Safari);
    }
}
