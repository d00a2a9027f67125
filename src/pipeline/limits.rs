//! Rate limits as a step of a request's way: the key it is counted by, the rule that holds for it, and what a verdict
//! means for it. Where buckets are kept is the caller's matter: a shard's leases and store, or a test's own buckets.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use crate::base::error::{Error, Reason};
use crate::exchange::Transaction;
use crate::limit::{Key, LimitReport, MAX_KEY_BYTES, Rule, Verdict};
use crate::metrics::LimitResult;
use crate::plan::{Consumer, LimitBy, OnStoreFailure, Rate, RateLimit};

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
    /// What consumers have instead of the limit's rate; `None`: no consumer has another.
    rates: Option<Rc<RatesOfLimit>>,
}

impl LimitPolicy {
    pub fn new(plan: &RateLimit, rates: &ConsumerRates) -> LimitPolicy {
        LimitPolicy { plan: plan.clone(), name: (&*plan.name).into(), rates: rates.of_limit(&plan.name) }
    }

    pub fn phase(&self) -> LimitPhase {
        if self.plan.before_auth { LimitPhase::BeforeAuth } else { LimitPhase::AfterAuth }
    }

    /// The key that a request is counted by.
    pub fn key(&self, transaction: &Transaction) -> Key {
        key(&self.plan.by, transaction)
    }

    /// The rate that holds for a request: its consumer's own, or the limit's.
    pub fn rate(&self, transaction: &Transaction) -> Rate {
        let rates = self.rates.as_ref().zip(transaction.consumer.as_deref());
        rates.and_then(|(rates, consumer)| rates.of_consumer(&consumer.name)).unwrap_or(self.plan.rate)
    }

    /// The rates of consumers, each once.
    pub fn consumer_rates(&self) -> HashSet<Rate> {
        self.rates.as_ref().map(|rates| rates.rates()).unwrap_or_default()
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

/// The name of a limit's buckets in the store. The route's length comes first, so that no two pairs of route and limit
/// make the same name, whatever they contain.
pub fn name_in_store(route: &str, limit: &str) -> Arc<str> {
    format!("{}:{route}:{limit}", route.len()).into()
}

/// The key that a request is counted by: the value that `by` names or, where the request has none, the client's
/// address. Each kind has its own tag, so no consumer shares a bucket with an address or a header of the same bytes.
fn key(by: &LimitBy, transaction: &Transaction) -> Key {
    let named = match by {
        LimitBy::Consumer => {
            transaction.consumer.as_deref().map(|consumer| tagged(b'c', consumer.name.as_bytes()))
        }
        LimitBy::Ip => None,
        LimitBy::Route => Some(Key::new(b"r")),
        LimitBy::Header(name) => {
            let value = transaction.request.fields.find(name.as_bytes());
            value.filter(|value| !value.is_empty()).map(|value| tagged(b'h', value))
        }
        LimitBy::Claim(name) => {
            transaction.claims.as_deref().and_then(|claims| claims.map.get(&**name)).and_then(key_of_claim)
        }
    };
    named.unwrap_or_else(|| key_of_address(transaction.meta.client.ip))
}

/// A list, an object, null or an empty string identifies nobody: `None`.
fn key_of_claim(claim: &Value) -> Option<Key> {
    match claim {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(tagged(b'j', text.as_bytes())),
        Value::Number(number) => Some(tagged(b'j', number.to_string().as_bytes())),
        Value::Bool(true) => Some(tagged(b'j', b"true")),
        Value::Bool(false) => Some(tagged(b'j', b"false")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An IPv4 address; of IPv6 the first 64 bits, since a client is usually assigned all addresses that share them.
fn key_of_address(address: IpAddr) -> Key {
    match address.to_canonical() {
        IpAddr::V4(address) => tagged(b'4', &address.octets()),
        IpAddr::V6(address) => tagged(b'6', &address.octets()[..8]),
    }
}

/// The key of a value of this kind. Allocates only where the value is so long that the key becomes a digest.
fn tagged(tag: u8, value: &[u8]) -> Key {
    let mut raw = [tag; MAX_KEY_BYTES];
    match raw[1..].get_mut(..value.len()) {
        Some(room) => {
            room.copy_from_slice(value);
            Key::new(&raw[..=value.len()])
        }
        None => Key::new(&[&[tag], value].concat()),
    }
}

/// The rates that consumers have instead of those of limits, by the limits' names.
#[derive(Debug, Default)]
pub struct ConsumerRates(HashMap<Arc<str>, Rc<RatesOfLimit>>);

/// The rates that consumers have instead of one limit's, by the consumers' names.
#[derive(Debug, Default)]
struct RatesOfLimit(HashMap<Arc<str>, Rate>);

impl ConsumerRates {
    pub fn of(consumers: &[Arc<Consumer>]) -> ConsumerRates {
        let mut rates = HashMap::<Arc<str>, RatesOfLimit>::new();
        for consumer in consumers {
            for (limit, rate) in &consumer.limits {
                rates.entry(limit.clone()).or_default().0.insert(consumer.name.clone(), *rate);
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
    fn of_consumer(&self, consumer: &str) -> Option<Rate> {
        self.0.get(consumer).copied()
    }

    fn rates(&self) -> HashSet<Rate> {
        self.0.values().copied().collect()
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
    fn limits_of_two_routes_have_two_names() {
        assert_ne!(name_in_store("a", "b:c"), name_in_store("a:b", "c"));
        assert_ne!(name_in_store("a", "x"), name_in_store("b", "x"));
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
        LimitPolicy::new(&plan, &ConsumerRates::default())
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
