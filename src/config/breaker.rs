//! `[upstream.NAME.breaker]`: when an endpoint that fails gets no more requests.

use std::time::Duration;

use super::problems::Problems;
use super::section::Section;
use crate::plan::{AllOpen, BreakerPlan, CountedFailures};

const MAX_FAILURES: i64 = 1_000_000;
const MAX_TRIALS: i64 = 1000;
/// What a breaker takes for the endpoint's failure where `failure_status` is not given.
const FAILURE_STATUS: [u16; 4] = [500, 502, 503, 504];
/// How far `open_for` is doubled.
const MAX_OPEN_FOR: Duration = Duration::from_secs(300);

/// The breaker of an upstream's table. `false` switches it off; without the key, only connects count.
pub(super) fn breaker(upstream: &Section<'_>, problems: &mut Problems) -> Option<BreakerPlan> {
    if upstream.flag("breaker") == Some(false) {
        return None;
    }
    if !upstream.has("breaker") {
        return Some(BreakerPlan::CONNECTS_ONLY);
    }
    let table = upstream.section("breaker");
    let open_for = table.duration("open_for", problems).unwrap_or(Duration::from_secs(30));
    Some(BreakerPlan {
        failures: table.integer("failures", 1..=MAX_FAILURES, problems).unwrap_or(5) as u32,
        counts: CountedFailures::All,
        failure_status: failure_status(&table, problems),
        open_for,
        max_open_for: open_for.max(MAX_OPEN_FOR),
        half_open: table.integer("half_open", 1..=MAX_TRIALS, problems).unwrap_or(1) as u32,
        max_ejected: table.fraction("max_ejected", problems).unwrap_or(0.5),
        all_open: AllOpen::Refuse,
    })
}

fn failure_status(table: &Section<'_>, problems: &mut Problems) -> Vec<u16> {
    let Some(numbers) = table.integers("failure_status", 100..=599, problems) else {
        return FAILURE_STATUS.to_vec();
    };
    let mut statuses: Vec<u16> = numbers.into_iter().map(|status| status as u16).collect();
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}
