//! Requests to the store that have no reply yet, by ticket.
//!
//! A queue in the order of sending: timeouts are equal, so the oldest ends first and expiry looks at the front alone.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use super::answer::PendingAnswer;
use super::meter::Meter;
use crate::limit::{Key, Verdict};

/// A request to the store, and who takes the reply.
pub enum PendingRequest {
    Lease { meter: Rc<Meter>, key: Key, seq: u64 },
    Strict(Rc<PendingAnswer<Verdict>>),
}

impl PendingRequest {
    /// There will be no answer.
    pub fn fail(self) {
        match self {
            PendingRequest::Lease { meter, key, seq } => meter.failed(&key, seq),
            PendingRequest::Strict(answer) => answer.resolve(None),
        }
    }
}

/// Pending requests, the oldest first. Each one ends: by a reply, or by its timeout.
pub struct PendingRequests {
    /// The ticket of the first one in the queue.
    first: u64,
    /// By ticket; `None`: it has ended. The first one has not.
    queue: VecDeque<Option<QueuedRequest>>,
}

struct QueuedRequest {
    sent_ms: u64,
    request: PendingRequest,
}

impl PendingRequests {
    /// Tickets begin at random, so that replies to a shard that died match no request of its successor.
    pub fn new() -> PendingRequests {
        PendingRequests { first: RandomState::new().hash_one("tickets") >> 1, queue: VecDeque::new() }
    }

    /// The ticket of the request that is added next.
    pub fn next_ticket(&self) -> u64 {
        self.first + self.queue.len() as u64
    }

    pub fn add(&mut self, request: PendingRequest, now_ms: u64) {
        self.queue.push_back(Some(QueuedRequest { sent_ms: now_ms, request }));
    }

    /// Removes the request with this ticket, if it is still pending.
    /// A ticket from another shard life, or one that has ended, is none of ours: `None`.
    pub fn take(&mut self, ticket: u64) -> Option<PendingRequest> {
        let index = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        let taken = self.queue.get_mut(index)?.take();
        while let Some(None) = self.queue.front() {
            self.queue.pop_front();
            self.first += 1;
        }
        taken.map(|sent| sent.request)
    }

    /// Removes the oldest request, if it was sent at `until_ms` or before.
    pub fn expire(&mut self, until_ms: u64) -> Option<PendingRequest> {
        let late = self.queue.front()?.as_ref().is_some_and(|sent| sent.sent_ms <= until_ms);
        if late { self.take(self.first) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(pending: &mut PendingRequests, now_ms: u64) -> u64 {
        let ticket = pending.next_ticket();
        pending.add(PendingRequest::Strict(Rc::default()), now_ms);
        ticket
    }

    #[test]
    fn each_is_taken_once_in_any_order_and_nothing_is_kept_of_it() {
        let mut pending = PendingRequests::new();
        let all: Vec<u64> = (0..10).map(|now_ms| add(&mut pending, now_ms)).collect();
        assert!(pending.take(all[0].wrapping_sub(1)).is_none());
        assert!(pending.take(pending.next_ticket()).is_none());
        for &ticket in all[5..].iter().chain(&all[..5]) {
            assert!(pending.take(ticket).is_some());
            assert!(pending.take(ticket).is_none());
        }
        assert!(pending.queue.is_empty());
        assert_eq!(pending.next_ticket(), all[9] + 1);
    }

    #[test]
    fn those_that_took_too_long_end_the_oldest_first() {
        let mut pending = PendingRequests::new();
        let all: Vec<u64> = (0..4).map(|now_ms| add(&mut pending, now_ms)).collect();
        pending.take(all[1]);
        assert!(pending.expire(2).is_some());
        assert!(pending.expire(2).is_some());
        assert!(pending.expire(2).is_none());
        assert!(pending.take(all[2]).is_none());
        assert!(pending.take(all[3]).is_some());
        assert!(pending.expire(u64::MAX).is_none());
    }
}
