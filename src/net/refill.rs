//! Reads of a long transfer, one after the other, which hold no buffer while nothing comes.

use std::io;
use std::time::Duration;

use super::Socket;
use super::buffers::{Buffers, LargePlace};
use super::expiry::Expiry;

/// What the last read says about the next one.
#[derive(Default)]
pub struct Refill {
    /// It filled its buffer to the brim: there is more where that came from.
    filled: bool,
    /// Held for as long as the buffer that was read into last is in use.
    place: Option<LargePlace>,
}

impl Refill {
    /// The last read, by the buffer that it went into.
    pub fn after(buffer: &Vec<u8>) -> Refill {
        Refill { filled: !buffer.is_empty() && buffer.len() == buffer.capacity(), place: None }
    }

    /// Whether the last read filled its buffer.
    pub fn was_filled(&self) -> bool {
        self.filled
    }

    /// Gives `spent` back, whose bytes are used up, and reads what comes next, ended by `timeout` as
    /// [`Socket::read_within`] is. After a read that filled its buffer the next one is large, if there is room for it.
    pub async fn read(
        &mut self,
        socket: &Socket,
        buffers: &Buffers,
        spent: Vec<u8>,
        timeout: Duration,
    ) -> (io::Result<usize>, Vec<u8>) {
        buffers.give_back(spent);
        self.place = None;
        if timeout.is_zero() {
            return (Err(Expiry::Stalled.into()), Vec::new());
        }
        if let Err(error) = socket.slot().check_time() {
            return (Err(error), Vec::new());
        }
        // After a short read there is probably nothing yet; after a full one it costs less to ask than to wait.
        if !(self.filled && socket.has_unread())
            && let Err(error) = socket.readable_within(timeout).await
        {
            return (Err(error), Vec::new());
        }
        let large = if self.filled { buffers.large() } else { None };
        let room = match large {
            Some((room, place)) => {
                self.place = Some(place);
                room
            }
            None => buffers.small(),
        };
        let (result, buffer) = socket.read_within(room, timeout).await;
        self.filled = buffer.len() == buffer.capacity();
        (result, buffer)
    }
}
