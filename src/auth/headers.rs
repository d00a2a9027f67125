//! The caller's identity for the upstream: claims and the consumer as request headers.
//!
//! A value that a field cannot hold unchanged is left out: an upstream never gets a part of a claim.

use std::borrow::Cow;

use serde_json::Value;

use super::jwt::Claims;
use crate::plan::{Consumer, Jwt};

/// The header that carries the consumer's name.
pub const CONSUMER_NAME: &str = "x-consumer-name";
/// The header that carries the consumer's groups, separated by commas.
pub const CONSUMER_GROUPS: &str = "x-consumer-groups";

/// Header names (lower case) and values of the claims that the provider's `headers` lists and the token has.
pub fn of_claims<'a>(plan: &'a Jwt, claims: &'a Claims) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
    let value = |claim: &str| claims.map.get(claim).and_then(value_of);
    plan.headers.iter().filter_map(move |(claim, header)| Some((&**header, value(claim)?)))
}

/// Header names (lower case) and values of the consumer. Without groups there is no header for them.
pub fn of_consumer(consumer: &Consumer) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
    let name = field_value(Cow::Borrowed(&*consumer.name)).map(|name| (CONSUMER_NAME, name));
    let groups = joined(consumer.groups.iter().map(|group| &**group)).map(|groups| (CONSUMER_GROUPS, groups));
    name.into_iter().chain(groups)
}

/// Strings unchanged; numbers and booleans as in JSON; arrays of strings joined by commas; other arrays and objects as
/// JSON. `None`: null, empty, or not a field value.
fn value_of(claim: &Value) -> Option<Cow<'_, str>> {
    match claim {
        Value::Null => None,
        Value::String(text) => field_value(Cow::Borrowed(text)),
        Value::Array(list) if list.iter().all(Value::is_string) => {
            joined(list.iter().filter_map(Value::as_str))
        }
        other => field_value(Cow::Owned(other.to_string())),
    }
}

/// The texts joined by commas. `None` also where one holds a comma: `["a,b"]` must not read as `["a","b"]`.
fn joined<'a>(mut texts: impl Iterator<Item = &'a str> + Clone) -> Option<Cow<'a, str>> {
    let whole = texts.clone().collect::<Vec<_>>().join(",");
    let each_fits = texts.all(|text| !text.contains(',') && field_value(Cow::Borrowed(text)).is_some());
    each_fits.then_some(Cow::Owned(whole)).and_then(field_value)
}

/// The text, if it is a field value that recipients get unchanged (RFC 9110, 5.5): not empty, without control characters
/// and without whitespace at its ends.
fn field_value(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let is_allowed = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
    let is_space = |byte: Option<&u8>| byte.is_none_or(|byte| matches!(byte, b' ' | b'\t'));
    let bytes = text.as_bytes();
    let fits =
        bytes.iter().all(|byte| is_allowed(*byte)) && !is_space(bytes.first()) && !is_space(bytes.last());
    fits.then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::providers::jwt_plan;
    use super::*;

    #[test]
    fn a_claim_becomes_a_value_of_the_same_meaning_or_none() {
        for (claim, value) in [
            (json!("alice"), Some("alice")),
            (json!("zoë 你"), Some("zoë 你")),
            (json!("a\tb"), Some("a\tb")),
            (json!("a,b"), Some("a,b")),
            (json!(42), Some("42")),
            (json!(-1.5), Some("-1.5")),
            (json!(true), Some("true")),
            (json!(["a", "b"]), Some("a,b")),
            (json!(["a"]), Some("a")),
            (json!(["a", 1]), Some(r#"["a",1]"#)),
            (json!({"k": "a\r\nb"}), Some(r#"{"k":"a\r\nb"}"#)),
            (json!(null), None),
            (json!(""), None),
            (json!([]), None),
            (json!(["a,b"]), None),
            (json!(["a", ""]), None),
            (json!(["a", " b"]), None),
            (json!(["a\nb"]), None),
            (json!("a\r\nx-admin: 1"), None),
            (json!("a\n"), None),
            (json!("a\0b"), None),
            (json!("a\u{7f}b"), None),
            (json!("\u{1b}[2J"), None),
            (json!(" a"), None),
            (json!("a "), None),
            (json!("\ta"), None),
        ] {
            assert_eq!(value_of(&claim).as_deref(), value, "{claim}");
        }
    }

    #[test]
    fn listed_claims_that_the_token_has_become_headers() {
        let mut plan = jwt_plan(&[]);
        let pairs = [("sub", "x-user-id"), ("evil", "x-evil"), ("missing", "x-missing")];
        plan.headers = pairs.map(|(claim, header)| (claim.into(), header.into())).to_vec();
        let map = json!({"sub": "alice", "evil": "a\r\nb", "other": 1});
        let claims = Claims { map: map.as_object().unwrap().clone(), exp_s: 0, bytes: 0 };
        assert_eq!(of_claims(&plan, &claims).collect::<Vec<_>>(), [("x-user-id", "alice".into())]);
    }

    #[test]
    fn a_consumer_becomes_headers_for_name_and_groups() {
        let mut consumer = Consumer {
            name: "alice".into(),
            groups: vec!["gold".into(), "beta".into()],
            permissions: vec![],
            api_keys: vec![],
            limits: vec![],
        };
        let told: Vec<_> = of_consumer(&consumer).collect();
        assert_eq!(told, [(CONSUMER_NAME, "alice".into()), (CONSUMER_GROUPS, "gold,beta".into())]);
        consumer.groups.clear();
        assert_eq!(of_consumer(&consumer).count(), 1);
    }
}
