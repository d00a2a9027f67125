//! `[[route.rate_limit]]`: how much a client may ask.

use std::collections::HashMap;

use super::problems::{Fault, Problems, Span, quoted};
use super::section::Section;
use super::{edits, units};
use crate::plan::{Dialect, LimitBy, LimitMode, OnStoreFailure, Rate, RateAlgorithm, RateLimit};

const SECTION: &str = "route.rate_limit";

/// All limits of a table, its own. One without a name has the empty one until [`named`].
pub(super) fn rate_limits(section: &Section<'_>, problems: &mut Problems) -> Vec<RateLimit> {
    let mut names: HashMap<&str, Span> = HashMap::new();
    let mut limits = Vec::new();
    for table in section.sections("rate_limit") {
        if let Some((name, span)) = table.text("name") {
            if name.is_empty() || name.chars().any(char::is_control) {
                problems
                    .error(span.clone(), format!("{} is not a name for a rate limit", quoted(name)))
                    .with_hint("give it one that can be shown on one line, or none");
            }
            if let Some(first) = names.insert(name, span.clone()) {
                problems
                    .error(span, format!("rate limit {} is given twice", quoted(name)))
                    .with_related(first, "first here")
                    .with_hint("rename one of the two");
            }
        }
        limits.push(rate_limit(&table, problems));
    }
    limits
}

/// The limits of a route, where those without a name get one: the route's and a number.
pub(super) fn named(mut limits: Vec<RateLimit>, route: &str) -> Vec<RateLimit> {
    for at in 0..limits.len() {
        if limits[at].name.is_empty() {
            let free = (at + 1..).map(|number| format!("{route}-{number}"));
            let free = free.into_iter().find(|name| limits.iter().all(|limit| *limit.name != **name));
            limits[at].name = free.expect("there are more numbers than limits").into();
        }
    }
    limits
}

fn rate_limit(table: &Section<'_>, problems: &mut Problems) -> RateLimit {
    let algorithms =
        [("token_bucket", RateAlgorithm::TokenBucket), ("fixed_window", RateAlgorithm::FixedWindow)];
    let modes = [("shared", LimitMode::Shared), ("strict", LimitMode::Strict), ("local", LimitMode::Local)];
    let failures =
        [("local", OnStoreFailure::Local), ("allow", OnStoreFailure::Allow), ("deny", OnStoreFailure::Deny)];
    let headers = [
        ("x-ratelimit", Some(Dialect::XRateLimit)),
        ("ietf", Some(Dialect::Ietf)),
        ("kong", Some(Dialect::Kong)),
        ("off", None),
    ];
    let by =
        table.text("by").and_then(|(text, span)| by(text).map_err(|fault| problems.fault(span, fault)).ok());
    let limit = RateLimit {
        name: table.text("name").map_or("", |(name, _)| name).into(),
        rate: rate(table, problems),
        // The range has only positive numbers.
        burst: table.integer("burst", 1..=Rate::MAX_TOKENS as i64, problems).map(|burst| burst as u64),
        algorithm: table.choice("algorithm", &algorithms, problems).unwrap_or(RateAlgorithm::TokenBucket),
        by: by.unwrap_or(LimitBy::Consumer),
        mode: table.choice("mode", &modes, problems).unwrap_or(LimitMode::Shared),
        on_store_failure: table
            .choice("on_store_failure", &failures, problems)
            .unwrap_or(OnStoreFailure::Local),
        headers: table.choice("headers", &headers, problems).unwrap_or(Some(Dialect::XRateLimit)),
        dry_run: table.flag("dry_run").unwrap_or(false),
        before_auth: table.flag("before_auth").unwrap_or(false),
    };
    report_contradictions(table, &limit, problems);
    limit
}

fn rate(table: &Section<'_>, problems: &mut Problems) -> Rate {
    if !table.has("rate") && !table.misspells(SECTION, "rate") {
        problems
            .error(table.span.clone(), "a rate limit without `rate`")
            .with_hint("write rate = \"100/min\"");
    }
    let rate =
        table.text("rate").map(|(text, span)| units::rate(text).map_err(|fault| problems.fault(span, fault)));
    // Without a rate the plan is never run.
    rate.and_then(Result::ok).unwrap_or(Rate { tokens: 1, period: crate::plan::Period::Second })
}

fn by(text: &str) -> Result<LimitBy, Fault> {
    let example = "write \"consumer\", \"ip\", \"route\", \"header:NAME\" or \"jwt:CLAIM\"";
    match text.split_once(':') {
        None if text == "consumer" => Ok(LimitBy::Consumer),
        None if text == "ip" => Ok(LimitBy::Ip),
        None if text == "route" => Ok(LimitBy::Route),
        Some(("header", name)) if edits::is_token(name) => {
            Ok(LimitBy::Header(name.to_ascii_lowercase().into()))
        }
        Some(("jwt", claim)) if !claim.is_empty() => Ok(LimitBy::Claim(claim.into())),
        _ => Err(Fault::new(format!("`by` cannot be {}", quoted(text)), example)),
    }
}

fn report_contradictions(table: &Section<'_>, limit: &RateLimit, problems: &mut Problems) {
    if limit.burst.is_some() && limit.algorithm == RateAlgorithm::FixedWindow {
        problems
            .error(table.span_of("burst"), "a fixed window has no `burst`")
            .with_hint("leave it out, or take algorithm = \"token_bucket\"");
    }
    if limit.before_auth && matches!(limit.by, LimitBy::Consumer | LimitBy::Claim(_)) {
        problems
            .error(table.span_of("before_auth"), "`before_auth` counts before it is known who is calling")
            .with_hint("add by = \"ip\", \"header:NAME\" or \"route\"");
    }
    if table.has("on_store_failure") && limit.mode == LimitMode::Local {
        problems
            .warning(
                table.span_of("on_store_failure"),
                "`on_store_failure` does nothing with `mode = \"local\"`",
            )
            .with_hint("leave it out: a local limit needs no store");
    }
}
