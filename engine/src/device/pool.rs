//! Lends GPU buffers and takes them back when their tensor is dropped.
//!
//! Work runs in the order in which it was recorded, so a buffer may be lent again as soon as its
//! tensor is gone, even while the dispatches that use it are still waiting to run.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

/// Free buffers by size, and how much memory is out.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: Shelf,
    /// While a list is recorded, what was free before: what the list takes of it stays the list's.
    before: Shelf,
    /// Buffers that were made.
    made: u64,
    /// Dropped, but perhaps still wanted by work that waits to be submitted.
    doomed: Vec<wgpu::Buffer>,
    allocated: u64,
    peak: u64,
}

/// Free buffers by size, each with its number.
pub(super) type Shelf = HashMap<u64, Vec<(u64, wgpu::Buffer)>>;

/// A GPU buffer that returns to its pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    raw: wgpu::Buffer,
    number: u64,
    /// Dedicated buffers (weights, caches) are of exactly the size asked for and are freed.
    pooled: bool,
    pool: Rc<RefCell<Pool>>,
}

impl Buffer {
    /// Bytes there are.
    pub fn capacity(&self) -> u64 {
        self.raw.size()
    }

    pub(super) fn raw(&self) -> &wgpu::Buffer {
        &self.raw
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut pool = self.pool.borrow_mut();
        let size = self.raw.size();
        if self.pooled {
            pool.free.entry(size).or_default().push((self.number, self.raw.clone()));
        } else {
            pool.allocated -= size;
            pool.doomed.push(self.raw.clone());
        }
    }
}

impl Pool {
    /// Takes a buffer of at least `bytes`; of those that are free the oldest, so that equal passes one after
    /// another get equal buffers, and their kernels find what was bound for the last one.
    pub(super) fn take(this: &Rc<RefCell<Pool>>, device: &wgpu::Device, bytes: u64) -> Buffer {
        let size = size_class(bytes);
        let oldest = |shelf: &mut Shelf| {
            let free = shelf.get_mut(&size)?;
            let (oldest, _) = free.iter().enumerate().min_by_key(|(_, (number, _))| *number)?;
            Some(free.swap_remove(oldest))
        };
        let reused = {
            let mut pool = this.borrow_mut();
            oldest(&mut pool.free).or_else(|| oldest(&mut pool.before))
        };
        let (number, raw) = reused.unwrap_or_else(|| Pool::create(this, device, size));
        Buffer { raw, number, pooled: true, pool: Rc::clone(this) }
    }

    /// A buffer of exactly `bytes` for something that lives long.
    pub(super) fn dedicated(this: &Rc<RefCell<Pool>>, device: &wgpu::Device, bytes: u64) -> Buffer {
        let (number, raw) = Pool::create(this, device, bytes.max(4));
        Buffer { raw, number, pooled: false, pool: Rc::clone(this) }
    }

    fn create(this: &Rc<RefCell<Pool>>, device: &wgpu::Device, size: u64) -> (u64, wgpu::Buffer) {
        let mut pool = this.borrow_mut();
        pool.allocated += size;
        pool.peak = pool.peak.max(pool.allocated);
        pool.made += 1;
        let raw = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        (pool.made, raw)
    }

    /// Bytes held now.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Most bytes held at once since the last [`Pool::clear`].
    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    /// Frees what is not lent and starts counting the peak anew.
    pub(super) fn clear(&mut self) {
        for (size, buffers) in self.free.drain() {
            for (_, buffer) in buffers {
                self.allocated -= size;
                buffer.destroy();
            }
        }
        self.peak = self.allocated;
    }

    /// Frees the buffers that were dropped: everything that uses them has been submitted.
    pub(super) fn bury(&mut self) {
        for buffer in self.doomed.drain(..) {
            buffer.destroy();
        }
    }

    /// From now on buffers are lent to a list: they come back to it alone.
    pub(super) fn begin_list(&mut self) {
        assert!(self.before.is_empty(), "one list is recorded at a time");
        self.before = std::mem::take(&mut self.free);
    }

    /// The buffers of the list.
    pub(super) fn end_list(&mut self) -> Shelf {
        let before = std::mem::take(&mut self.before);
        std::mem::replace(&mut self.free, before)
    }

    /// Adds free buffers.
    pub(super) fn restock(&mut self, shelf: Shelf) {
        for (size, buffers) in shelf {
            self.free.entry(size).or_default().extend(buffers);
        }
    }
}

/// Sizes in steps of an eighth of their power of two: little is wasted and much is shared.
fn size_class(bytes: u64) -> u64 {
    let step = (bytes.next_power_of_two() / 8).max(256);
    bytes.max(4).div_ceil(step) * step
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_waste_at_most_a_quarter() {
        for bytes in [1, 256, 257, 5000, 65_536, 1_000_000, 113_246_208] {
            let size = size_class(bytes);
            assert!(size >= bytes && size <= bytes + (bytes / 4).max(256), "{bytes} -> {size}");
        }
    }
}
