//! One key's lease, as the shard that holds it sees it.

use super::bucket::{Terms, Verdict};
use super::demand::{BEAT_MS, Demand};
use super::messages::LeaseGrant;
use super::rule::Algorithm;

/// A shard takes at most this part of the bucket ahead of its requests. A bucket of fewer tokens is lent one by one.
pub const LEASE_SHARE: u64 = 8;

/// A lease is made for what its shard is expected to use in this time, in milliseconds.
const HORIZON_MS: u64 = 3 * BEAT_MS;

/// How long a shard that was told "empty" goes without asking, at least, if the bucket does not overflow meanwhile.
/// What gathers at the bank in that time is lent at once: under a flood one ask brings many tokens.
const PAUSE_MS: u64 = 20;

/// The same, at most, while others hold tokens that they may give back.
const RECHECK_MS: u64 = 500;

/// What all leases of one limit go by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) terms: Terms,
    /// The most tokens that are asked for ahead.
    ahead_max: u64,
    pause_ms: u64,
    /// How long an answer takes, from the recent ones.
    pub(super) answer_ms: u64,
}

/// What a shard holds of one key, and what it knows of the bank.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    /// Unspent tokens, to be spent before `ends_ms`.
    tokens: u64,
    ends_ms: u64,
    /// From here on the lease is renewed when it is used.
    renew_ms: u64,
    under_way: Option<UnderWay>,
    /// Requests waiting for the ask under way.
    waiting: u64,
    /// The bank may have tokens booked for this shard.
    booked: bool,
    /// The bank's level at its last answer.
    level: u64,
    /// It has no token before that time, but not asking before `ask_ms` is enough.
    token_ms: u64,
    ask_ms: u64,
    reset_ms: u64,
    demand: Demand,
    pub(super) used_ms: u64,
}

/// An ask that has not been answered.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    seq: u64,
    sent_ms: u64,
    /// Tokens spent since.
    spent: u64,
}

/// What an ask says, but for who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) held: u64,
    pub(super) returned: u64,
    pub(super) need: u64,
    pub(super) ahead: u64,
}

/// What becomes of a request, and what has to be asked for it.
pub(super) enum Step {
    Done(Verdict, Option<Wish>),
    /// For the ask under way.
    Wait(u64),
    /// For this one.
    Ask(Wish),
}

impl Habits {
    pub(super) fn new(terms: Terms) -> Habits {
        let ahead_max = terms.burst / LEASE_SHARE;
        Habits { terms, ahead_max, pause_ms: PAUSE_MS.min(terms.ms_for(ahead_max)), answer_ms: 1 }
    }

    pub(super) fn answered_in(&mut self, ms: u64) {
        self.answer_ms = (3 * self.answer_ms + ms).div_ceil(4);
    }
}

impl Lease {
    pub(super) fn new(now_ms: u64) -> Lease {
        Lease {
            tokens: 0,
            ends_ms: now_ms,
            renew_ms: now_ms,
            under_way: None,
            waiting: 0,
            booked: false,
            level: 0,
            token_ms: now_ms,
            ask_ms: now_ms,
            reset_ms: now_ms,
            demand: Demand::new(now_ms),
            used_ms: now_ms,
        }
    }

    /// Decides one request.
    pub(super) fn take(&mut self, habits: &Habits, now_ms: u64) -> Step {
        self.used_ms = now_ms;
        self.demand.count(now_ms);
        self.expire(now_ms);
        if self.tokens > 0 {
            self.tokens -= 1;
            if let Some(ask) = &mut self.under_way {
                ask.spent += 1;
            }
            return Step::Done(self.allowed(&habits.terms, now_ms), self.wish_ahead(habits, now_ms));
        }
        if let Some(ask) = &self.under_way {
            self.waiting += 1;
            return Step::Wait(ask.seq);
        }
        if now_ms < self.ask_ms {
            return Step::Done(self.denied(now_ms), None);
        }
        self.waiting = 1;
        Step::Ask(Wish { need: 1, ahead: self.target(habits), ..Wish::default() })
    }

    /// The bank's answer. Returns what must be asked for right away: those who wait, and found too little though there
    /// is more.
    pub(super) fn granted(&mut self, habits: &Habits, grant: &LeaseGrant, now_ms: u64) -> Option<Wish> {
        let ask = self.under_way.take()?;
        self.booked = grant.tokens > 0;
        self.tokens = grant.tokens.saturating_sub(ask.spent);
        let life_ms = usable_ms(grant.expires_in_ms);
        self.ends_ms = ask.sent_ms.saturating_add(life_ms);
        self.renew_ms = ask.sent_ms.saturating_add(life_ms / 2);
        self.level = grant.level;
        self.reset_ms = now_ms.saturating_add(grant.reset_ms);
        self.token_ms = now_ms.saturating_add(grant.retry_after_ms);
        self.ask_ms = now_ms.saturating_add(quiet_ms(habits, grant));
        self.expire(now_ms);

        let waiting = std::mem::take(&mut self.waiting);
        let short = waiting.saturating_sub(self.tokens);
        (short > 0 && now_ms >= self.ask_ms).then(|| Wish {
            held: self.tokens,
            need: short,
            ahead: self.target(habits),
            returned: 0,
        })
    }

    /// The ask under way came to nothing. Whatever the bank made of it, what is held is held until it ends.
    pub(super) fn failed(&mut self) {
        self.under_way = None;
        self.waiting = 0;
    }

    /// When the ask of this `seq` was sent, if it is the one under way.
    pub(super) fn sent_at(&self, seq: u64) -> Option<u64> {
        self.under_way.filter(|ask| ask.seq == seq).map(|ask| ask.sent_ms)
    }

    pub(super) fn is_asking(&self) -> bool {
        self.under_way.is_some()
    }

    /// A wish became an ask.
    pub(super) fn sent(&mut self, wish: &Wish, seq: u64, now_ms: u64) {
        self.tokens = wish.held;
        self.booked = true;
        self.under_way = Some(UnderWay { seq, sent_ms: now_ms, spent: 0 });
    }

    /// All that is held goes back, and what was spent is told; `None` if the bank has nothing booked.
    pub(super) fn give_back(&mut self, now_ms: u64) -> Option<Wish> {
        self.expire(now_ms);
        let wish = Wish { returned: self.tokens, ..Wish::default() };
        self.level = self.level.saturating_add(self.tokens);
        self.tokens = 0;
        std::mem::take(&mut self.booked).then_some(wish)
    }

    /// The bank is known to have nothing.
    pub(super) fn is_known_empty(&self, now_ms: u64) -> bool {
        now_ms < self.ask_ms
    }

    #[cfg(test)]
    pub(super) fn held(&self, now_ms: u64) -> u64 {
        if now_ms < self.ends_ms { self.tokens } else { 0 }
    }

    fn expire(&mut self, now_ms: u64) {
        if now_ms >= self.ends_ms {
            self.tokens = 0;
        }
    }

    /// More, before what is held runs out; or, once half of the lease's life is over, another life for what is still of
    /// use, and the rest back.
    fn wish_ahead(&self, habits: &Habits, now_ms: u64) -> Option<Wish> {
        if self.under_way.is_some() || now_ms < self.ask_ms {
            return None;
        }
        let target = self.target(habits);
        let low = self.low(habits);
        if self.tokens <= low && self.tokens < target {
            return Some(Wish { held: self.tokens, ahead: target - self.tokens, ..Wish::default() });
        }
        (self.tokens > 0 && now_ms >= self.renew_ms).then(|| Wish {
            held: self.tokens.min(target),
            returned: self.tokens.saturating_sub(target),
            ..Wish::default()
        })
    }

    /// Tokens that will be used before an answer can come, with room for one that takes twice as long.
    fn low(&self, habits: &Habits) -> u64 {
        self.demand.within(2 * habits.answer_ms + BEAT_MS / 10).min(habits.ahead_max / 2)
    }

    /// Tokens worth holding.
    fn target(&self, habits: &Habits) -> u64 {
        (self.low(habits) + self.demand.within(HORIZON_MS)).min(habits.ahead_max)
    }

    fn allowed(&self, terms: &Terms, now_ms: u64) -> Verdict {
        let remaining = self.level.saturating_add(self.tokens).min(terms.burst.saturating_sub(1));
        let reset_ms = match terms.algorithm {
            Algorithm::TokenBucket => terms.ms_for(terms.burst - remaining),
            Algorithm::FixedWindow => self.reset_ms.saturating_sub(now_ms),
        };
        Verdict { allowed: true, remaining, reset_ms, retry_after_ms: 0 }
    }

    fn denied(&self, now_ms: u64) -> Verdict {
        Verdict {
            allowed: false,
            remaining: 0,
            reset_ms: self.reset_ms.saturating_sub(now_ms),
            retry_after_ms: self.token_ms.saturating_sub(now_ms).max(1),
        }
    }
}

/// How much of a lease's life its holder uses, counted from before it asked. The eighth that it leaves is for clocks
/// that run at different speeds, the millisecond for their grain.
fn usable_ms(expires_in_ms: u64) -> u64 {
    (expires_in_ms - expires_in_ms / 8).saturating_sub(1)
}

/// How long there is no use in asking after this answer.
fn quiet_ms(habits: &Habits, grant: &LeaseGrant) -> u64 {
    match grant.retry_after_ms {
        0 => 0,
        wait_ms if grant.lent > 0 => wait_ms.min(RECHECK_MS).max(habits.pause_ms),
        wait_ms => wait_ms.max(habits.pause_ms),
    }
}
