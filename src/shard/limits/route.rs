//! The limits of one route, as one generation has them, and how a request passes them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::ShardLimits;
use super::meter::{Meter, MeterId};
use crate::base::error::Error;
use crate::exchange::Transaction;
use crate::limit::{LimitReport, Rule};
use crate::metrics::{LimitMetrics, ShardMetrics};
use crate::pipeline::limits::{ConsumerRates, LimitPhase, LimitPolicy, name_in_store};
use crate::plan::{Rate, RateLimit, RoutePlan};

/// In file order, one list for each phase.
pub struct RouteLimits {
    before_auth: Vec<RouteLimit>,
    after_auth: Vec<RouteLimit>,
}

impl RouteLimits {
    /// `None`: the route has no limits.
    pub fn build(
        route: &RoutePlan,
        rates: &ConsumerRates,
        limits: &ShardLimits,
        metrics: &ShardMetrics,
    ) -> Option<RouteLimits> {
        if route.rate_limits.is_empty() {
            return None;
        }
        let build = |plan: &RateLimit| RouteLimit::build(plan, route, rates, limits, metrics);
        let (before_auth, after_auth) = route
            .rate_limits
            .iter()
            .map(build)
            .partition(|limit: &RouteLimit| limit.policy.phase() == LimitPhase::BeforeAuth);
        Some(RouteLimits { before_auth, after_auth })
    }

    /// Counts a request by each limit of this phase, one after the other: a limit that refuses the request keeps it
    /// from taking tokens of those behind. The verdicts go into the report.
    ///
    /// # Errors
    /// `rate_limited`, `store_unavailable`.
    pub async fn check(
        &self,
        limits: &ShardLimits,
        phase: LimitPhase,
        transaction: &Transaction,
        report: &mut LimitReport,
    ) -> Result<(), Error> {
        let of_phase = match phase {
            LimitPhase::BeforeAuth => &self.before_auth,
            LimitPhase::AfterAuth => &self.after_auth,
        };
        for limit in of_phase {
            limit.check(limits, transaction, report).await?;
        }
        Ok(())
    }
}

/// One limit of the route, with its meters.
/// Meters of consumers are made on demand: most rates of most consumers are never used on most shards.
struct RouteLimit {
    policy: LimitPolicy,
    /// At the limit's own rate.
    meter: Rc<Meter>,
    /// At the rates of consumers, each made when it is first needed.
    meters: RefCell<HashMap<Rate, Rc<Meter>>>,
    metrics: Rc<LimitMetrics>,
}

impl RouteLimit {
    fn build(
        plan: &RateLimit,
        route: &RoutePlan,
        rates: &ConsumerRates,
        limits: &ShardLimits,
        metrics: &ShardMetrics,
    ) -> RouteLimit {
        let policy = LimitPolicy::new(plan, rates);
        let limit = name_in_store(&route.name, &plan.name);
        let id = |rate| MeterId { limit: limit.clone(), rule: Rule::of(plan, rate), mode: plan.mode };
        // Meters of the generation before go on, with what they have counted.
        let rates = policy.consumer_rates().into_iter();
        let known = rates.filter_map(|rate| Some((rate, limits.known_meter(&id(rate))?)));
        RouteLimit {
            meter: limits.meter(id(plan.rate)),
            meters: RefCell::new(known.collect()),
            metrics: metrics.limit(&route.name, &plan.name),
            policy,
        }
    }

    async fn check(
        &self,
        limits: &ShardLimits,
        transaction: &Transaction,
        report: &mut LimitReport,
    ) -> Result<(), Error> {
        let meter = self.meter(self.policy.rate(transaction), limits);
        let key = self.policy.key(transaction);
        let (result, followed) = match meter.take(&key, limits, &self.metrics, &mut report.waited).await {
            Some(verdict) => self.policy.apply(meter.id.rule, verdict, report),
            None => {
                let take_alone = || meter.take_alone(&key, limits);
                self.policy.apply_without_store(meter.id.rule, take_alone, report)
            }
        };
        self.metrics.count(result);
        followed
    }

    /// Where requests at this rate are counted.
    fn meter(&self, rate: Rate, limits: &ShardLimits) -> Rc<Meter> {
        if rate == self.policy.plan.rate {
            return self.meter.clone();
        }
        let mut meters = self.meters.borrow_mut();
        let meter = meters.entry(rate).or_insert_with(|| {
            let limit: Arc<str> = self.meter.id.limit.clone();
            let (plan, mode) = (&self.policy.plan, self.policy.plan.mode);
            limits.meter(MeterId { limit, rule: Rule::of(plan, rate), mode })
        });
        meter.clone()
    }
}
