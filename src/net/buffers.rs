//! A shard's pool of I/O buffers: taken when bytes are there, given back when a connection goes idle.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Bytes of an ordinary buffer: a request head with its limit at the default fits.
pub const SMALL_BYTES: usize = 16 * 1024;
/// Bytes of a buffer for bodies that proved to be long.
pub const LARGE_BYTES: usize = 128 * 1024;
/// A buffer that had to grow a little is still kept.
const DOUBLE_SMALL_BYTES: usize = 2 * SMALL_BYTES;
const DOUBLE_LARGE_BYTES: usize = 2 * LARGE_BYTES;
/// How many of each the pool keeps; more are freed.
const KEPT_SMALL: usize = 512;
const KEPT_LARGE: usize = 32;

/// How many large buffers a shard has in use at once: 32 MiB. A peer that takes nothing of one holds it for as long as
/// its timeout lasts, so the others then get small ones.
const MAX_LARGE: usize = 256;

/// Two stacks of empty vectors. Their capacity is what counts: a read never grows a buffer.
#[derive(Default)]
pub struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    large_in_use: Rc<Cell<usize>>,
}

/// Counts a large buffer as in use. To be dropped when the buffer is given back, or freed.
pub struct LargePlace(Rc<Cell<usize>>);

impl Drop for LargePlace {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Buffers {
    /// An empty buffer of [`SMALL_BYTES`] or a little more.
    pub fn small(&self) -> Vec<u8> {
        self.small.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(SMALL_BYTES))
    }

    /// An empty buffer of [`LARGE_BYTES`] or a little more; `None`: too many are in use.
    pub fn large(&self) -> Option<(Vec<u8>, LargePlace)> {
        let in_use = &self.large_in_use;
        if in_use.get() >= MAX_LARGE {
            return None;
        }
        in_use.set(in_use.get() + 1);
        let buffer = self.large.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(LARGE_BYTES));
        Some((buffer, LargePlace(in_use.clone())))
    }

    /// Gives back a buffer that is empty, and puts what is little in a large one into a small one.
    pub fn shrink(&self, buffer: &mut Vec<u8>) {
        if buffer.is_empty() {
            self.give_back(std::mem::take(buffer));
        } else if buffer.capacity() >= LARGE_BYTES && buffer.len() <= SMALL_BYTES {
            let mut small = self.small();
            small.extend_from_slice(buffer);
            self.give_back(std::mem::replace(buffer, small));
        }
    }

    /// Takes a buffer back. Odd sizes (a vector that had to grow, or one that was moved out) are freed.
    pub fn give_back(&self, mut buffer: Vec<u8>) {
        let (stack, kept) = match buffer.capacity() {
            SMALL_BYTES..=DOUBLE_SMALL_BYTES => (&self.small, KEPT_SMALL),
            LARGE_BYTES..=DOUBLE_LARGE_BYTES => (&self.large, KEPT_LARGE),
            _ => return,
        };
        let mut stack = stack.borrow_mut();
        if stack.len() < kept {
            buffer.clear();
            stack.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_is_used_again() {
        let buffers = Buffers::default();
        let mut buffer = buffers.small();
        buffer.extend_from_slice(b"left over");
        let address = buffer.as_ptr();
        buffers.give_back(buffer);
        let again = buffers.small();
        assert!(again.is_empty() && again.as_ptr() == address);
    }

    #[test]
    fn the_pool_keeps_a_bounded_number_and_no_odd_sizes() {
        let buffers = Buffers::default();
        let taken: Vec<_> = (0..KEPT_LARGE + 5).filter_map(|_| buffers.large()).collect();
        taken.into_iter().for_each(|(buffer, _)| buffers.give_back(buffer));
        assert_eq!(buffers.large.borrow().len(), KEPT_LARGE);
        buffers.give_back(Vec::new());
        buffers.give_back(Vec::with_capacity(10 * LARGE_BYTES));
        assert_eq!(buffers.small.borrow().len() + buffers.large.borrow().len(), KEPT_LARGE);
    }

    #[test]
    fn so_many_large_buffers_are_in_use_at_once_and_no_more() {
        let buffers = Buffers::default();
        let mut taken: Vec<_> = (0..MAX_LARGE).filter_map(|_| buffers.large()).collect();
        assert_eq!(taken.len(), MAX_LARGE);
        assert!(buffers.large().is_none());
        // One that is freed, because its connection died, gives its place back as well.
        taken.pop();
        assert!(buffers.large().is_some());
    }

    #[test]
    fn what_is_left_in_a_large_buffer_moves_to_a_small_one() {
        let buffers = Buffers::default();
        let (mut buffer, _place) = buffers.large().expect("none is in use");
        buffer.extend_from_slice(b"the next request");
        buffers.shrink(&mut buffer);
        assert_eq!((&buffer[..], buffer.capacity()), (&b"the next request"[..], SMALL_BYTES));
        assert_eq!(buffers.large.borrow().len(), 1);
        buffer.clear();
        buffers.shrink(&mut buffer);
        assert_eq!((buffer.capacity(), buffers.small.borrow().len()), (0, 1));
    }
}
