//! An exchange in flight at an endpoint: it makes the endpoint busy, and its result moves the endpoint's breaker.

use std::cell::Cell;
use std::rc::Rc;

use super::Upstream;
use super::endpoint::Endpoint;
use crate::balance::{Admission, BreakerNews, FailureEffect};
use crate::base::error::{Error, FaultOrigin};
use crate::plan::{BreakerPlan, CountedFailures};

/// An exchange in flight, from before its connection is made to its end. Dropped without a result, it says nothing of
/// the endpoint: the client has left, or the gateway is at fault.
pub struct InFlight<'a> {
    upstream: &'a Upstream,
    endpoint: Rc<Endpoint>,
    /// `None`: there is no breaker, or it has the result already.
    admission: Cell<Option<Admission>>,
}

impl<'a> InFlight<'a> {
    pub(super) fn new(upstream: &'a Upstream, endpoint: &Rc<Endpoint>, now_ms: u64) -> InFlight<'a> {
        endpoint.count_active(true);
        let breaker = upstream.plan.breaker.as_ref();
        let admission = breaker.map(|plan| endpoint.with_breaker(|breaker| breaker.begin(plan, now_ms)));
        InFlight { upstream, endpoint: endpoint.clone(), admission: Cell::new(admission) }
    }

    /// Where the exchange is.
    pub fn endpoint(&self) -> &Rc<Endpoint> {
        &self.endpoint
    }

    /// A connection is there. Where only connects count, that is the result.
    pub fn connected(&self) {
        if self.plan().is_some_and(|plan| plan.counts == CountedFailures::Connects) {
            self.succeeded();
        }
    }

    /// The head of the final response is here. A failing status is the result, and any other one ends a trial: others
    /// need not wait for the body, which may stream for hours.
    pub fn responded(&self, status: u16, now_ms: u64) {
        self.endpoint.metrics.request(status);
        let Some(plan) = self.plan() else { return };
        if plan.failure_status.binary_search(&status).is_ok() {
            self.failed(now_ms);
        } else if self.endpoint.with_breaker(|breaker| breaker.is_tripped()) {
            self.succeeded();
        }
    }

    /// The exchange is over.
    pub fn ended(&self, error: Option<&Error>, now_ms: u64) {
        match error {
            None => self.succeeded(),
            Some(error) if error.source == FaultOrigin::Upstream => self.failed(now_ms),
            // Of the client or the gateway itself: nothing is known of the endpoint.
            Some(_) => {}
        }
    }

    fn plan(&self) -> Option<&'a BreakerPlan> {
        self.upstream.plan.breaker.as_ref()
    }

    fn succeeded(&self) {
        if let Some(admission) = self.admission.take()
            && self.endpoint.with_breaker(|breaker| breaker.succeed(admission))
        {
            self.upstream.tell_breaker(&self.endpoint, BreakerNews::Closed);
        }
    }

    fn failed(&self, now_ms: u64) {
        let (Some(admission), Some(plan)) = (self.admission.take(), self.plan()) else { return };
        let (draw, may_open) = (self.endpoint.draw(), || self.upstream.may_open(&self.endpoint, plan));
        let effect =
            self.endpoint.with_breaker(|breaker| breaker.fail(admission, plan, now_ms, draw, may_open));
        if effect == FailureEffect::Opened {
            self.endpoint.metrics.ejected();
            let news = self.endpoint.with_breaker(|breaker| breaker.news(now_ms));
            self.upstream.tell_breaker(&self.endpoint, news);
            tracing::debug!(target = %self.endpoint.url, address = %self.endpoint.address, "passed over");
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.endpoint.count_active(false);
        if let Some(admission) = self.admission.take() {
            self.endpoint.with_breaker(|breaker| breaker.cancel(admission));
        }
    }
}
