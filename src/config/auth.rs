//! `auth` and `require` of a route: which credentials it accepts, and what it requires of the caller.
//!
//! Whether both fit together is checked when route and defaults are put together: each alone can be right.

use std::sync::Arc;

use super::problems::{Problems, ValueError, quoted};
use super::schema::not_supported_yet;
use super::section::Section;
use crate::base::suggest::closest;
use crate::plan::{AuthMethod, LimitBy, RateLimit, Require};

/// `auth = ["jwt:NAME", "key"]`; `jwts` are the names of all providers.
pub(super) fn methods(section: &Section<'_>, jwts: &[&str], problems: &mut Problems) -> Vec<AuthMethod> {
    let mut methods = Vec::new();
    for (text, span) in section.texts("auth") {
        match method(text, jwts) {
            Ok(method) if methods.contains(&method) => {
                let message = format!("{} is there twice", quoted(text));
                problems.error(span, message).with_hint("leave one of them out");
            }
            Ok(method) => methods.push(method),
            Err(error) => {
                problems.value_error(span, error);
                // With an error the plan is never run. A token's place is kept, so that a claim that is required is
                // not reported as well.
                methods.push(AuthMethod::Jwt(usize::MAX));
            }
        }
    }
    methods
}

/// # Errors
/// An unknown word or provider, with the nearest as a hint.
fn method(text: &str, jwts: &[&str]) -> Result<AuthMethod, ValueError> {
    if text == "key" {
        return Ok(AuthMethod::Key);
    }
    if matches!(text, "basic" | "mtls" | "sigv4" | "anonymous") || text.starts_with("ext:") {
        return Err(not_supported_yet(&format!("{} in `auth`", quoted(text))));
    }
    let named = text.strip_prefix("jwt:");
    if let Some(index) = named.and_then(|name| jwts.iter().position(|known| *known == name)) {
        return Ok(AuthMethod::Jwt(index));
    }
    let known: Vec<String> =
        jwts.iter().map(|name| format!("jwt:{name}")).chain(["key".to_owned()]).collect();
    let hint = match (closest(text, known.iter().map(String::as_str)), named) {
        (Some(near), _) => format!("did you mean \"{near}\"?"),
        (None, Some(name)) => format!("add a section `[jwt.{name}]`"),
        (None, None) => "write \"key\", or \"jwt:NAME\" for a `[jwt.NAME]`".to_owned(),
    };
    Err(ValueError::new(format!("`auth` cannot be {}", quoted(text)), hint))
}

/// `require`, present or switched off.
pub(super) fn require(table: &Section<'_>, problems: &mut Problems) -> Require {
    let mut words = |key| {
        let mut words: Vec<Arc<str>> = Vec::new();
        for (text, span) in table.texts(key) {
            if text.is_empty() || text.contains(char::is_whitespace) {
                problems
                    .error(span, format!("`{key}`: {} is not one word", quoted(text)))
                    .with_hint("write each as a string of its own");
            }
            words.push(text.into());
        }
        words
    };
    Require {
        groups: words("groups"),
        permissions: words("permissions"),
        scopes: words("scopes"),
        claims: table.text_pairs("claims"),
    }
}

/// What a route requires, its own or by default. It is an error where no credential says who is calling; but
/// `auth = []` on a route switches a default `require` off together with the default `auth`.
pub(super) fn required(
    route: &Section<'_>,
    auth: &[AuthMethod],
    require: Require,
    problems: &mut Problems,
) -> Require {
    let own = route.has("require");
    if auth.is_empty() && route.has("auth") && !own {
        return Require::default();
    }
    let place = |key| {
        let table = route.section("require");
        if own { table.span_of(key) } else { route.span.clone() }
    };
    let of = if own { "`require`" } else { "the `require` of `[defaults]`" };
    if auth.is_empty() && require != Require::default() {
        problems
            .error(
                if own { route.span_of("require") } else { route.span.clone() },
                format!("{of} without `auth`"),
            )
            .with_hint("say who is asked: auth = [\"key\"], or \"jwt:NAME\"; or leave `require` out");
    } else if !auth.is_empty() && !has_token(auth) {
        for (key, some) in [("scopes", !require.scopes.is_empty()), ("claims", !require.claims.is_empty())] {
            if some {
                problems
                    .error(place(key), format!("{of}: `{key}` are a token's, and `auth` takes none"))
                    .with_hint("an API key brings `groups` and `permissions`, those of its consumer");
            }
        }
    }
    require
}

/// A limit of the route's own that counts by a claim is an error where there are no tokens.
pub(super) fn check_limits(
    route: &Section<'_>,
    auth: &[AuthMethod],
    limits: &[RateLimit],
    problems: &mut Problems,
) {
    if !route.has("rate_limit") || has_token(auth) {
        return;
    }
    for (table, _) in route
        .sections("rate_limit")
        .iter()
        .zip(limits)
        .filter(|(_, limit)| matches!(limit.by, LimitBy::Claim(_)))
    {
        problems
            .error(table.span_of("by"), "a rate limit by a claim, but `auth` takes no token")
            .with_hint("add \"jwt:NAME\" to the route's `auth`, or count by \"consumer\" or \"ip\"");
    }
}

/// Claims and scopes are a token's alone.
fn has_token(auth: &[AuthMethod]) -> bool {
    auth.iter().any(|method| matches!(method, AuthMethod::Jwt(_)))
}
