//! Bytes of bodies that are held for scripts, counted over the whole shard.
//!
//! Without a bound over all requests, `max_body` times `max_connections` would be the memory that clients can claim.

use std::cell::Cell;
use std::rc::Rc;

use crate::base::error::{Error, FaultOrigin, Reason};
use crate::pipeline::script;

/// Bytes held for scripts on one shard, in multiples of `max_body`; beyond, a request that needs another is refused.
/// 256 MiB with the default `max_body` of 1 MiB.
const MAX_BODIES: usize = 256;

/// Counts the bytes of one body for as long as it is held.
pub struct HeldBytes {
    /// Those of the whole shard.
    of_shard: Rc<Cell<usize>>,
    bytes: usize,
    /// In bytes, `[scripts] max_body`.
    max_body: usize,
}

impl HeldBytes {
    /// A body of at most `max_body` bytes.
    pub fn new(of_shard: &Rc<Cell<usize>>, max_body: usize) -> HeldBytes {
        HeldBytes { of_shard: of_shard.clone(), bytes: 0, max_body }
    }

    /// Counts more of a request body.
    ///
    /// # Errors
    /// One that is over `max_body`, as the client's; `overloaded` where all together are too many.
    pub fn add(&mut self, bytes: usize) -> Result<(), Error> {
        // Counted before it is checked: `Drop` takes back all that was counted, also of a body that was refused.
        self.bytes += bytes;
        self.of_shard.set(self.of_shard.get() + bytes);
        if self.bytes > self.max_body {
            return Err(script::too_large());
        }
        if self.of_shard.get() > self.max_body.saturating_mul(MAX_BODIES) {
            return Err(Error::gateway(Reason::Overloaded, "too many bodies are held for scripts"));
        }
        Ok(())
    }

    /// Counts more of a response body, whose size is its upstream's doing.
    ///
    /// # Errors
    /// As [`HeldBytes::add`].
    pub fn add_of_response(&mut self, bytes: usize) -> Result<(), Error> {
        self.add(bytes).map_err(|error| match error.source {
            FaultOrigin::Client => script::response_too_large(),
            FaultOrigin::Upstream | FaultOrigin::Gateway => error,
        })
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.of_shard.set(self.of_shard.get() - self.bytes);
    }
}
