//! The limits of one route, as one generation has them, and how a request passes them.

use std::cell::OnceCell;
use std::rc::Rc;

use super::ShardLimits;
use super::meter::{Meter, MeterId};
use crate::base::error::Error;
use crate::exchange::Transaction;
use crate::limit::{LimitReport, Rule};
use crate::metrics::{LimitMetrics, ShardMetrics};
use crate::pipeline::limits::{ConsumerRates, LimitPhase, LimitPolicy, LimitRate};
use crate::plan::{RateLimit, RoutePlan};

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
    /// One for each rate of the policy, made when it is first needed.
    meters: Vec<OnceCell<Rc<Meter>>>,
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
        let policy = LimitPolicy::new(&route.name, plan, rates);
        // Meters of the generation before go on, with what they have counted.
        let known = policy.rates.iter().map(|rate| limits.known_meter(&meter_id(plan, rate)));
        let meters = known.map(|meter| meter.map(OnceCell::from).unwrap_or_default()).collect();
        RouteLimit { meters, metrics: metrics.limit(&route.name, &plan.name), policy }
    }

    async fn check(
        &self,
        limits: &ShardLimits,
        transaction: &Transaction,
        report: &mut LimitReport,
    ) -> Result<(), Error> {
        let meter = self.meter(self.policy.rate_index(transaction), limits);
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

    /// Where requests at this rate of the policy are counted.
    fn meter(&self, rate: usize, limits: &ShardLimits) -> Rc<Meter> {
        let id = || meter_id(&self.policy.plan, &self.policy.rates[rate]);
        self.meters[rate].get_or_init(|| limits.meter(id())).clone()
    }
}

fn meter_id(plan: &RateLimit, rate: &LimitRate) -> MeterId {
    MeterId { limit: rate.name_in_store.clone(), rule: Rule::of(plan, rate.rate), mode: plan.mode }
}
