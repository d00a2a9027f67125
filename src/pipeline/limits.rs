//! Rate limits as far as they are about a request: what it is counted by, the rule it falls under, how it is refused.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use crate::base::error::{Error, Reason};
use crate::exchange::Transaction;
use crate::limit::{Key, MAX_KEY_BYTES, Verdict};
use crate::plan::{Consumer, LimitBy, Rate};

/// What the store knows a limit by. Those of two routes count apart, whatever their names are made of.
pub fn name_in_store(route: &str, limit: &str) -> Arc<str> {
    format!("{}:{route}:{limit}", route.len()).into()
}

/// What a request is counted by: what `by` names or, where it has no such thing, the client's address. Keys of
/// different kinds never meet.
pub fn key(by: &LimitBy, transaction: &Transaction) -> Key {
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
            transaction.claims.as_deref().and_then(|claims| claims.map.get(&**name)).and_then(of_claim)
        }
    };
    named.unwrap_or_else(|| of_address(transaction.client_ip))
}

/// A claim that is a list, an object or null says of nobody who it is.
fn of_claim(claim: &Value) -> Option<Key> {
    match claim {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(tagged(b'j', text.as_bytes())),
        Value::Number(number) => Some(tagged(b'j', number.to_string().as_bytes())),
        Value::Bool(true) => Some(tagged(b'j', b"true")),
        Value::Bool(false) => Some(tagged(b'j', b"false")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An IPv4 address; of IPv6 the first 64 bits, since whoever has one address has all that share them.
fn of_address(address: IpAddr) -> Key {
    match address.to_canonical() {
        IpAddr::V4(address) => tagged(b'4', &address.octets()),
        IpAddr::V6(address) => tagged(b'6', &address.octets()[..8]),
    }
}

/// No allocation but for a key so long that it becomes a digest.
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

/// The rates that consumers have instead of one limit's.
#[derive(Debug, Default)]
pub struct RatesOfLimit(HashMap<Arc<str>, Rate>);

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
    pub fn of_limit(&self, limit: &str) -> Option<Rc<RatesOfLimit>> {
        self.0.get(limit).cloned()
    }
}

impl RatesOfLimit {
    pub fn of_consumer(&self, consumer: &str) -> Option<Rate> {
        self.0.get(consumer).copied()
    }

    /// Each once.
    pub fn rates(&self) -> HashSet<Rate> {
        self.0.values().copied().collect()
    }
}

/// 429.
pub fn refused(verdict: &Verdict) -> Error {
    let retry_after_s = Some(verdict.retry_after_ms.div_ceil(1_000));
    // What there is to say is in `retryAfter`, and in the fields that tell of limits.
    Error { retry_after_s, ..Error::client(Reason::RateLimited, "") }
}

/// 503: the limit cannot do without the store.
pub fn store_lost() -> Error {
    Error::gateway(Reason::StoreUnavailable, "the store gives no answer, and the rate limit says \"deny\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::jwt::Claims;

    fn from(address: &str) -> Transaction {
        Transaction { client_ip: address.parse().expect("an address"), ..Transaction::default() }
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
    fn what_a_request_does_not_have_is_replaced_by_its_address() {
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
    fn keys_of_different_kinds_never_meet() {
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
    fn a_refusal_says_after_how_many_seconds_to_come_again_rounded_up() {
        let verdict = Verdict { allowed: false, remaining: 0, reset_ms: 60_000, retry_after_ms: 11_001 };
        let error = refused(&verdict);
        assert_eq!((error.reason.status(), error.retry_after_s), (429, Some(12)));
    }
}
