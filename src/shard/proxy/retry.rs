//! What follows a failed attempt. A decider: no socket, no clock.
//!
//! The rule: nothing is repeated that may have had an effect, unless the request allows it (RFC 9110, 9.2.2).

use std::time::Duration;

use crate::base::error::{Error, Reason, Retry};
use crate::net::deadline::TICK_MS;
use crate::plan::RetryPlan;

/// How much of a request's body is held so that it can be sent again.
pub const MAX_REPLAYED_BYTES: usize = 64 * 1024;

/// The shortest wait before an endpoint gets what another one has failed at. Doubled for each further attempt.
const FIRST_DELAY: Duration = Duration::from_millis(25);
const MAX_DELAY: Duration = Duration::from_secs(1);

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt {
    /// A connection was there: the request may have been sent.
    pub connected: bool,
    /// It had served before, so the upstream may just have closed it.
    pub reused: bool,
    /// The whole request is at hand for another attempt, although some of it was sent.
    pub can_replay: bool,
    /// The method is idempotent (RFC 9110, 9.2.2), or the client says that the request is.
    pub is_repeatable: bool,
    /// Nothing has been sent to the client that another attempt could contradict.
    pub is_unanswered: bool,
    /// Of the route's `timeout`.
    pub time_left: Duration,
    /// How many other endpoints have failed this request before.
    pub endpoints_tried: usize,
    /// Any number, for the spread of waits.
    pub draw: u64,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAttempt {
    /// At the same endpoint, over another connection: the pooled one was dead.
    SameEndpoint,
    /// At an endpoint that was not tried.
    OtherEndpoint {
        /// How long it waits before.
        delay: Duration,
    },
    None,
}

/// Decides what follows an error.
///
/// An attempt over a connection that was new is never repeated at the same endpoint: there the failure is the endpoint's
/// own.
pub fn next_attempt(plan: &RetryPlan, error: &Error, failed: FailedAttempt) -> NextAttempt {
    if !(failed.is_unanswered && failed.has_time(Duration::ZERO)) {
        return NextAttempt::None;
    }
    let is_safe = match error.retry {
        // Nothing of it was sent: it is all here, however much is still to come of its body.
        Retry::Safe => true,
        Retry::IfIdempotent | Retry::IfSetUp => failed.is_repeatable && failed.can_replay,
        Retry::Never => false,
    };
    if !is_safe {
        return NextAttempt::None;
    }
    if failed.connected && failed.reused && error.retry != Retry::IfSetUp {
        return NextAttempt::SameEndpoint;
    }
    match (failed.connected, error.reason) {
        // Nothing was sent, so it is safe for every method.
        (false, _) if plan.on_connect => failed.other_endpoint(plan, Duration::ZERO),
        (true, Reason::UpstreamReset) if plan.on_reset => failed.other_endpoint(plan, failed.delay()),
        (true, Reason::UpstreamTimeout) if plan.on_timeout => failed.other_endpoint(plan, failed.delay()),
        _ => NextAttempt::None,
    }
}

/// Decides what follows a response that has this status, of which the client has seen nothing.
pub fn after_status(plan: &RetryPlan, status: u16, failed: FailedAttempt) -> NextAttempt {
    let is_chosen = plan.on_status.binary_search(&status).is_ok();
    if is_chosen && failed.is_unanswered && failed.is_repeatable && failed.can_replay {
        return failed.other_endpoint(plan, failed.delay());
    }
    NextAttempt::None
}

impl FailedAttempt {
    fn other_endpoint(&self, plan: &RetryPlan, delay: Duration) -> NextAttempt {
        match self.endpoints_tried < plan.attempts && self.has_time(delay) {
            true => NextAttempt::OtherEndpoint { delay },
            false => NextAttempt::None,
        }
    }

    /// Whether some of the route's `timeout` is left after a wait. What the coarse clock still leaves when the time is up
    /// is no time for another attempt.
    fn has_time(&self, delay: Duration) -> bool {
        self.time_left > delay + Duration::from_millis(TICK_MS)
    }

    /// How long to wait: up to half as much more than the doubled delay, so that requests that failed together do not
    /// come again together.
    fn delay(&self) -> Duration {
        let doublings = self.endpoints_tried.min(16) as u32;
        let least = FIRST_DELAY.saturating_mul(1 << doublings).min(MAX_DELAY);
        least + least.mul_f64((self.draw % 1024) as f64 / 2048.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD_POOLED: FailedAttempt = FailedAttempt {
        connected: true,
        reused: true,
        can_replay: true,
        is_repeatable: true,
        is_unanswered: true,
        time_left: Duration::MAX,
        endpoints_tried: 0,
        draw: 0,
    };
    const REFUSED: FailedAttempt = FailedAttempt { connected: false, reused: false, ..DEAD_POOLED };
    const FAILED: FailedAttempt = FailedAttempt { reused: false, ..DEAD_POOLED };
    const AT_ONCE: NextAttempt = NextAttempt::OtherEndpoint { delay: Duration::ZERO };
    const WAITING: NextAttempt = NextAttempt::OtherEndpoint { delay: FIRST_DELAY };
    const NO_TIME: Duration = Duration::from_millis(TICK_MS);

    /// With every failure set up.
    fn all(attempts: usize) -> RetryPlan {
        RetryPlan {
            attempts,
            on_connect: true,
            on_reset: true,
            on_timeout: true,
            on_status: vec![502, 503],
            budget: Some(0.2),
        }
    }

    fn error(reason: Reason, retry: Retry) -> Error {
        Error::upstream(reason, retry, "")
    }

    #[test]
    fn without_a_plan_a_request_is_sent_again_only_where_that_is_safe() {
        use NextAttempt::{None, SameEndpoint};
        for (retry, failed, expected) in [
            (Retry::Safe, DEAD_POOLED, SameEndpoint),
            (Retry::IfIdempotent, DEAD_POOLED, SameEndpoint),
            (Retry::IfSetUp, DEAD_POOLED, None),
            (Retry::IfIdempotent, FailedAttempt { is_repeatable: false, ..DEAD_POOLED }, None),
            (Retry::Safe, FailedAttempt { is_repeatable: false, ..DEAD_POOLED }, SameEndpoint),
            (Retry::Never, DEAD_POOLED, None),
            (Retry::Safe, FAILED, None),
            (Retry::IfIdempotent, FailedAttempt { can_replay: false, ..DEAD_POOLED }, None),
            (
                Retry::Safe,
                FailedAttempt { can_replay: false, is_repeatable: false, ..DEAD_POOLED },
                SameEndpoint,
            ),
            (Retry::Safe, FailedAttempt { can_replay: false, ..REFUSED }, AT_ONCE),
            (Retry::Safe, FailedAttempt { is_unanswered: false, ..DEAD_POOLED }, None),
            (Retry::Safe, FailedAttempt { time_left: NO_TIME, ..DEAD_POOLED }, None),
            (Retry::Safe, FailedAttempt { time_left: NO_TIME, ..REFUSED }, None),
            (Retry::Safe, REFUSED, AT_ONCE),
            (Retry::Safe, FailedAttempt { is_repeatable: false, ..REFUSED }, AT_ONCE),
            (Retry::Safe, FailedAttempt { endpoints_tried: 1, ..REFUSED }, None),
            (Retry::Never, REFUSED, None),
        ] {
            let next = next_attempt(&RetryPlan::CONNECTS_ONLY, &error(Reason::UpstreamReset, retry), failed);
            assert_eq!(next, expected, "{retry:?} {failed:?}");
        }
    }

    #[test]
    fn what_is_set_up_goes_to_another_endpoint() {
        use NextAttempt::{None, SameEndpoint};
        use Reason::{UpstreamProtocol, UpstreamReset, UpstreamTimeout};
        let posted = FailedAttempt { is_repeatable: false, ..FAILED };
        for (reason, retry, failed, expected) in [
            (UpstreamReset, Retry::IfIdempotent, DEAD_POOLED, SameEndpoint),
            (UpstreamReset, Retry::IfSetUp, DEAD_POOLED, WAITING),
            (UpstreamReset, Retry::IfIdempotent, FAILED, WAITING),
            (UpstreamReset, Retry::IfSetUp, FAILED, WAITING),
            (UpstreamReset, Retry::Safe, posted, WAITING),
            (UpstreamReset, Retry::IfIdempotent, posted, None),
            (UpstreamReset, Retry::IfIdempotent, FailedAttempt { can_replay: false, ..FAILED }, None),
            (UpstreamReset, Retry::IfIdempotent, FailedAttempt { endpoints_tried: 1, ..FAILED }, None),
            (UpstreamReset, Retry::IfIdempotent, FailedAttempt { time_left: FIRST_DELAY, ..FAILED }, None),
            (UpstreamReset, Retry::Never, FAILED, None),
            (UpstreamTimeout, Retry::IfSetUp, FAILED, WAITING),
            (UpstreamTimeout, Retry::IfSetUp, posted, None),
            (UpstreamTimeout, Retry::Safe, REFUSED, AT_ONCE),
            (UpstreamProtocol, Retry::Never, FAILED, None),
        ] {
            let next = next_attempt(&all(1), &error(reason, retry), failed);
            assert_eq!(next, expected, "{reason:?} {retry:?} {failed:?}");
        }
        let only_resets = RetryPlan { on_connect: false, on_timeout: false, ..all(1) };
        for (reason, retry, failed) in
            [(UpstreamTimeout, Retry::IfSetUp, FAILED), (Reason::UpstreamConnect, Retry::Safe, REFUSED)]
        {
            assert_eq!(next_attempt(&only_resets, &error(reason, retry), failed), None, "{reason:?}");
        }
        let off = RetryPlan { attempts: 0, ..all(0) };
        assert_eq!(next_attempt(&off, &error(Reason::UpstreamConnect, Retry::Safe), REFUSED), None);
    }

    #[test]
    fn a_status_that_is_set_up_goes_to_another_endpoint_where_the_request_can_be_repeated() {
        for (status, failed, expected) in [
            (503, FAILED, WAITING),
            (502, DEAD_POOLED, WAITING),
            (500, FAILED, NextAttempt::None),
            (503, FailedAttempt { is_repeatable: false, ..FAILED }, NextAttempt::None),
            (503, FailedAttempt { can_replay: false, ..FAILED }, NextAttempt::None),
            (503, FailedAttempt { is_unanswered: false, ..FAILED }, NextAttempt::None),
            (503, FailedAttempt { endpoints_tried: 1, ..FAILED }, NextAttempt::None),
            (503, FailedAttempt { time_left: FIRST_DELAY, ..FAILED }, NextAttempt::None),
        ] {
            assert_eq!(after_status(&all(1), status, failed), expected, "{status} {failed:?}");
        }
    }

    #[test]
    fn waits_double_are_spread_and_have_an_end() {
        for (endpoints_tried, draw, millis) in
            [(0, 0, 25..26), (0, 1023, 37..38), (1, 0, 50..51), (2, 512, 125..126), (9, 0, 1000..1001)]
        {
            let delay = FailedAttempt { endpoints_tried, draw, ..FAILED }.delay();
            assert!(millis.contains(&delay.as_millis()), "{endpoints_tried} {draw}: {delay:?}");
        }
    }
}
