//! A circuit breaker: whether an endpoint gets requests, by how its last ones went.
//!
//! Closed, requests pass and consecutive failures are counted. Open, none passes until its time is over. Half-open, a
//! few trial requests pass: one that succeeds closes it, one that fails opens it again for twice as long. So it always
//! finds its way back by itself, and needs no timer.

use super::mix;
use crate::plan::BreakerPlan;

/// The breaker of one endpoint on one shard. All times are milliseconds of one monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    state: BreakerState,
    /// Counts the changes of state, so that a request's result only counts in the state in which it began.
    epoch: u32,
    /// How often it has opened since it was last closed.
    openings: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BreakerState {
    Closed { failures: u32 },
    Open { until_ms: u64 },
    HalfOpen { trials: u32 },
}

impl Default for BreakerState {
    fn default() -> BreakerState {
        BreakerState::Closed { failures: 0 }
    }
}

/// That a request was let through, to be handed in again with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission(u32);

/// What a failure means for its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureEffect {
    None,
    /// The breaker has opened, or opened again.
    Opened,
}

/// What the breakers of other shards for the same endpoint are to know of one. In milliseconds that are left, since each
/// shard's clock has a beginning of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerNews {
    /// It keeps requests back for this long, and has opened so often in a row.
    Open { for_ms: u64, openings: u32 },
    /// Requests pass.
    Closed,
}

impl Breaker {
    /// Whether a request may go to the endpoint.
    pub fn admits(&self, plan: &BreakerPlan, now_ms: u64) -> bool {
        match self.state {
            BreakerState::Closed { .. } => true,
            BreakerState::Open { until_ms } => now_ms >= until_ms,
            BreakerState::HalfOpen { trials } => trials < plan.half_open,
        }
    }

    /// Counts a request that goes to the endpoint. One that [`Breaker::admits`] would have kept back may go too, where
    /// there is no better endpoint: if it succeeds, the breaker closes.
    pub fn begin(&mut self, plan: &BreakerPlan, now_ms: u64) -> Admission {
        match self.state {
            BreakerState::Open { until_ms } if now_ms >= until_ms => {
                self.change(BreakerState::HalfOpen { trials: 1 });
            }
            BreakerState::HalfOpen { trials } if trials < plan.half_open => {
                self.state = BreakerState::HalfOpen { trials: trials + 1 };
            }
            _ => {}
        }
        Admission(self.epoch)
    }

    /// The request succeeded. Returns whether that has closed the breaker.
    pub fn succeed(&mut self, admission: Admission) -> bool {
        if admission.0 != self.epoch {
            return false;
        }
        match self.state {
            BreakerState::Closed { .. } => {
                self.state = BreakerState::default();
                false
            }
            BreakerState::Open { .. } | BreakerState::HalfOpen { .. } => {
                self.close();
                true
            }
        }
    }

    /// The request failed, by the endpoint's fault.
    ///
    /// `may_open` is asked whether the breaker may open when it would: the upstream may have too few others.
    /// `draw` is any number that differs from endpoint to endpoint. It spreads their trials over time.
    pub fn fail(
        &mut self,
        admission: Admission,
        plan: &BreakerPlan,
        now_ms: u64,
        draw: u64,
        may_open: impl FnOnce() -> bool,
    ) -> FailureEffect {
        if admission.0 != self.epoch {
            return FailureEffect::None;
        }
        match self.state {
            BreakerState::Closed { failures } => {
                let failures = failures.saturating_add(1);
                self.state = BreakerState::Closed { failures };
                if failures < plan.failures || !may_open() {
                    return FailureEffect::None;
                }
            }
            BreakerState::Open { .. } => return FailureEffect::None,
            BreakerState::HalfOpen { .. } => {}
        }
        let until_ms = now_ms.saturating_add(open_ms(plan, self.openings, draw));
        self.openings = self.openings.saturating_add(1);
        self.change(BreakerState::Open { until_ms });
        FailureEffect::Opened
    }

    /// The request ended and says nothing of the endpoint: its client left, or the gateway could not send it.
    pub fn cancel(&mut self, admission: Admission) {
        if let (true, BreakerState::HalfOpen { trials }) = (admission.0 == self.epoch, self.state) {
            self.state = BreakerState::HalfOpen { trials: trials.saturating_sub(1) };
        }
    }

    /// Whether requests pass freely, and the last one did not fail.
    pub fn is_healthy(&self) -> bool {
        self.state == BreakerState::default()
    }

    /// Whether it is open or half-open.
    pub fn is_tripped(&self) -> bool {
        !matches!(self.state, BreakerState::Closed { .. })
    }

    /// Milliseconds until it may let a request through; 0 if it may now, or as soon as a trial has ended.
    pub fn wait_ms(&self, now_ms: u64) -> u64 {
        match self.state {
            BreakerState::Open { until_ms } => until_ms.saturating_sub(now_ms),
            BreakerState::Closed { .. } | BreakerState::HalfOpen { .. } => 0,
        }
    }

    /// What other shards are to know of it, after it has opened or closed.
    pub fn news(&self, now_ms: u64) -> BreakerNews {
        match self.is_tripped() {
            true => BreakerNews::Open { for_ms: self.wait_ms(now_ms), openings: self.openings },
            false => BreakerNews::Closed,
        }
    }

    /// Does what the breaker of another shard has done. `may_open` is asked as in [`Breaker::fail`]. Of two times for
    /// which it is to stay open, the longer one holds; trials that are under way decide nothing any more.
    pub fn follow(&mut self, news: BreakerNews, now_ms: u64, may_open: impl FnOnce() -> bool) {
        match news {
            BreakerNews::Closed if self.is_tripped() => self.close(),
            // It goes on counting: the other one's success says nothing of this shard's failures.
            BreakerNews::Closed => {}
            BreakerNews::Open { for_ms, openings } if self.is_tripped() || may_open() => {
                let until_ms = now_ms.saturating_add(for_ms.max(self.wait_ms(now_ms)));
                self.openings = self.openings.max(openings);
                self.change(BreakerState::Open { until_ms });
            }
            BreakerNews::Open { .. } => {}
        }
    }

    fn close(&mut self) {
        self.openings = 0;
        self.change(BreakerState::default());
    }

    fn change(&mut self, state: BreakerState) {
        self.epoch = self.epoch.wrapping_add(1);
        self.state = state;
    }
}

/// How long it stays open the next time: `open_for`, doubled for each opening before, `max_open_for` at the most; and up
/// to a tenth more, so that gateways do not all try again at the same moment.
fn open_ms(plan: &BreakerPlan, openings: u32, draw: u64) -> u64 {
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let doubled = millis(plan.open_for).saturating_mul(1_u64 << openings.min(32));
    let open_ms = doubled.min(millis(plan.max_open_for));
    let spread = open_ms / 10;
    open_ms.saturating_add(if spread == 0 { 0 } else { mix(draw ^ u64::from(openings)) % (spread + 1) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{AllOpen, CountedFailures};
    use std::time::Duration;

    const PLAN: BreakerPlan = BreakerPlan {
        failures: 3,
        failure_status: Vec::new(),
        open_for: Duration::from_secs(10),
        max_open_for: Duration::from_secs(300),
        half_open: 2,
        counts: CountedFailures::All,
        max_ejected: 0.5,
        all_open: AllOpen::Refuse,
    };

    fn fail(breaker: &mut Breaker, now_ms: u64) -> FailureEffect {
        let admission = breaker.begin(&PLAN, now_ms);
        breaker.fail(admission, &PLAN, now_ms, 7, || true)
    }

    fn opened(now_ms: u64) -> Breaker {
        let mut breaker = Breaker::default();
        (0..2).for_each(|_| assert_eq!(fail(&mut breaker, now_ms), FailureEffect::None));
        assert_eq!(fail(&mut breaker, now_ms), FailureEffect::Opened);
        breaker
    }

    #[test]
    fn consecutive_failures_open_it_and_a_success_between_them_starts_the_count_again() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            fail(&mut breaker, 0);
            fail(&mut breaker, 0);
            let admission = breaker.begin(&PLAN, 0);
            breaker.succeed(admission);
        }
        assert!(breaker.admits(&PLAN, 0) && breaker.is_healthy());
        let breaker = opened(0);
        assert!(!breaker.admits(&PLAN, 9_999));
        assert!((10_000..=11_000).contains(&breaker.wait_ms(0)), "{}", breaker.wait_ms(0));
    }

    #[test]
    fn half_open_it_lets_only_its_trials_through_and_one_success_closes_it() {
        let mut breaker = opened(0);
        let now = breaker.wait_ms(0);
        let trials = [breaker.begin(&PLAN, now), breaker.begin(&PLAN, now)];
        assert!(!breaker.admits(&PLAN, now));
        breaker.cancel(trials[0]);
        assert!(breaker.admits(&PLAN, now), "a trial without a result makes room for another");
        breaker.succeed(trials[1]);
        assert!(breaker.admits(&PLAN, now) && breaker.is_healthy());
        assert_eq!(fail(&mut breaker, now), FailureEffect::None, "the count starts again");
    }

    #[test]
    fn each_trial_that_fails_doubles_the_time_up_to_the_longest() {
        let mut breaker = opened(0);
        let mut now = 0;
        for expected_s in [10, 20, 40, 80, 160, 300, 300] {
            let wait = breaker.wait_ms(now);
            assert!((expected_s * 1000..=expected_s * 1100).contains(&wait), "{wait} for {expected_s} s");
            now += wait;
            assert_eq!(fail(&mut breaker, now), FailureEffect::Opened);
        }
    }

    #[test]
    fn requests_that_began_before_it_opened_change_nothing() {
        let mut breaker = Breaker::default();
        let early = breaker.begin(&PLAN, 0);
        (0..3).for_each(|_| _ = fail(&mut breaker, 0));
        let wait = breaker.wait_ms(0);
        breaker.fail(early, &PLAN, 5_000, 7, || true);
        breaker.succeed(early);
        breaker.cancel(early);
        assert_eq!(breaker.wait_ms(0), wait);
    }

    #[test]
    fn a_request_that_went_through_an_open_one_for_want_of_a_better_endpoint_closes_it_by_success_alone() {
        let mut breaker = opened(0);
        let wait = breaker.wait_ms(0);
        assert_eq!(fail(&mut breaker, 1), FailureEffect::None);
        assert_eq!(breaker.wait_ms(0), wait);
        let admission = breaker.begin(&PLAN, 2);
        breaker.succeed(admission);
        assert!(breaker.is_healthy());
    }

    #[test]
    fn a_breaker_that_follows_another_opens_for_the_rest_of_its_time_and_closes_with_it() {
        let one = opened(0);
        let mut other = Breaker::default();
        let early = other.begin(&PLAN, 70_000);
        // By another clock, and some time after.
        other.follow(one.news(4_000), 74_000, || true);
        assert_eq!(other.wait_ms(74_000), one.wait_ms(4_000));
        other.fail(early, &PLAN, 75_000, 7, || true);
        assert_eq!(other.wait_ms(75_000), one.wait_ms(5_000), "what began before decides nothing");
        // Its own trial fails: the time doubles, as it would have on the other shard.
        let now = 75_000 + other.wait_ms(75_000);
        assert_eq!(fail(&mut other, now), FailureEffect::Opened);
        assert!((20_000..=22_000).contains(&other.wait_ms(now)), "{}", other.wait_ms(now));
        assert_eq!(one.news(0), BreakerNews::Open { for_ms: one.wait_ms(0), openings: 1 });
        other.follow(BreakerNews::Closed, now, || true);
        assert!(other.is_healthy());
        assert_eq!((other.news(now), other.openings), (BreakerNews::Closed, 0));
    }

    #[test]
    fn a_breaker_follows_only_as_far_as_its_own_shard_allows() {
        let news = BreakerNews::Open { for_ms: 500, openings: 3 };
        let mut breaker = Breaker::default();
        breaker.follow(news, 0, || false);
        assert!(breaker.is_healthy(), "too many others are open here");
        assert_eq!(fail(&mut breaker, 0), FailureEffect::None);
        breaker.follow(BreakerNews::Closed, 0, || true);
        assert!(!breaker.is_healthy(), "its own failures count on");
        let mut breaker = opened(0);
        let wait = breaker.wait_ms(0);
        breaker.follow(news, 0, || false);
        assert_eq!(breaker.wait_ms(0), wait, "it is never shortened");
        let trial = breaker.begin(&PLAN, wait);
        breaker.follow(news, wait, || false);
        assert!(!breaker.succeed(trial), "a trial of before");
        assert!(!breaker.admits(&PLAN, wait + 499) && breaker.admits(&PLAN, wait + 500));
    }

    #[test]
    fn it_stays_closed_while_it_may_not_open_and_asks_again_at_the_next_failure() {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            let admission = breaker.begin(&PLAN, 0);
            assert_eq!(breaker.fail(admission, &PLAN, 0, 7, || false), FailureEffect::None);
        }
        assert!(breaker.admits(&PLAN, 0) && !breaker.is_healthy());
        assert_eq!(fail(&mut breaker, 0), FailureEffect::Opened);
    }
}
