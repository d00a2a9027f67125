//! What follows a failed attempt. A decider: no socket, no clock.
//!
//! The rule: nothing is repeated that may have had an effect, unless the method allows it (RFC 9110, 9.2.2).

use crate::base::error::{Error, Retry};

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt {
    /// A connection was there: the request may have been sent.
    pub connected: bool,
    /// It had served before, so the upstream may just have closed it.
    pub reused: bool,
    /// The whole request is at hand for another attempt, although some of it was sent.
    pub can_replay: bool,
    /// The method is idempotent (RFC 9110, 9.2.2).
    pub is_idempotent: bool,
    /// Nothing has been sent to the client that another attempt could contradict.
    pub is_unanswered: bool,
    /// Some of the route's `timeout` is left.
    pub is_in_time: bool,
    /// How many other endpoints have failed this request before.
    pub endpoints_tried: usize,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAttempt {
    /// At the same endpoint, over another connection: the pooled one was dead.
    SameEndpoint,
    /// At an endpoint that was not tried.
    OtherEndpoint,
    None,
}

/// Attempts at other endpoints after a connect that failed.
/// One, so that an outage at most doubles the connects, and the wait is twice `connect_timeout` at most.
const MAX_CONNECT_RETRIES: usize = 1;

/// Decides what follows.
///
/// Attempts over a connection that was new are never repeated: there the failure is the endpoint's own.
pub fn next_attempt(error: &Error, failed: FailedAttempt) -> NextAttempt {
    if !(failed.is_unanswered && failed.is_in_time) {
        return NextAttempt::None;
    }
    let is_safe = match error.retry {
        // Nothing of it was sent: it is all here, however much is still to come of its body.
        Retry::Safe => true,
        Retry::IfIdempotent => failed.is_idempotent && failed.can_replay,
        Retry::Never => false,
    };
    match failed {
        // Nothing was sent, so it is safe for every method.
        FailedAttempt { connected: false, .. } if is_safe && failed.endpoints_tried < MAX_CONNECT_RETRIES => {
            NextAttempt::OtherEndpoint
        }
        FailedAttempt { connected: true, reused: true, .. } if is_safe => NextAttempt::SameEndpoint,
        _ => NextAttempt::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Reason;

    const DEAD_POOLED: FailedAttempt = FailedAttempt {
        connected: true,
        reused: true,
        can_replay: true,
        is_idempotent: true,
        is_unanswered: true,
        is_in_time: true,
        endpoints_tried: 0,
    };

    fn after(retry: Retry, failed: FailedAttempt) -> NextAttempt {
        next_attempt(&Error::upstream(Reason::UpstreamReset, retry, ""), failed)
    }

    #[test]
    fn a_request_is_sent_again_only_where_that_is_safe() {
        use NextAttempt::{None, OtherEndpoint, SameEndpoint};
        let refused = FailedAttempt { connected: false, reused: false, ..DEAD_POOLED };
        for (retry, failed, expected) in [
            (Retry::Safe, DEAD_POOLED, SameEndpoint),
            (Retry::IfIdempotent, DEAD_POOLED, SameEndpoint),
            (Retry::IfIdempotent, FailedAttempt { is_idempotent: false, ..DEAD_POOLED }, None),
            (Retry::Safe, FailedAttempt { is_idempotent: false, ..DEAD_POOLED }, SameEndpoint),
            (Retry::Never, DEAD_POOLED, None),
            (Retry::Safe, FailedAttempt { reused: false, ..DEAD_POOLED }, None),
            (Retry::IfIdempotent, FailedAttempt { can_replay: false, ..DEAD_POOLED }, None),
            (
                Retry::Safe,
                FailedAttempt { can_replay: false, is_idempotent: false, ..DEAD_POOLED },
                SameEndpoint,
            ),
            (Retry::Safe, FailedAttempt { can_replay: false, ..refused }, OtherEndpoint),
            (Retry::Safe, FailedAttempt { is_unanswered: false, ..DEAD_POOLED }, None),
            (Retry::Safe, FailedAttempt { is_in_time: false, ..DEAD_POOLED }, None),
            (Retry::Safe, FailedAttempt { is_in_time: false, ..refused }, None),
            (Retry::Safe, refused, OtherEndpoint),
            (Retry::Safe, FailedAttempt { is_idempotent: false, ..refused }, OtherEndpoint),
            (Retry::Safe, FailedAttempt { endpoints_tried: 1, ..refused }, None),
            (Retry::Never, refused, None),
        ] {
            assert_eq!(after(retry, failed), expected, "{retry:?} {failed:?}");
        }
    }
}
