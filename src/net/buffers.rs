//! A shard's pool of I/O buffers: taken when bytes are there, given back when a connection goes idle.

use std::cell::RefCell;

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

/// Two stacks of empty vectors. Their capacity is what counts: a read never grows a buffer.
#[derive(Default)]
pub struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// An empty buffer of [`SMALL_BYTES`] or a little more.
    pub fn small(&self) -> Vec<u8> {
        self.small.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(SMALL_BYTES))
    }

    /// An empty buffer of [`LARGE_BYTES`] or a little more.
    pub fn large(&self) -> Vec<u8> {
        self.large.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(LARGE_BYTES))
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
        let taken: Vec<_> = (0..KEPT_LARGE + 5).map(|_| buffers.large()).collect();
        taken.into_iter().for_each(|buffer| buffers.give_back(buffer));
        assert_eq!(buffers.large.borrow().len(), KEPT_LARGE);
        buffers.give_back(Vec::new());
        buffers.give_back(Vec::with_capacity(10 * LARGE_BYTES));
        assert_eq!(buffers.small.borrow().len() + buffers.large.borrow().len(), KEPT_LARGE);
    }
}
