//! Bytes of bodies that are held for scripts, counted over the whole shard.
//!
//! Without a bound over all requests, `max_body` times `max_connections` would be the memory that clients can claim. And
//! where the bound is reached, clients that send next to nothing must not shut out those that send: the request body that
//! comes in slowest gives way.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::base::error::{Error, FaultOrigin, Reason};
use crate::net::Socket;
use crate::net::expiry::Expiry;
use crate::pipeline::script;

/// Bytes held for scripts on one shard, in multiples of `max_body`; beyond, a body that comes in slowly gives way, or a
/// request that needs more is refused.
/// 256 MiB with the default `max_body` of 1 MiB.
const MAX_BODIES: usize = 256;

/// A body is as slow as what came of it in this period and the one before.
const PERIOD_MS: u64 = 1000;
/// One that is younger gives way to none: nobody knows yet how fast it comes in.
const YOUNG_MS: u64 = 2 * PERIOD_MS;

/// The bodies that a shard holds.
#[derive(Default)]
pub struct HeldBodies {
    bytes: Cell<usize>,
    /// Those that still come in from clients, the oldest first.
    incoming: RefCell<BTreeMap<u64, Rc<IncomingBody>>>,
    next: Cell<u64>,
}

/// A request body that comes in.
struct IncomingBody {
    arrivals: Cell<Arrivals>,
    bytes: Cell<usize>,
    /// Another body has its room.
    gave_way: Cell<bool>,
    client: Socket,
}

/// How fast a body comes in.
#[derive(Clone, Copy, Debug)]
struct Arrivals {
    began_ms: u64,
    /// Periods since the body began, up to that of the last arrival.
    period: u64,
    /// Bytes in that period and in the one before.
    now_bytes: usize,
    before_bytes: usize,
}

impl Arrivals {
    fn new(began_ms: u64) -> Arrivals {
        Arrivals { began_ms, period: 0, now_bytes: 0, before_bytes: 0 }
    }

    fn add(self, now_ms: u64, bytes: usize) -> Arrivals {
        let mut arrivals = self.at(now_ms);
        arrivals.now_bytes += bytes;
        arrivals
    }

    fn at(self, now_ms: u64) -> Arrivals {
        let period = now_ms.saturating_sub(self.began_ms) / PERIOD_MS;
        let (now_bytes, before_bytes) = match period.saturating_sub(self.period) {
            0 => (self.now_bytes, self.before_bytes),
            1 => (0, self.now_bytes),
            _ => (0, 0),
        };
        Arrivals { period, now_bytes, before_bytes, ..self }
    }

    /// What came lately; `None`: the body is too young to say.
    fn recent_bytes(self, now_ms: u64) -> Option<usize> {
        let Arrivals { now_bytes, before_bytes, .. } = self.at(now_ms);
        (now_ms.saturating_sub(self.began_ms) >= YOUNG_MS).then_some(now_bytes + before_bytes)
    }
}

/// Which of these bodies gives way: the slowest that is not young, and the first of several.
fn slowest(bodies: impl Iterator<Item = (u64, Arrivals)>, now_ms: u64) -> Option<u64> {
    let rated = bodies.filter_map(|(id, arrivals)| Some((arrivals.recent_bytes(now_ms)?, id)));
    rated.min().map(|(_, id)| id)
}

impl HeldBodies {
    /// Has bodies give way until all together are within `max_bytes`; false: none can any more.
    fn make_room(&self, max_bytes: usize, now_ms: u64) -> bool {
        while self.bytes.get() > max_bytes {
            let mut incoming = self.incoming.borrow_mut();
            let holding = incoming.iter().filter(|(_, body)| body.bytes.get() > 0);
            let rated = holding.map(|(id, body)| (*id, body.arrivals.get()));
            let Some(body) = slowest(rated, now_ms).and_then(|id| incoming.remove(&id)) else { return false };
            // Its own task frees the room at its next turn, which is before anything else is read.
            self.bytes.set(self.bytes.get() - body.bytes.take());
            body.gave_way.set(true);
            body.client.end_reading(Expiry::TooSlow);
        }
        true
    }
}

/// Counts the bytes of one body for as long as it is held.
pub struct HeldBytes {
    bodies: Rc<HeldBodies>,
    /// Of a response, or of a request that is all here.
    bytes: usize,
    /// Of a request that comes in.
    incoming: Option<(u64, Rc<IncomingBody>)>,
    /// In bytes, `[scripts] max_body`.
    max_body: usize,
}

impl HeldBytes {
    /// A body of at most `max_body` bytes.
    pub fn new(bodies: &Rc<HeldBodies>, max_body: usize) -> HeldBytes {
        HeldBytes { bodies: bodies.clone(), bytes: 0, incoming: None, max_body }
    }

    /// A body that comes in from this client, and that may have to give way to others.
    pub fn coming_from(mut self, client: &Socket, now_ms: u64) -> HeldBytes {
        let id = self.bodies.next.get();
        self.bodies.next.set(id + 1);
        let body = Rc::new(IncomingBody {
            arrivals: Cell::new(Arrivals::new(now_ms)),
            bytes: Cell::new(0),
            gave_way: Cell::new(false),
            client: client.clone(),
        });
        self.bodies.incoming.borrow_mut().insert(id, body.clone());
        self.incoming = Some((id, body));
        self
    }

    /// It is all here: it gives way no more.
    pub fn has_come(&mut self) {
        if let Some((id, body)) = self.incoming.take() {
            self.bodies.incoming.borrow_mut().remove(&id);
            self.bytes = body.bytes.get();
        }
    }

    /// Counts more of a request body.
    ///
    /// # Errors
    /// One that is over `max_body`, or that has to give way, as the client's; `overloaded` where all together are too
    /// many.
    pub fn add(&mut self, bytes: usize, now_ms: u64) -> Result<(), Error> {
        if self.gave_way() {
            return Err(gave_way());
        }
        // Counted before it is checked: `Drop` takes back all that was counted, also of a body that was refused.
        self.bodies.bytes.set(self.bodies.bytes.get() + bytes);
        let own_bytes = match &self.incoming {
            Some((_, body)) => {
                body.bytes.set(body.bytes.get() + bytes);
                body.arrivals.set(body.arrivals.get().add(now_ms, bytes));
                body.bytes.get()
            }
            None => {
                self.bytes += bytes;
                self.bytes
            }
        };
        if own_bytes > self.max_body {
            return Err(script::too_large());
        }
        let has_room = self.bodies.make_room(self.max_body.saturating_mul(MAX_BODIES), now_ms);
        match (has_room, self.gave_way()) {
            (_, true) => Err(gave_way()),
            (true, false) => Ok(()),
            (false, false) => Err(Error::gateway(Reason::Overloaded, "too many bodies are held")),
        }
    }

    /// Counts more of a response body, whose size is its upstream's doing.
    ///
    /// # Errors
    /// As [`HeldBytes::add`].
    pub fn add_of_response(&mut self, bytes: usize, now_ms: u64) -> Result<(), Error> {
        self.add(bytes, now_ms).map_err(|error| match error.source {
            FaultOrigin::Client => script::response_too_large(),
            FaultOrigin::Upstream | FaultOrigin::Gateway => error,
        })
    }

    fn gave_way(&self) -> bool {
        self.incoming.as_ref().is_some_and(|(_, body)| body.gave_way.get())
    }
}

fn gave_way() -> Error {
    Error::client(Reason::RequestTimeout, "the request body came too slowly, and its room was needed")
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.has_come();
        self.bodies.bytes.set(self.bodies.bytes.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body that began at 0 and of which these bytes came at these times.
    fn body(came: &[(u64, usize)]) -> Arrivals {
        came.iter().fold(Arrivals::new(0), |arrivals, (at_ms, bytes)| arrivals.add(*at_ms, *bytes))
    }

    #[test]
    fn the_body_of_which_least_came_lately_gives_way() {
        let burst = body(&[(0, 1_000_000)]);
        let dripping = body(&[(0, 1_000_000), (3_000, 1), (8_500, 1), (9_500, 1)]);
        let flowing = body(&[(0, 10), (8_500, 5_000), (9_500, 5_000)]);
        let young = Arrivals::new(8_001);
        for (bodies, expected) in [
            (vec![flowing, burst, dripping], Some(1)),
            (vec![flowing, dripping, young], Some(1)),
            (vec![dripping, dripping], Some(0)),
            (vec![young, flowing], Some(1)),
            (vec![young, young], None),
            (vec![], None),
        ] {
            let rated = bodies.iter().enumerate().map(|(id, arrivals)| (id as u64, *arrivals));
            assert_eq!(slowest(rated, 10_000), expected, "{bodies:?}");
        }
    }
}
