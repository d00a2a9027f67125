//! Authorisation: what a route requires of an authenticated caller (`require`).

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::jwt::Claims;
use crate::plan::{Consumer, Require};

/// The first requirement that a caller does not meet. Displayed in the log and the response's `detail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    Group(Arc<str>),
    Permission(Arc<str>),
    Scope(Arc<str>),
    /// The claim is missing or has another value.
    Claim(Arc<str>),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Group(name) => write!(f, "the caller is not in group `{name}`"),
            Missing::Permission(name) => write!(f, "the caller lacks permission `{name}`"),
            Missing::Scope(name) => write!(f, "the token lacks scope `{name}`"),
            Missing::Claim(name) => write!(f, "the token's claim `{name}` is not as required"),
        }
    }
}

impl Missing {
    /// The value of `WWW-Authenticate` in the 403 where a token of wider scope would be accepted (RFC 6750, 3.1).
    pub fn challenge(&self) -> Option<&'static str> {
        matches!(self, Missing::Scope(_)).then_some(r#"Bearer realm="ringway", error="insufficient_scope""#)
    }
}

/// Checks that the caller has every group, permission, scope and claim listed. Groups and permissions are the consumer's;
/// scopes and claims are the token's.
///
/// # Errors
/// The first one missing.
pub fn check(require: &Require, consumer: Option<&Consumer>, claims: Option<&Claims>) -> Result<(), Missing> {
    let groups = consumer.map(|consumer| &consumer.groups[..]).unwrap_or_default();
    let permissions = consumer.map(|consumer| &consumer.permissions[..]).unwrap_or_default();
    let claim = |name: &str| claims.and_then(|claims| claims.map.get(name));
    let has_scope =
        |scope: &str| ["scope", "scp"].into_iter().filter_map(claim).any(|list| has_word(list, scope));

    all(&require.groups, |name| groups.contains(name), Missing::Group)?;
    all(&require.permissions, |name| permissions.contains(name), Missing::Permission)?;
    all(&require.scopes, |name| has_scope(name), Missing::Scope)?;
    let holds =
        |(name, wanted): &&(Arc<str>, Arc<str>)| claim(name).is_some_and(|value| is_or_holds(value, wanted));
    match require.claims.iter().find(|claim| !holds(claim)) {
        Some((name, _)) => Err(Missing::Claim(name.clone())),
        None => Ok(()),
    }
}

fn all(
    names: &[Arc<str>],
    has: impl Fn(&Arc<str>) -> bool,
    missing: fn(Arc<str>) -> Missing,
) -> Result<(), Missing> {
    names.iter().find(|name| !has(name)).map_or(Ok(()), |name| Err(missing(name.clone())))
}

/// Whether a list of scopes, separated by spaces (RFC 8693, 4.2) or, with some issuers, an array of strings, has the scope.
fn has_word(list: &Value, scope: &str) -> bool {
    match list {
        Value::String(list) => list.split(' ').any(|one| one == scope),
        Value::Array(list) => list.iter().any(|one| one == scope),
        _ => false,
    }
}

/// Whether the value, or an element of an array, is a string of that text, or a number or boolean of that JSON text.
fn is_or_holds(value: &Value, wanted: &str) -> bool {
    let is = |value: &Value| match value {
        Value::String(text) => text == wanted,
        Value::Number(number) => number.to_string() == wanted,
        Value::Bool(flag) => flag.to_string() == wanted,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    match value {
        Value::Array(list) => list.iter().any(is),
        one => is(one),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(map: Value) -> Claims {
        Claims { map: map.as_object().unwrap().clone(), exp_s: 0, bytes: 0 }
    }

    fn list(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn every_listed_group_and_permission_must_be_the_consumers() {
        let consumer = Consumer {
            name: "alice".into(),
            groups: list(&["gold", "beta"]),
            permissions: list(&["read"]),
            api_keys: vec![],
            limits: vec![],
        };
        let check = |groups: &[&str], permissions: &[&str], consumer| {
            let require =
                Require { groups: list(groups), permissions: list(permissions), ..Require::default() };
            check(&require, consumer, None)
        };
        assert_eq!(check(&["gold", "beta"], &["read"], Some(&consumer)), Ok(()));
        assert_eq!(check(&["gold", "staff"], &[], Some(&consumer)), Err(Missing::Group("staff".into())));
        assert_eq!(check(&[], &["read", "write"], Some(&consumer)), Err(Missing::Permission("write".into())));
        assert_eq!(check(&["Gold"], &[], Some(&consumer)), Err(Missing::Group("Gold".into())));
        assert_eq!(check(&["gold"], &[], None), Err(Missing::Group("gold".into())));
        assert_eq!(check(&[], &[], None), Ok(()));
    }

    #[test]
    fn scopes_are_words_or_elements_of_scope_or_scp() {
        let require = Require { scopes: list(&["users.read"]), ..Require::default() };
        for (map, holds) in [
            (json!({"scope": "openid users.read"}), true),
            (json!({"scp": "users.read"}), true),
            (json!({"scp": ["a", "users.read"]}), true),
            (json!({"scope": "a", "scp": ["users.read"]}), true),
            (json!({"scope": "users.read.all xusers.read"}), false),
            (json!({"scope": "users.read,a"}), false),
            (json!({"scope": ["openid users.read"]}), false),
            (json!({"scope": {"users.read": true}}), false),
            (json!({"scope": null}), false),
            (json!({}), false),
        ] {
            assert_eq!(check(&require, None, Some(&claims(map.clone()))).is_ok(), holds, "{map}");
        }
        let missing = check(&require, None, None).unwrap_err();
        assert_eq!(missing.to_string(), "the token lacks scope `users.read`");
        assert!(missing.challenge().unwrap().contains("insufficient_scope"));
    }

    #[test]
    fn claims_hold_by_their_text_or_that_of_an_element() {
        for (value, wanted, holds) in [
            (json!("acme"), "acme", true),
            (json!("Acme"), "acme", false),
            (json!("5"), "5", true),
            (json!(5), "5", true),
            (json!(5.5), "5.5", true),
            (json!(true), "true", true),
            (json!(false), "true", false),
            (json!(null), "null", false),
            (json!(["a", "acme"]), "acme", true),
            (json!([1, 2]), "2", true),
            (json!([["acme"]]), "acme", false),
            (json!({"acme": 1}), "acme", false),
            (json!([]), "", false),
        ] {
            let require = Require { claims: vec![("tenant".into(), wanted.into())], ..Require::default() };
            let result = check(&require, None, Some(&claims(json!({ "tenant": value.clone() }))));
            assert_eq!(result.is_ok(), holds, "{value} {wanted}");
            assert_eq!(check(&require, None, None), Err(Missing::Claim("tenant".into())));
        }
    }
}
