//! The rate limits of a shard: what [`crate::limit`] decides, with the store, the clock and the requests that wait.
//!
//! A request passes [`RouteLimits::check`] in each phase. Each limit has a [`Meter`] for each of its rules: its own and
//! those of consumers. Meters stay over reloads that leave their rule as it is. Most requests are decided at once, from
//! a lease; others wait until the store's answer comes through the mailbox ([`ShardLimits::take_reply`]): for all its
//! limits together, no longer than one answer may take.

mod answer;
mod meter;
mod pending;
mod route;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use route::RouteLimits;

use super::clock::Clock;
use crate::limit::BucketStore;
use crate::plan::RateAlgorithm;
use crate::store::{Link, StoreReply, StoreRequest, longest_wait};
use meter::{LocalShare, MAX_KEYS, Meter, MeterId};
use pending::{PendingRequest, PendingRequests};

/// What all limits of a shard share.
/// Outlives generations: a reload must not give clients fresh buckets.
pub struct ShardLimits {
    /// The number of this shard.
    shard: usize,
    /// How many shards there are.
    shards: usize,
    link: Link,
    clock: Rc<Clock>,
    /// How long a request waits for the store at most: until it is sent, and then for the store's timeout.
    longest_wait: Duration,
    /// As the link has last announced. While false, requests fall back at once instead of after the timeout.
    store_answers: Cell<bool>,
    /// A meter that nothing else holds is dropped by [`ShardLimits::release_unused`].
    meters: RefCell<HashMap<MeterId, Rc<Meter>>>,
    /// This shard's shares, by the limit's name in the store. They outlive meters: a change of a rule must not give
    /// clients fresh buckets either.
    shares: RefCell<HashMap<(Arc<str>, RateAlgorithm), LocalShare>>,
    pending: RefCell<PendingRequests>,
}

impl ShardLimits {
    pub fn new(shard: usize, shards: usize, link: Link, clock: Rc<Clock>, timeout: Duration) -> ShardLimits {
        ShardLimits {
            shard,
            shards,
            link,
            clock,
            longest_wait: longest_wait(timeout),
            // Until the link announces otherwise; requests sent before get a reply all the same.
            store_answers: Cell::new(true),
            meters: RefCell::default(),
            shares: RefCell::default(),
            pending: RefCell::new(PendingRequests::new()),
        }
    }

    /// Takes a reply of the store, and wakes the requests that wait for it. Replies that are not about limits are
    /// ignored.
    /// A ticket that is not pending any more is a reply that came after its timeout; it is dropped.
    pub fn take_reply(&self, reply: StoreReply) {
        match reply {
            StoreReply::Lease { ticket, grant } => {
                if let Some(PendingRequest::Lease { meter, seq, .. }) = self.take_pending(ticket) {
                    meter.granted(seq, &grant, self);
                }
            }
            StoreReply::Strict { ticket, verdict } => {
                if let Some(PendingRequest::Strict(answer)) = self.take_pending(ticket) {
                    answer.resolve(Some(verdict));
                }
            }
            StoreReply::Failed { ticket } => {
                if let Some(request) = self.take_pending(ticket) {
                    request.fail();
                }
            }
            StoreReply::Reachable(answers) => self.store_answers.set(answers),
            StoreReply::Counters(_) | StoreReply::Keys(_) => {}
        }
    }

    /// Gives up requests that the store has not answered in time. To be called at each tick.
    pub fn expire(&self) {
        let timeout_ms = u64::try_from(self.longest_wait.as_millis()).unwrap_or(u64::MAX);
        let until_ms = self.now_ms().saturating_sub(timeout_ms);
        let next = || self.pending.borrow_mut().expire(until_ms);
        std::iter::from_fn(next).for_each(PendingRequest::fail);
    }

    /// Returns tokens of idle keys, and forgets full buckets and the meters that no generation uses any more. To be called some ten
    /// times a second.
    pub fn release_unused(&self) {
        let mut meters = self.meters.borrow_mut();
        meters.retain(|_, meter| Rc::strong_count(meter) > 1);
        meters.values().for_each(|meter| meter.tick(self));
        let now_ms = self.now_ms();
        self.shares.borrow_mut().retain(|_, share| {
            share.borrow_mut().tick(now_ms);
            Rc::strong_count(share) > 1 || !share.borrow().is_empty()
        });
    }

    /// Keys kept by all meters.
    pub fn keys(&self) -> usize {
        let leased: usize = self.meters.borrow().values().map(|meter| meter.keys()).sum();
        leased + self.shares.borrow().values().map(|share| share.borrow().len()).sum::<usize>()
    }

    fn meter(&self, id: MeterId) -> Rc<Meter> {
        let new = || Rc::new(Meter::new(id.clone(), self.share(&id)));
        self.meters.borrow_mut().entry(id.clone()).or_insert_with(new).clone()
    }

    fn share(&self, id: &MeterId) -> LocalShare {
        let (shards, index) = (self.shards as u64, self.shard as u64);
        let new = || RefCell::new(BucketStore::local_share(&id.rule, shards, index, MAX_KEYS)).into();
        let mut shares = self.shares.borrow_mut();
        shares.entry((id.limit.clone(), id.rule.algorithm())).or_insert_with(new).clone()
    }

    fn known_meter(&self, id: &MeterId) -> Option<Rc<Meter>> {
        self.meters.borrow().get(id).cloned()
    }

    /// In milliseconds of Unix time that does not go back.
    fn now_ms(&self) -> u64 {
        self.clock.forward_ms()
    }

    /// False while the link has announced that the store does not answer: then no request waits for it.
    fn store_answers(&self) -> bool {
        self.store_answers.get()
    }

    /// Sends a request with a new ticket. False: it was not sent, and nothing is pending.
    fn send(&self, request: impl FnOnce(u64) -> StoreRequest, pending: PendingRequest, now_ms: u64) -> bool {
        let mut all = self.pending.borrow_mut();
        let sent = self.store_answers() && self.link.send(request(all.next_ticket())).is_ok();
        if sent {
            all.add(pending, now_ms);
        }
        sent
    }

    fn take_pending(&self, ticket: u64) -> Option<PendingRequest> {
        self.pending.borrow_mut().take(ticket)
    }

    /// The store's answer, in what is left of the time that a request may wait; `waited` is what it has waited before,
    /// and then what it has waited in all. `None`: there is none.
    async fn in_time<T>(&self, waited: &mut Duration, answer: impl Future<Output = Option<T>>) -> Option<T> {
        let began = self.clock.elapsed();
        let left = self.longest_wait.saturating_sub(*waited);
        let answer = monoio::time::timeout(left, answer).await.unwrap_or(None);
        *waited += self.clock.elapsed().saturating_sub(began);
        answer
    }
}
