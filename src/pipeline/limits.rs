//! Rate limits as a step of a request's way: the key it is counted by, the rule that holds for it, and what a verdict
//! means for it. Where buckets are kept is the caller's matter: a shard's leases and store, or a test's own buckets.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use crate::base::error::{Error, Reason};
use crate::exchange::Transaction;
use crate::limit::{Key, LimitReport, Rule, Verdict};
use crate::metrics::LimitResult;
use crate::plan::{Consumer, ConsumerLimit, LimitBy, OnStoreFailure, Rate, RateLimit};

/// The two points of a request's way at which limits count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitPhase {
    /// Before it is known who is calling: limits with `before_auth`.
    BeforeAuth,
    /// After `auth` and `require`: all others.
    AfterAuth,
}

/// One limit of one route, without its buckets.
pub struct LimitPolicy {
    pub plan: RateLimit,
    /// The plan's name, for reports: cloned for each request, so without an atomic count that shards would share.
    name: Rc<str>,
    /// The limit's own rate, and then those that consumers have instead.
    pub rates: Vec<LimitRate>,
    /// `None`: no consumer has another rate.
    of_consumers: Option<Rc<RatesOfLimit>>,
}

/// A rate of a limit, and where requests at this rate are counted.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitRate {
    pub rate: Rate,
    /// Says whose rate it is, and nothing of the rate: when it changes, what was counted stays.
    pub name_in_store: Arc<str>,
}

impl LimitPolicy {
    pub fn new(route: &str, plan: &RateLimit, rates: &ConsumerRates) -> LimitPolicy {
        let own = LimitRate { rate: plan.rate, name_in_store: name_in_store(None, route, &plan.name) };
        let of_consumers = rates.of_limit(&plan.name);
        let others = of_consumers.iter().flat_map(|rates| &rates.rates).map(|(owner, rate)| {
            let name_in_store = match plan.by {
                // The key has the consumer's name.
                LimitBy::Consumer => own.name_in_store.clone(),
                _ => name_in_store(Some(owner), route, &plan.name),
            };
            LimitRate { rate: *rate, name_in_store }
        });
        let rates = std::iter::once(own.clone()).chain(others).collect();
        LimitPolicy { plan: plan.clone(), name: (&*plan.name).into(), rates, of_consumers }
    }

    pub fn phase(&self) -> LimitPhase {
        if self.plan.before_auth { LimitPhase::BeforeAuth } else { LimitPhase::AfterAuth }
    }

    /// The key that a request is counted by.
    pub fn key(&self, transaction: &Transaction) -> Key {
        key(&self.plan.by, transaction)
    }

    /// Which of [`LimitPolicy::rates`] holds for a request: its consumer's, or the limit's own.
    pub fn rate_index(&self, transaction: &Transaction) -> usize {
        let rates = self.of_consumers.as_ref().zip(transaction.consumer.as_deref());
        rates.and_then(|(rates, consumer)| rates.of_consumer(&consumer.name)).map_or(0, |index| index + 1)
    }

    /// Reports a verdict and follows it: a request without a token is refused, unless the limit is a `dry_run`. The
    /// result is for the metrics.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn apply(
        &self,
        rule: Rule,
        verdict: Verdict,
        report: &mut LimitReport,
    ) -> (LimitResult, Result<(), Error>) {
        report.add(self.name.clone(), self.plan.headers, rule, verdict);
        match verdict.allowed {
            true => (LimitResult::Allowed, Ok(())),
            false if self.plan.dry_run => (LimitResult::DryRun, Ok(())),
            false => (LimitResult::Limited, Err(refused(&verdict))),
        }
    }

    /// Decides a request to which the store gave no verdict, as `on_store_failure` says. `take_local` takes a token
    /// from the caller's own share of the rule.
    ///
    /// # Errors
    /// `rate_limited`, `store_unavailable`.
    pub fn apply_without_store(
        &self,
        rule: Rule,
        take_local: impl FnOnce() -> Verdict,
        report: &mut LimitReport,
    ) -> (LimitResult, Result<(), Error>) {
        let followed = match self.plan.on_store_failure {
            OnStoreFailure::Local => self.apply(rule, take_local(), report).1,
            OnStoreFailure::Deny if !self.plan.dry_run => Err(store_unavailable()),
            OnStoreFailure::Allow | OnStoreFailure::Deny => Ok(()),
        };
        (LimitResult::StoreFailed, followed)
    }
}

/// The name of a limit's buckets in the store. Lengths come first, so that no two limits make the same name, whatever
/// they contain.
fn name_in_store(owner: Option<&RateOwner>, route: &str, limit: &str) -> Arc<str> {
    let limit = format!("{}:{route}:{limit}", route.len());
    match owner {
        None => limit.into(),
        Some(RateOwner::Group(name)) => format!("group:{}:{name}:{limit}", name.len()).into(),
        Some(RateOwner::Consumer(name)) => format!("consumer:{}:{name}:{limit}", name.len()).into(),
    }
}

/// The key that a request is counted by: the value that `by` names or, where the request has none, the client's
/// address.
fn key(by: &LimitBy, transaction: &Transaction) -> Key {
    let named = match by {
        LimitBy::Consumer => transaction.consumer.as_deref().map(|consumer| Key::of_consumer(&consumer.name)),
        LimitBy::Ip => None,
        LimitBy::Route => Some(Key::ROUTE),
        LimitBy::Header(name) => {
            let value = transaction.request.fields.find(name.as_bytes());
            value.filter(|value| !value.is_empty()).map(Key::of_header)
        }
        LimitBy::Claim(name) => {
            transaction.claims.as_deref().and_then(|claims| claims.map.get(&**name)).and_then(key_of_claim)
        }
    };
    named.unwrap_or_else(|| Key::of_address(transaction.meta.client.ip))
}

/// A list, an object, null or an empty string identifies nobody: `None`.
fn key_of_claim(claim: &Value) -> Option<Key> {
    match claim {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(Key::of_claim(text.as_bytes())),
        Value::Number(number) => Some(Key::of_claim(number.to_string().as_bytes())),
        Value::Bool(true) => Some(Key::of_claim(b"true")),
        Value::Bool(false) => Some(Key::of_claim(b"false")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The rates that consumers have instead of those of limits, by the limits' names.
#[derive(Debug, Default)]
pub struct ConsumerRates(HashMap<Arc<str>, Rc<RatesOfLimit>>);

/// The rates that consumers have instead of one limit's.
#[derive(Debug, Default)]
struct RatesOfLimit {
    rates: Vec<(RateOwner, Rate)>,
    indexes: HashMap<RateOwner, usize>,
    /// By the consumers' names.
    of_consumers: HashMap<Arc<str>, usize>,
}

/// Whose rate it is. Requests of all members of a group are counted together where the limit counts them by the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum RateOwner {
    Group(Arc<str>),
    Consumer(Arc<str>),
}

impl ConsumerRates {
    pub fn of(consumers: &[Arc<Consumer>]) -> ConsumerRates {
        let mut rates = HashMap::<Arc<str>, RatesOfLimit>::new();
        for consumer in consumers {
            for ConsumerLimit { limit, rate, group } in &consumer.limits {
                let own = || RateOwner::Consumer(consumer.name.clone());
                let owner = group.clone().map_or_else(own, RateOwner::Group);
                rates.entry(limit.clone()).or_default().add(&consumer.name, owner, *rate);
            }
        }
        ConsumerRates(rates.into_iter().map(|(limit, rates)| (limit, Rc::new(rates))).collect())
    }

    /// `None`: no consumer has another rate.
    fn of_limit(&self, limit: &str) -> Option<Rc<RatesOfLimit>> {
        self.0.get(limit).cloned()
    }
}

impl RatesOfLimit {
    fn add(&mut self, consumer: &Arc<str>, owner: RateOwner, rate: Rate) {
        let index = *self.indexes.entry(owner.clone()).or_insert(self.rates.len());
        if index == self.rates.len() {
            self.rates.push((owner, rate));
        }
        self.of_consumers.insert(consumer.clone(), index);
    }

    fn of_consumer(&self, consumer: &str) -> Option<usize> {
        self.of_consumers.get(consumer).copied()
    }
}

/// 429.
fn refused(verdict: &Verdict) -> Error {
    let retry_after_s = Some(verdict.retry_after_ms.div_ceil(1_000));
    // The detail is empty: `retryAfter` and the limit's header fields say it all.
    Error { retry_after_s, ..Error::client(Reason::RateLimited, "") }
}

/// 503: the limit is to deny requests while the store is out of reach.
fn store_unavailable() -> Error {
    Error::gateway(Reason::StoreUnavailable, "the store gives no answer, and the rate limit says \"deny\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::jwt::Claims;
    use crate::plan::{LimitMode, Period, RateAlgorithm};

    fn from(address: &str) -> Transaction {
        let mut transaction = Transaction::default();
        transaction.meta.client.ip = address.parse().expect("an address");
        transaction
    }

    fn named(name: &str) -> Transaction {
        let consumer = Consumer {
            name: name.into(),
            groups: vec![],
            permissions: vec![],
            api_keys: vec![],
            limits: vec![],
        };
        Transaction { consumer: Some(Arc::new(consumer)), ..from("192.0.2.1") }
    }

    fn claiming(claims: Value) -> Key {
        let map = claims.as_object().cloned().unwrap_or_default();
        let claims = Rc::new(Claims { map, exp_s: 0, bytes: 0 });
        let transaction = Transaction { claims: Some(claims), ..from("192.0.2.1") };
        key(&LimitBy::Claim("tenant".into()), &transaction)
    }

    #[test]
    fn ipv4_counts_by_address_and_ipv6_by_its_first_64_bits() {
        let of = |address: &str| key(&LimitBy::Ip, &from(address));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
    }

    #[test]
    fn a_request_without_the_key_is_counted_by_its_address() {
        let by_ip = key(&LimitBy::Ip, &from("192.0.2.1"));
        let with = |value: &[u8]| {
            let mut transaction = from("192.0.2.1");
            transaction.request.fields.add(b"X-Tenant", value);
            key(&LimitBy::Header("x-tenant".into()), &transaction)
        };
        assert_eq!(key(&LimitBy::Consumer, &from("192.0.2.1")), by_ip);
        assert_eq!(key(&LimitBy::Header("x-tenant".into()), &from("192.0.2.1")), by_ip);
        assert_eq!(with(b""), by_ip);
        assert_ne!(with(b"a"), by_ip);
        assert_ne!(with(b"a"), with(b"b"));
        for claims in [serde_json::json!({}), serde_json::json!({ "tenant": ["a"] }), Value::Null] {
            assert_eq!(claiming(claims), by_ip);
        }
        assert_ne!(claiming(serde_json::json!({ "tenant": "a" })), by_ip);
        assert_ne!(
            claiming(serde_json::json!({ "tenant": 7 })),
            claiming(serde_json::json!({ "tenant": 8 }))
        );
    }

    #[test]
    fn keys_of_different_kinds_differ() {
        let consumer = key(&LimitBy::Consumer, &named("a"));
        let mut transaction = from("192.0.2.1");
        transaction.request.fields.add(b"x", b"a");
        let header = key(&LimitBy::Header("x".into()), &transaction);
        let route = key(&LimitBy::Route, &transaction);
        let all = [consumer, header, route, claiming(serde_json::json!({ "tenant": "a" }))];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one), "{one:?}");
        }
        // Four letters that are an address's bytes.
        let address = key(&LimitBy::Ip, &from("97.98.99.100"));
        assert_ne!(key(&LimitBy::Consumer, &named("abcd")), address);
    }

    #[test]
    fn long_values_that_differ_at_their_end_count_apart() {
        let of = |len: usize, last: char| {
            key(&LimitBy::Consumer, &named(&format!("{}{last}", "n".repeat(len - 1))))
        };
        for len in [1, 62, 63, 64, 65, 5_000] {
            assert_ne!(of(len, 'a'), of(len, 'b'), "{len}");
        }
    }

    #[test]
    fn limits_of_two_routes_and_of_two_owners_have_two_names() {
        let name = |route, limit| name_in_store(None, route, limit);
        assert_ne!(name("a", "b:c"), name("a:b", "c"));
        assert_ne!(name("a", "x"), name("b", "x"));
        let owners = [RateOwner::Group("a".into()), RateOwner::Consumer("a".into())];
        let of = owners.map(|owner| name_in_store(Some(&owner), "a", "x"));
        assert_ne!(of[0], of[1]);
        assert!(of.iter().all(|of| *of != name("a", "x")));
    }

    #[test]
    fn rates_are_counted_by_their_owner_and_not_by_their_numbers() {
        let consumer = |name: &str, tokens, group: Option<&str>| {
            let rate = Rate { tokens, period: Period::Minute };
            let limits = vec![ConsumerLimit { limit: "api".into(), rate, group: group.map(Arc::from) }];
            let (groups, permissions, api_keys) = (vec![], vec![], vec![]);
            Arc::new(Consumer { name: name.into(), groups, permissions, api_keys, limits })
        };
        let names = |by: LimitBy, tokens| {
            let all = [("a", None), ("b", Some("gold")), ("c", Some("gold"))]
                .map(|(name, group)| consumer(name, tokens, group));
            let plan = RateLimit { by, ..limit(false, OnStoreFailure::Deny).plan };
            let policy = LimitPolicy::new("r", &plan, &ConsumerRates::of(&all));
            let of = |consumer: &Arc<Consumer>| {
                let transaction = Transaction { consumer: Some(consumer.clone()), ..from("192.0.2.1") };
                let rate = &policy.rates[policy.rate_index(&transaction)];
                assert_eq!(rate.rate.tokens, tokens);
                rate.name_in_store.clone()
            };
            [policy.rates[0].name_in_store.clone(), of(&all[0]), of(&all[1]), of(&all[2])]
        };
        let [own, a, b, c] = names(LimitBy::Route, 7);
        assert!(own != a && own != b && a != b && b == c);
        assert_eq!(names(LimitBy::Route, 8), [own.clone(), a, b, c]);
        assert!(names(LimitBy::Consumer, 7).iter().all(|name| *name == own));
    }

    #[test]
    fn a_refusal_says_after_how_many_seconds_to_retry_rounded_up() {
        let verdict = Verdict { allowed: false, remaining: 0, reset_ms: 60_000, retry_after_ms: 11_001 };
        let error = refused(&verdict);
        assert_eq!((error.reason.status(), error.retry_after_s), (429, Some(12)));
    }

    fn limit(dry_run: bool, on_store_failure: OnStoreFailure) -> LimitPolicy {
        let plan = RateLimit {
            name: "api".into(),
            rate: Rate { tokens: 5, period: Period::Minute },
            burst: None,
            algorithm: RateAlgorithm::TokenBucket,
            by: LimitBy::Consumer,
            mode: LimitMode::Shared,
            on_store_failure,
            headers: None,
            dry_run,
            before_auth: false,
        };
        LimitPolicy::new("r", &plan, &ConsumerRates::default())
    }

    fn without_token() -> Verdict {
        Verdict { allowed: false, remaining: 0, reset_ms: 60_000, retry_after_ms: 12_000 }
    }

    #[test]
    fn a_verdict_is_followed_unless_the_limit_is_a_dry_run() {
        let apply = |dry_run, verdict| {
            let limit = limit(dry_run, OnStoreFailure::Deny);
            let rule = Rule::of(&limit.plan, limit.plan.rate);
            let (result, followed) = limit.apply(rule, verdict, &mut LimitReport::default());
            (result, followed.map_err(|error| error.reason))
        };
        let with_token = Verdict { allowed: true, remaining: 4, reset_ms: 12_000, retry_after_ms: 0 };
        assert_eq!(apply(false, with_token), (LimitResult::Allowed, Ok(())));
        assert_eq!(apply(true, with_token), (LimitResult::Allowed, Ok(())));
        assert_eq!(apply(false, without_token()), (LimitResult::Limited, Err(Reason::RateLimited)));
        assert_eq!(apply(true, without_token()), (LimitResult::DryRun, Ok(())));
    }

    #[test]
    fn without_the_store_on_store_failure_decides() {
        let apply = |dry_run, on_store_failure| {
            let limit = limit(dry_run, on_store_failure);
            let rule = Rule::of(&limit.plan, limit.plan.rate);
            let report = &mut LimitReport::default();
            let (result, followed) = limit.apply_without_store(rule, without_token, report);
            assert_eq!(result, LimitResult::StoreFailed);
            followed.map_err(|error| error.reason)
        };
        assert_eq!(apply(false, OnStoreFailure::Local), Err(Reason::RateLimited));
        assert_eq!(apply(false, OnStoreFailure::Allow), Ok(()));
        assert_eq!(apply(false, OnStoreFailure::Deny), Err(Reason::StoreUnavailable));
        for on_store_failure in [OnStoreFailure::Local, OnStoreFailure::Allow, OnStoreFailure::Deny] {
            assert_eq!(apply(true, on_store_failure), Ok(()));
        }
    }
}
