//! The endpoints that one request goes to: the first, and another one for each retry.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::retry::{FailedAttempt, NextAttempt, after_status};
use crate::base::error::Error;
use crate::upstream::{Endpoint, Upstream};

/// Chooses the endpoints of one request.
pub struct EndpointChoice<'a> {
    upstream: &'a Upstream,
    /// What `hash_on` selects, hashed.
    key: u64,
    /// Those at which the request has failed.
    failed: RefCell<Vec<Rc<Endpoint>>>,
}

/// A further attempt that was decided on.
pub struct ChosenRetry {
    pub endpoint: Rc<Endpoint>,
    /// How long to wait before.
    pub delay: Duration,
}

impl<'a> EndpointChoice<'a> {
    pub fn new(upstream: &'a Upstream, key: u64) -> EndpointChoice<'a> {
        EndpointChoice { upstream, key, failed: RefCell::default() }
    }

    /// The endpoint of the first attempt.
    ///
    /// # Errors
    /// Those of [`Upstream::pick`].
    pub fn first(&self, now_ms: u64) -> Result<Rc<Endpoint>, Error> {
        self.upstream.pick(self.key, &[], now_ms)
    }

    /// At how many endpoints the request has failed.
    pub fn endpoints_tried(&self) -> usize {
        self.failed.borrow().len()
    }

    /// An endpoint in place of one that failed, and takes it off the budget. `None`: the budget is spent, or no endpoint
    /// is left; what has happened at this one is the request's end.
    pub fn instead_of(&self, failing: &Rc<Endpoint>, delay: Duration, now_ms: u64) -> Option<ChosenRetry> {
        if !self.upstream.may_retry() {
            return None;
        }
        let mut failed = self.failed.borrow_mut();
        failed.push(failing.clone());
        let endpoint = self.upstream.pick(self.key, &failed, now_ms).ok()?;
        self.upstream.count_retry();
        Some(ChosenRetry { endpoint, delay })
    }

    /// What follows a response with this status: another attempt, or `None`, it is passed on.
    pub fn instead_of_status(
        &self,
        failing: &Rc<Endpoint>,
        status: u16,
        failed: FailedAttempt,
        now_ms: u64,
    ) -> Option<ChosenRetry> {
        match after_status(&self.upstream.plan.retry, status, failed) {
            NextAttempt::OtherEndpoint { delay } => self.instead_of(failing, delay, now_ms),
            NextAttempt::SameEndpoint | NextAttempt::None => None,
        }
    }
}
