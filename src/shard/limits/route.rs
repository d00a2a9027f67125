//! The limits of one route, as one generation has them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::meter::{Meter, MeterId};
use super::{LimitReport, Limits};
use crate::base::error::Error;
use crate::exchange::Transaction;
use crate::limit::{Dialect, Key, Rule, Verdict};
use crate::metrics::{LimitMetrics, LimitResult, ShardMetrics};
use crate::pipeline::limits::{self as policy, ConsumerRates, RatesOfLimit};
use crate::plan::{Consumer, OnStoreFailure, Rate, RateLimit, RoutePlan};

/// In file order, those before it is known who is calling and those after.
pub struct RouteLimits {
    pub(super) before_auth: Vec<Rc<Limit>>,
    pub(super) after_auth: Vec<Rc<Limit>>,
}

impl RouteLimits {
    /// `None`: the route has no limits.
    pub fn build(
        route: &RoutePlan,
        rates: &ConsumerRates,
        limits: &Limits,
        metrics: &ShardMetrics,
    ) -> Option<RouteLimits> {
        if route.rate_limits.is_empty() {
            return None;
        }
        let build = |plan: &RateLimit| Rc::new(Limit::build(plan, route, rates, limits, metrics));
        let (before_auth, after_auth) =
            route.rate_limits.iter().map(build).partition(|limit: &Rc<Limit>| limit.plan.before_auth);
        Some(RouteLimits { before_auth, after_auth })
    }
}

/// One limit of the route.
pub(super) struct Limit {
    plan: RateLimit,
    /// At the limit's own rate.
    meter: Rc<Meter>,
    /// Those of consumers.
    rates: Option<Rc<RatesOfLimit>>,
    /// At those rates, each made when it is first needed.
    meters: RefCell<HashMap<Rate, Rc<Meter>>>,
    pub(super) metrics: Rc<LimitMetrics>,
}

impl Limit {
    fn build(
        plan: &RateLimit,
        route: &RoutePlan,
        rates: &ConsumerRates,
        limits: &Limits,
        metrics: &ShardMetrics,
    ) -> Limit {
        let limit = policy::name_in_store(&route.name, &plan.name);
        let id = |rate| MeterId { limit: limit.clone(), rule: Rule::of(plan, rate), mode: plan.mode };
        let rates = rates.of_limit(&plan.name);
        let distinct = rates.as_ref().map(|rates| rates.rates()).unwrap_or_default();
        // What the generation before has counted goes on.
        let known = distinct.into_iter().filter_map(|rate| Some((rate, limits.known_meter(&id(rate))?)));
        Limit {
            meter: limits.meter(id(plan.rate)),
            meters: RefCell::new(known.collect()),
            metrics: metrics.limit(&route.name, &plan.name),
            plan: plan.clone(),
            rates,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.plan.name
    }

    pub(super) fn dialect(&self) -> Option<Dialect> {
        self.plan.headers
    }

    pub(super) fn key(&self, transaction: &Transaction) -> Key {
        policy::key(&self.plan.by, transaction)
    }

    /// Where this consumer's requests are counted.
    pub(super) fn meter(&self, consumer: Option<&Consumer>, limits: &Limits) -> Rc<Meter> {
        let rates = self.rates.as_ref();
        let rate = rates.zip(consumer).and_then(|(rates, consumer)| rates.of_consumer(&consumer.name));
        let Some(rate) = rate else { return self.meter.clone() };
        let mut meters = self.meters.borrow_mut();
        let meter = meters.entry(rate).or_insert_with(|| {
            let limit: Arc<str> = self.meter.id.limit.clone();
            limits.meter(MeterId { limit, rule: Rule::of(&self.plan, rate), mode: self.plan.mode })
        });
        meter.clone()
    }

    /// What becomes of a request that the store did not decide; `None`: it passes.
    ///
    /// # Errors
    /// `store_unavailable`.
    pub(super) fn without_store(
        &self,
        meter: &Meter,
        key: &Key,
        limits: &Limits,
    ) -> Result<Option<Verdict>, Error> {
        match self.plan.on_store_failure {
            OnStoreFailure::Local => Ok(Some(meter.take_of_share(key, limits))),
            OnStoreFailure::Deny if !self.plan.dry_run => Err(policy::store_lost()),
            OnStoreFailure::Allow | OnStoreFailure::Deny => Ok(None),
        }
    }

    /// Tells a verdict, and follows it.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(super) fn follow(
        self: &Rc<Limit>,
        rule: Rule,
        verdict: Verdict,
        told: &mut LimitReport,
    ) -> Result<LimitResult, Error> {
        told.add(self, rule, verdict);
        match verdict.allowed {
            true => Ok(LimitResult::Allowed),
            false if self.plan.dry_run => Ok(LimitResult::DryRun),
            false => Err(policy::refused(&verdict)),
        }
    }
}
