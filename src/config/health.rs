//! `[upstream.NAME.health]`: how endpoints are checked.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::problems::{Problems, ValueError, quoted};
use super::section::Section;
use crate::plan::{HealthPlan, NoneHealthy};

const MAX_RESULTS: i64 = 1000;
/// The shortest `interval`: more often would be load of its own.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// The health checks of an upstream, if it has any.
pub(super) fn health(upstream: &Section<'_>, problems: &mut Problems) -> Option<HealthPlan> {
    if !upstream.has("health") {
        return None;
    }
    let table = upstream.section("health");
    if table.is_present() && table.lacks("upstream.NAME.health", "path") {
        problems
            .error(upstream.span_of("health"), "`health` without `path`")
            .with_hint("name what the targets answer while they are well: path = \"/healthz\"");
    }
    let path = table.parsed("path", problems, path).unwrap_or("/");
    let seconds = Duration::from_secs;
    let interval = table.duration("interval", problems).unwrap_or(seconds(5));
    if interval < MIN_INTERVAL {
        problems.error(table.span_of("interval"), "`interval` is too short").with_hint("at least \"100ms\"");
    }
    let results = |key: &str, default: u32, problems: &mut Problems| {
        table.integer(key, 1..=MAX_RESULTS, problems).map_or(default, |count| count as u32)
    };
    Some(HealthPlan {
        path: path.into(),
        interval,
        timeout: table.duration("timeout", problems).unwrap_or(seconds(1)),
        healthy: results("healthy", 2, problems),
        unhealthy: results("unhealthy", 3, problems),
        status: table.parsed("status", problems, statuses).unwrap_or_else(|| vec![200..=399]),
        none_healthy: table.keyword("panic", problems).unwrap_or(NoneHealthy::TryAll),
    })
}

/// # Errors
/// What cannot stand in a request line as it is.
fn path(text: &str) -> Result<&str, ValueError> {
    let is_sendable =
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if is_sendable {
        return Ok(text);
    }
    let hint = "write \"/healthz\"; other than visible ASCII is written with %";
    Err(ValueError::new(format!("{} is not a path that can be requested", quoted(text)), hint))
}

/// `"200-399"`, `"200"`, `"200,204,300-399"`.
///
/// # Errors
/// What is not a status or a range of them.
fn statuses(text: &str) -> Result<Vec<RangeInclusive<u16>>, ValueError> {
    let one = |part: &str| part.trim().parse().ok().filter(|status| (100..=599).contains(status));
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (one(from)?, one(to)?);
        (from <= to).then_some(from..=to)
    };
    text.split(',').map(range).collect::<Option<_>>().ok_or_else(|| {
        ValueError::new(format!("`status` cannot be {}", quoted(text)), "write \"200-399\" or \"200,204\"")
    })
}
