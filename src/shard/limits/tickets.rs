//! What was asked of the store and is not answered yet, by number.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use super::meter::Meter;
use super::wait::{Outcome, Wait};
use crate::limit::Key;

/// What becomes of an answer.
pub enum Asked {
    Lease { meter: Rc<Meter>, key: Key, seq: u64 },
    Strict(Rc<Wait>),
}

impl Asked {
    /// There will be no answer.
    pub fn fail(self) {
        match self {
            Asked::Lease { meter, key, seq } => meter.failed(&key, seq),
            Asked::Strict(wait) => wait.end(Outcome::Failed),
        }
    }
}

/// Open questions, the oldest first. They all end: by an answer, or by their time.
pub struct Tickets {
    /// The number of the first that is kept.
    first: u64,
    open: VecDeque<Option<Open>>,
}

struct Open {
    asked_ms: u64,
    asked: Asked,
}

impl Tickets {
    /// Numbers begin at random: an answer that was for a shard that died means nothing to the one in its place.
    pub fn new() -> Tickets {
        Tickets { first: RandomState::new().hash_one("tickets") >> 1, open: VecDeque::new() }
    }

    /// The number that [`Tickets::add`] gives next.
    pub fn next(&self) -> u64 {
        self.first + self.open.len() as u64
    }

    pub fn add(&mut self, asked: Asked, now_ms: u64) {
        self.open.push_back(Some(Open { asked_ms: now_ms, asked }));
    }

    /// What was asked under this number, if it is still open.
    pub fn close(&mut self, ticket: u64) -> Option<Asked> {
        let place = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        let closed = self.open.get_mut(place)?.take();
        while let Some(None) = self.open.front() {
            self.open.pop_front();
            self.first += 1;
        }
        closed.map(|open| open.asked)
    }

    /// The oldest one, if it was asked at `until_ms` or before.
    pub fn expire(&mut self, until_ms: u64) -> Option<Asked> {
        // The first is open, or it would not be kept.
        let late = self.open.front()?.as_ref().is_some_and(|open| open.asked_ms <= until_ms);
        if late { self.close(self.first) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(tickets: &mut Tickets, now_ms: u64) -> u64 {
        let ticket = tickets.next();
        tickets.add(Asked::Strict(Rc::default()), now_ms);
        ticket
    }

    #[test]
    fn each_is_closed_once_in_any_order_and_nothing_is_kept_of_it() {
        let mut tickets = Tickets::new();
        let all: Vec<u64> = (0..10).map(|now_ms| add(&mut tickets, now_ms)).collect();
        assert!(tickets.close(all[0].wrapping_sub(1)).is_none());
        assert!(tickets.close(tickets.next()).is_none());
        for &ticket in all[5..].iter().chain(&all[..5]) {
            assert!(tickets.close(ticket).is_some());
            assert!(tickets.close(ticket).is_none());
        }
        assert!(tickets.open.is_empty());
        assert_eq!(tickets.next(), all[9] + 1);
    }

    #[test]
    fn those_that_took_too_long_end_the_oldest_first() {
        let mut tickets = Tickets::new();
        let all: Vec<u64> = (0..4).map(|now_ms| add(&mut tickets, now_ms)).collect();
        tickets.close(all[1]);
        assert!(tickets.expire(2).is_some());
        assert!(tickets.expire(2).is_some());
        assert!(tickets.expire(2).is_none());
        assert!(tickets.close(all[2]).is_none());
        assert!(tickets.close(all[3]).is_some());
        assert!(tickets.expire(u64::MAX).is_none());
    }
}
