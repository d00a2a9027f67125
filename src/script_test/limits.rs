//! Rate limits for `ringway test`: the same rules and policy as on a shard, with buckets of the test's own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::base::error::Error;
use crate::exchange::Transaction;
use crate::limit::{BucketStore, LimitReport, Rule};
use crate::pipeline::limits::{ConsumerRates, LimitPhase, LimitPolicy};
use crate::plan::RoutePlan;

/// Keys of one rule that a test keeps at a time.
const MAX_KEYS: usize = 65_536;

/// The buckets of one test. There is one gateway and it never loses its store, so that every mode (`shared`, `strict`,
/// `local`) admits exactly what the rule says.
#[derive(Default)]
pub struct OfflineLimits {
    /// By their name in the store.
    buckets: RefCell<HashMap<Arc<str>, BucketStore>>,
}

impl OfflineLimits {
    /// Forgets the test before.
    pub fn clear(&self) {
        self.buckets.borrow_mut().clear();
    }

    /// Counts a request by each of the route's limits of this phase, in file order, until one refuses it. The verdicts
    /// go into the report. `now_ms` is the test's clock in Unix time; where a test sets it back, no tokens come
    /// meanwhile.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn check(
        &self,
        phase: LimitPhase,
        route: &RoutePlan,
        rates: &ConsumerRates,
        transaction: &Transaction,
        report: &mut LimitReport,
        now_ms: u64,
    ) -> Result<(), Error> {
        let mut buckets = self.buckets.borrow_mut();
        let policies = route.rate_limits.iter().map(|plan| LimitPolicy::new(&route.name, plan, rates));
        for policy in policies.filter(|policy| policy.phase() == phase) {
            let rate = &policy.rates[policy.rate_index(transaction)];
            let rule = Rule::of(&policy.plan, rate.rate);
            let bucket = buckets.entry(rate.name_in_store.clone());
            let bucket = bucket.or_insert_with(|| BucketStore::new(&rule, MAX_KEYS));
            bucket.follow(&rule);
            let verdict = bucket.take(&policy.key(transaction), now_ms);
            policy.apply(rule, verdict, report).1?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Reason;
    use crate::plan::{
        Action, Consumer, ConsumerLimit, HeaderEdits, IpRules, LimitBy, LimitMode, OnStoreFailure, Period,
        Rate, RateAlgorithm, RateLimit, Require, Respond,
    };

    fn limit(name: &str, tokens: u64) -> RateLimit {
        RateLimit {
            name: name.into(),
            rate: Rate { tokens, period: Period::Minute },
            burst: None,
            algorithm: RateAlgorithm::TokenBucket,
            by: LimitBy::Consumer,
            mode: LimitMode::Shared,
            on_store_failure: OnStoreFailure::Deny,
            headers: None,
            dry_run: false,
            before_auth: false,
        }
    }

    fn route(name: &str, rate_limits: Vec<RateLimit>) -> RoutePlan {
        RoutePlan {
            name: name.into(),
            rate_limits,
            hosts: vec![],
            paths: vec![],
            methods: vec![],
            headers: vec![],
            query: vec![],
            priority: 0,
            action: Action::Respond(Respond { status: 200, body: Arc::new([]), content_type: None }),
            ip: IpRules::default(),
            cors: None,
            auth: vec![],
            require: Require::default(),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            deprecated: None,
            timeout: None,
            max_inflight: None,
            upgrade: vec![],
            scripts: vec![],
            vars: vec![],
        }
    }

    fn consumer(name: &str, limits: Vec<ConsumerLimit>) -> Arc<Consumer> {
        Arc::new(Consumer {
            name: name.into(),
            groups: vec![],
            permissions: vec![],
            api_keys: vec![],
            limits,
        })
    }

    /// The limits of one test, which all its requests meet after `auth`.
    #[derive(Default)]
    struct Test {
        limits: OfflineLimits,
        rates: ConsumerRates,
    }

    impl Test {
        fn check(&self, route: &RoutePlan, by: &Arc<Consumer>, now_ms: u64) -> Result<(), Option<u64>> {
            let transaction = Transaction { consumer: Some(by.clone()), ..Transaction::default() };
            self.check_in(LimitPhase::AfterAuth, route, &transaction, now_ms)
        }

        /// The error is `Retry-After`.
        fn check_in(
            &self,
            phase: LimitPhase,
            route: &RoutePlan,
            transaction: &Transaction,
            now_ms: u64,
        ) -> Result<(), Option<u64>> {
            let report = &mut LimitReport::default();
            let checked = self.limits.check(phase, route, &self.rates, transaction, report, now_ms);
            checked.map_err(|error| {
                assert_eq!(error.reason, Reason::RateLimited);
                error.retry_after_s
            })
        }
    }

    #[test]
    fn a_rule_is_held_by_the_clock_of_the_test_and_forgotten_with_it() {
        let (test, route) = (Test::default(), route("r", vec![limit("api", 2)]));
        let (a, b) = (consumer("a", vec![]), consumer("b", vec![]));
        assert_eq!(test.check(&route, &a, 1_000), Ok(()));
        assert_eq!(test.check(&route, &a, 1_000), Ok(()));
        assert_eq!(test.check(&route, &a, 1_000), Err(Some(30)));
        assert_eq!(test.check(&route, &b, 1_000), Ok(()));
        assert_eq!(test.check(&route, &a, 31_000), Ok(()));
        assert_eq!(test.check(&route, &a, 31_000), Err(Some(30)));
        test.limits.clear();
        assert_eq!(test.check(&route, &a, 31_000), Ok(()));
    }

    #[test]
    fn routes_and_consumers_rates_count_apart() {
        let rate = Rate { tokens: 3, period: Period::Minute };
        let fast = consumer("fast", vec![ConsumerLimit { limit: "api".into(), rate, group: None }]);
        let test = Test { rates: ConsumerRates::of(std::slice::from_ref(&fast)), ..Test::default() };
        let limit = RateLimit { by: LimitBy::Route, ..limit("api", 1) };
        let (one, other) = (route("one", vec![limit.clone()]), route("other", vec![limit]));
        let slow = consumer("slow", vec![]);
        assert_eq!(test.check(&one, &slow, 0), Ok(()));
        assert_eq!(test.check(&one, &slow, 0), Err(Some(60)));
        assert_eq!(test.check(&other, &slow, 0), Ok(()));
        (0..3).for_each(|_| assert_eq!(test.check(&one, &fast, 0), Ok(())));
        assert_eq!(test.check(&one, &fast, 0), Err(Some(20)));
    }

    #[test]
    fn each_phase_counts_by_its_own_limits_until_one_refuses() {
        let early = RateLimit { by: LimitBy::Ip, before_auth: true, ..limit("early", 1) };
        let last = RateLimit { rate: Rate { tokens: 2, period: Period::Day }, ..limit("last", 2) };
        let route = route("r", vec![limit("late", 1), early, last]);
        let (test, transaction) = (Test::default(), Transaction::default());
        let check = |phase, now_ms| test.check_in(phase, &route, &transaction, now_ms);
        assert_eq!(check(LimitPhase::BeforeAuth, 0), Ok(()));
        assert_eq!(check(LimitPhase::BeforeAuth, 0), Err(Some(60)));
        assert_eq!(check(LimitPhase::AfterAuth, 0), Ok(()));
        // `late` refuses these, so that `last` keeps a token for the request a minute later.
        (0..3).for_each(|_| assert_eq!(check(LimitPhase::AfterAuth, 0), Err(Some(60))));
        assert_eq!(check(LimitPhase::AfterAuth, 60_000), Ok(()));
    }
}
