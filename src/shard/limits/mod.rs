//! The rate limits of a shard: what [`crate::limit`] decides, with the store, the clock and the requests that wait.
//!
//! A request passes [`RouteLimits::check`] in each phase. Each limit has a [`Meter`] for each rule that it has: its own
//! and those of consumers. Meters stay over reloads that leave them as they are. Most requests are decided at once, from
//! a lease; others wait until the store's answer comes through the mailbox ([`ShardLimits::hear`]), for the store's timeout
//! at most.

mod meter;
mod route;
mod tickets;
mod wait;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

pub use route::RouteLimits;

use super::clock::Clock;
use crate::limit::{Key, Verdict};
use crate::store::{Link, StoreReply, StoreRequest};
use meter::{Meter, MeterId, Taken};
use tickets::{Asked, Tickets};
use wait::{Outcome, Wait, Waiting};

/// What all limits of a shard share.
pub struct ShardLimits {
    shard: usize,
    /// How many there are.
    shards: usize,
    link: Link,
    clock: Rc<Clock>,
    /// How long a request waits for the store at most.
    patience: Duration,
    store_answers: Cell<bool>,
    meters: RefCell<HashMap<MeterId, Rc<Meter>>>,
    tickets: RefCell<Tickets>,
}

impl ShardLimits {
    pub fn new(shard: usize, shards: usize, link: Link, clock: Rc<Clock>, patience: Duration) -> ShardLimits {
        ShardLimits {
            shard,
            shards,
            link,
            clock,
            patience,
            // Until it is said otherwise; what is asked meanwhile has its answer all the same.
            store_answers: Cell::new(true),
            meters: RefCell::default(),
            tickets: RefCell::new(Tickets::new()),
        }
    }

    /// Takes what the store has said of limits.
    pub fn hear(&self, reply: StoreReply) {
        match reply {
            StoreReply::Lease { ticket, grant } => {
                if let Some(Asked::Lease { meter, seq, .. }) = self.close(ticket) {
                    meter.granted(seq, &grant, self);
                }
            }
            StoreReply::Strict { ticket, verdict } => {
                if let Some(Asked::Strict(wait)) = self.close(ticket) {
                    wait.end(Outcome::Decided(verdict));
                }
            }
            StoreReply::Failed { ticket } => {
                if let Some(asked) = self.close(ticket) {
                    asked.fail();
                }
            }
            StoreReply::Reachable(answers) => self.store_answers.set(answers),
            StoreReply::Counters(_) | StoreReply::Keys(_) => {}
        }
    }

    /// Gives up what the store has not answered in time. To be called at each tick.
    pub fn expire(&self) {
        let patience_ms = u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX);
        let until_ms = self.now_ms().saturating_sub(patience_ms);
        let next = || self.tickets.borrow_mut().expire(until_ms);
        std::iter::from_fn(next).for_each(Asked::fail);
    }

    /// Gives back what is not in use, and forgets the limits that no generation has any more. To be called some ten
    /// times a second.
    pub fn tidy(&self) {
        let mut meters = self.meters.borrow_mut();
        meters.retain(|_, meter| Rc::strong_count(meter) > 1);
        meters.values().for_each(|meter| meter.tick(self));
    }

    /// Keys that are kept.
    pub fn keys(&self) -> usize {
        self.meters.borrow().values().map(|meter| meter.keys()).sum()
    }

    fn meter(&self, id: MeterId) -> Rc<Meter> {
        let mut meters = self.meters.borrow_mut();
        meters.entry(id.clone()).or_insert_with(|| Rc::new(Meter::new(id))).clone()
    }

    fn known_meter(&self, id: &MeterId) -> Option<Rc<Meter>> {
        self.meters.borrow().get(id).cloned()
    }

    /// In milliseconds of Unix time that does not go back.
    fn now_ms(&self) -> u64 {
        self.clock.forward_ms()
    }

    /// False while it is known not to: then nothing waits for it.
    fn store_answers(&self) -> bool {
        self.store_answers.get()
    }

    /// Asks the store; false: it was not asked, and nothing will come of it.
    fn ask(&self, request: impl FnOnce(u64) -> StoreRequest, asked: Asked, now_ms: u64) -> bool {
        let mut tickets = self.tickets.borrow_mut();
        let sent = self.store_answers() && self.link.send(request(tickets.next())).is_ok();
        if sent {
            tickets.add(asked, now_ms);
        }
        sent
    }

    fn close(&self, ticket: u64) -> Option<Asked> {
        self.tickets.borrow_mut().close(ticket)
    }

    /// Waits for the store. `None`: it did not answer in time.
    async fn wait(&self, meter: &Rc<Meter>, key: &Key, mut wait: Rc<Wait>) -> Option<Verdict> {
        let decided = async {
            loop {
                match Waiting::new(wait).await {
                    Outcome::Decided(verdict) => return Some(verdict),
                    Outcome::Failed => return None,
                    Outcome::Granted => match meter.take(key, self) {
                        Taken::Done(verdict) => return Some(verdict),
                        Taken::Lost => return None,
                        Taken::Wait(next) => wait = next,
                    },
                }
            }
        };
        monoio::time::timeout(self.patience, decided).await.unwrap_or(None)
    }
}
