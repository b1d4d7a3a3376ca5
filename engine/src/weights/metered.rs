//! Counts what reading takes.

use super::{LocalFuture, Source};
use crate::{error::Result, time::now_ms};
use std::{cell::Cell, ops::Range};

/// A source that knows how long it was waited for, and how much it gave.
pub struct Metered<'a> {
    source: &'a dyn Source,
    ms: Cell<f64>,
    bytes: Cell<u64>,
}

impl<'a> Metered<'a> {
    /// Counts from now on what is read of `source`.
    pub fn new(source: &'a dyn Source) -> Metered<'a> {
        Metered { source, ms: Cell::new(0.0), bytes: Cell::new(0) }
    }

    /// Milliseconds that reads took.
    pub fn ms(&self) -> f64 {
        self.ms.get()
    }

    /// Bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }
}

impl Source for Metered<'_> {
    fn size(&self, file: &str) -> Option<u64> {
        self.source.size(file)
    }

    fn read<'a>(&'a self, file: &'a str, range: Range<u64>) -> LocalFuture<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            let start = now_ms();
            let read = self.source.read(file, range).await;
            self.ms.set(self.ms.get() + now_ms() - start);
            if let Ok(bytes) = &read {
                self.bytes.set(self.bytes.get() + bytes.len() as u64);
            }
            read
        })
    }
}
