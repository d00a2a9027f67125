//! `[[route.rate_limit]]`: how many requests in which time.
//!
//! A limit's name is its identity in the store: with the same name it goes on counting over reloads, whatever its rate.

use std::collections::HashMap;

use super::problems::{Problems, TextSpan, ValueError, quoted};
use super::section::Section;
use super::units;
use crate::http::hygiene::is_token;
use crate::plan::{Dialect, LimitBy, LimitMode, OnStoreFailure, Period, Rate, RateAlgorithm, RateLimit};

const SECTION: &str = "route.rate_limit";

/// All limits of a route or of `[defaults]`. One without a name has the empty one until [`name_all`].
pub(super) fn rate_limits(section: &Section<'_>, problems: &mut Problems) -> Vec<RateLimit> {
    let mut names: HashMap<&str, TextSpan> = HashMap::new();
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

/// Gives the limits of a route that have no name one: the route's and a number.
pub(super) fn name_all(limits: &mut [RateLimit], route: &str) {
    for at in 0..limits.len() {
        if limits[at].name.is_empty() {
            let mut candidates = (at + 1..).map(|number| format!("{route}-{number}"));
            let free = candidates.find(|name| limits.iter().all(|limit| *limit.name != **name));
            limits[at].name = free.expect("there are more numbers than limits").into();
        }
    }
}

fn rate_limit(table: &Section<'_>, problems: &mut Problems) -> RateLimit {
    let limit = RateLimit {
        name: table.text("name").map_or("", |(name, _)| name).into(),
        rate: rate(table, problems),
        // The range has only positive numbers.
        burst: table.integer("burst", 1..=Rate::MAX_TOKENS as i64, problems).map(|burst| burst as u64),
        algorithm: table.keyword("algorithm", problems).unwrap_or(RateAlgorithm::TokenBucket),
        by: table.parsed("by", problems, by).unwrap_or(LimitBy::Consumer),
        mode: table.keyword("mode", problems).unwrap_or(LimitMode::Shared),
        on_store_failure: table.keyword("on_store_failure", problems).unwrap_or(OnStoreFailure::Local),
        headers: table.keyword("headers", problems).unwrap_or(Some(Dialect::XRateLimit)),
        dry_run: table.flag("dry_run").unwrap_or(false),
        before_auth: table.flag("before_auth").unwrap_or(false),
    };
    report_contradictions(table, &limit, problems);
    limit
}

/// Tokens per period; the period is also the window of a fixed window.
fn rate(table: &Section<'_>, problems: &mut Problems) -> Rate {
    if table.lacks(SECTION, "rate") {
        problems
            .error(table.span.clone(), "a rate limit without `rate`")
            .with_hint("write rate = \"100/min\"");
    }
    // Without a rate the plan is never run.
    table.parsed("rate", problems, units::rate).unwrap_or(Rate { tokens: 1, period: Period::Second })
}

/// # Errors
/// An unknown word, or no name behind the colon.
fn by(text: &str) -> Result<LimitBy, ValueError> {
    let example = "write \"consumer\", \"ip\", \"route\", \"header:NAME\" or \"jwt:CLAIM\"";
    match text.split_once(':') {
        None if text == "consumer" => Ok(LimitBy::Consumer),
        None if text == "ip" => Ok(LimitBy::Ip),
        None if text == "route" => Ok(LimitBy::Route),
        Some(("header", name)) if is_token(name.as_bytes()) => {
            Ok(LimitBy::Header(name.to_ascii_lowercase().into()))
        }
        Some(("jwt", claim)) if !claim.is_empty() => Ok(LimitBy::Claim(claim.into())),
        _ => Err(ValueError::new(format!("`by` cannot be {}", quoted(text)), example)),
    }
}

/// Settings that have no effect together, as errors where a limit would count otherwise than meant.
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
