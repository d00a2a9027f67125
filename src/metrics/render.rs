//! The metrics page: the snapshots of all shards added up, one function for each group of families.

use std::collections::BTreeMap;

use super::counters::{HOOKS, LIMIT_RESULTS, LimitMetrics, RouteMetrics, ScriptMetrics, TargetMetrics};
use super::facts::{KeySetFacts, ProcessFacts, StoreFacts};
use super::names::{self, MetricFamily, MetricKind};
use super::page::TextPage;
use super::snapshot::MetricsSnapshot;
use super::tally::OTHER_STATUS;
use crate::base::error::Reason;

/// The media type of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole page. Counters are sums over the shards; only the shards' own gauges have a `shard` label.
pub fn render(snapshots: &[MetricsSnapshot], process: &ProcessFacts) -> String {
    let mut page = TextPage::new();
    routes(&mut page, snapshots);
    targets(&mut page, snapshots);
    scripts(&mut page, snapshots, process);
    limits(&mut page, snapshots);
    shards(&mut page, snapshots, process);
    store(&mut page, &process.store);
    key_sets(&mut page, &process.key_sets);
    facts(&mut page, snapshots.len(), process);
    page.into_text()
}

/// What clients see: requests, durations and bytes of each route.
fn routes(page: &mut TextPage, snapshots: &[MetricsSnapshot]) {
    let mut routes = BTreeMap::<&str, RouteMetrics>::new();
    for (name, metrics) in snapshots.iter().flat_map(|snapshot| &snapshot.routes) {
        routes.entry(name).or_default().absorb(metrics);
    }
    page.family(&names::REQUESTS);
    for (name, route) in &routes {
        for ((status, reason), n) in
            route.requests.sorted_by(|(status, reason)| (status, reason.map(Reason::as_str)))
        {
            let labels = [
                ("route", *name),
                ("status", &status_label(status)),
                ("reason", reason.map_or("", Reason::as_str)),
            ];
            page.sample(names::REQUESTS.name, "", &labels, n);
        }
    }
    page.family(&names::REQUEST_DURATION);
    for (name, route) in &routes {
        page.histogram(&names::REQUEST_DURATION, &[("route", name)], &route.duration);
    }
    page.family(&names::REQUEST_BYTES);
    for (name, route) in &routes {
        page.sample(names::REQUEST_BYTES.name, "", &[("route", name)], route.bytes_in.get());
    }
    page.family(&names::RESPONSE_BYTES);
    for (name, route) in &routes {
        page.sample(names::RESPONSE_BYTES.name, "", &[("route", name)], route.bytes_out.get());
    }
}

/// What the gateway does at each target of an upstream.
fn targets(page: &mut TextPage, snapshots: &[MetricsSnapshot]) {
    let mut targets = BTreeMap::<(&str, &str), TargetMetrics>::new();
    for ((upstream, target), metrics) in snapshots.iter().flat_map(|snapshot| &snapshot.targets) {
        targets.entry((upstream, target)).or_default().absorb(metrics);
    }
    let targets: Vec<_> = targets
        .into_iter()
        .map(|((upstream, target), metrics)| ([("upstream", upstream), ("target", target)], metrics))
        .collect();

    page.family(&names::UPSTREAM_REQUESTS);
    for ([upstream, target], metrics) in &targets {
        for (status, n) in metrics.statuses.sorted_by(|status| status) {
            let labels = [*upstream, *target, ("status", &status_label(status))];
            page.sample(names::UPSTREAM_REQUESTS.name, "", &labels, n);
        }
    }
    page.family(&names::UPSTREAM_FAILURES);
    for ([upstream, target], metrics) in &targets {
        for (reason, n) in metrics.failures.sorted_by(Reason::as_str) {
            page.sample(
                names::UPSTREAM_FAILURES.name,
                "",
                &[*upstream, *target, ("reason", reason.as_str())],
                n,
            );
        }
    }
    let mut each = |family: &MetricFamily, value: fn(&TargetMetrics) -> u64| {
        page.family(family);
        for (labels, metrics) in &targets {
            page.sample(family.name, "", labels, value(metrics));
        }
    };
    each(&names::UPSTREAM_CONNECTS, |target| target.connects.get());
    each(&names::UPSTREAM_REUSES, |target| target.reuses.get());
    each(&names::UPSTREAM_RETRIES, |target| target.retries.get());
    each(&names::UPSTREAM_ACTIVE, |target| target.active.get().into());
    each(&names::UPSTREAM_EJECTIONS, |target| target.ejections.get());
    each(&names::UPSTREAM_EJECTED, |target| target.passed_over.get().into());
    each(&names::UPSTREAM_IDLE, |target| target.idle.get().into());
    page.family(&names::UPSTREAM_DURATION);
    for (labels, metrics) in &targets {
        page.histogram(&names::UPSTREAM_DURATION, labels, &metrics.duration);
    }
}

/// Errors, operations and durations of script calls; and the scripts' own counters, which the store adds up.
fn scripts(page: &mut TextPage, snapshots: &[MetricsSnapshot], process: &ProcessFacts) {
    let mut scripts = BTreeMap::<&str, ScriptMetrics>::new();
    for (name, metrics) in snapshots.iter().flat_map(|snapshot| &snapshot.scripts) {
        scripts.entry(name).or_default().absorb(metrics);
    }
    page.family(&names::SCRIPT_ERRORS);
    for (script, metrics) in &scripts {
        for (route, n) in metrics.errors.borrow().iter() {
            page.sample(names::SCRIPT_ERRORS.name, "", &[("route", route), ("script", script)], n);
        }
    }
    page.family(&names::SCRIPT_PAUSED);
    for (script, metrics) in &scripts {
        for (route, n) in metrics.paused.borrow().iter() {
            page.sample(names::SCRIPT_PAUSED.name, "", &[("route", route), ("script", script)], n);
        }
    }
    let hooks = || {
        scripts.iter().flat_map(|(script, metrics)| {
            let of_script = |hook: &'static str| [("script", *script), ("hook", hook)];
            HOOKS.into_iter().zip(&metrics.hooks).map(move |(hook, counted)| (of_script(hook), counted))
        })
    };
    // Hooks that were never called are left out.
    let hooks = || hooks().filter(|(_, counted)| counted.operations.count() > 0);
    page.family(&names::SCRIPT_OPERATIONS);
    hooks().for_each(|(labels, hook)| page.histogram(&names::SCRIPT_OPERATIONS, &labels, &hook.operations));
    page.family(&names::SCRIPT_DURATION);
    hooks().for_each(|(labels, hook)| page.histogram(&names::SCRIPT_DURATION, &labels, &hook.duration));
    page.family(&names::SCRIPT_COUNTER);
    for (name, value) in &process.counters {
        page.sample(names::SCRIPT_COUNTER.name, "", &[("name", name)], value);
    }
}

/// Decisions of rate limits, and waits for the store.
fn limits(page: &mut TextPage, snapshots: &[MetricsSnapshot]) {
    let mut limits = BTreeMap::<(&str, &str), LimitMetrics>::new();
    for ((route, limit), metrics) in snapshots.iter().flat_map(|snapshot| &snapshot.limits) {
        limits.entry((route, limit)).or_default().absorb(metrics);
    }
    page.family(&names::LIMIT_REQUESTS);
    for ((route, limit), metrics) in &limits {
        for (result, n) in LIMIT_RESULTS.into_iter().zip(&metrics.results) {
            let labels = [("route", *route), ("limit", *limit), ("result", result)];
            page.sample(names::LIMIT_REQUESTS.name, "", &labels, n.get());
        }
    }
    page.family(&names::LIMIT_WAITS);
    for ((route, limit), metrics) in &limits {
        let labels = [("route", *route), ("limit", *limit)];
        page.sample(names::LIMIT_WAITS.name, "", &labels, metrics.waits.get());
    }
}

/// The shards' own values. Every snapshot has the same families in the same order.
fn shards(page: &mut TextPage, snapshots: &[MetricsSnapshot], process: &ProcessFacts) {
    let mut snapshots: Vec<_> = snapshots.iter().collect();
    snapshots.sort_by_key(|snapshot| snapshot.shard);
    let families = snapshots.first().map_or(&[][..], |snapshot| &snapshot.values);
    for (at, (family, _)) in families.iter().enumerate() {
        let values =
            snapshots.iter().filter_map(|snapshot| Some((snapshot.shard, snapshot.values.get(at)?.1)));
        page.family(family);
        if family.kind == MetricKind::Gauge {
            for (shard, value) in values {
                page.sample(family.name, "", &[("shard", &shard.to_string())], value);
            }
        } else {
            // Lines that were lost after the shards handed them over belong to the same sum.
            let lost =
                if family.name == names::ACCESS_LOG_DROPPED.name { process.access_log_lost } else { 0 };
            page.sample(family.name, "", &[], values.fold(lost, |sum, (_, value)| sum.wrapping_add(value)));
        }
    }
}

/// The store, whose latency histogram arrives cumulative.
fn store(page: &mut TextPage, store: &StoreFacts) {
    page.single(&names::STORE_UP, Some(u8::from(store.up)));
    page.single(&names::STORE_EXCHANGES, Some(store.exchanges));
    page.single(&names::STORE_FAILURES, Some(store.failures));
    page.single(&names::STORE_UNANSWERED, Some(store.unanswered));
    page.single(&names::STORE_REFUSED, Some(store.refused));
    page.single(&names::STORE_COMMANDS, Some(store.commands));
    page.single(&names::STORE_QUEUE, Some(store.queue));
    let name = names::STORE_LATENCY.name;
    page.family(&names::STORE_LATENCY);
    for (bound_us, count) in &store.latency {
        let bound = bound_us.map_or("+Inf".to_owned(), |us| (us as f64 / 1e6).to_string());
        page.sample(name, "_bucket", &[("le", &bound)], count);
    }
    page.sample(name, "_sum", &[], store.latency_sum_us as f64 / 1e6);
    page.sample(name, "_count", &[], store.latency.last().map_or(0, |(_, count)| *count));
    page.family(&names::STORE_KEYS);
    page.sample(names::STORE_KEYS.name, "", &[("state", "added")], store.keys_added);
    page.sample(names::STORE_KEYS.name, "", &[("state", "revoked")], store.keys_revoked);
}

/// The JWK sets that are fetched.
fn key_sets(page: &mut TextPage, sets: &[KeySetFacts]) {
    page.family(&names::JWKS_KEYS);
    for KeySetFacts { jwt, keys, .. } in sets {
        page.sample(names::JWKS_KEYS.name, "", &[("jwt", jwt)], keys);
    }
    page.family(&names::JWKS_FAILURES);
    for KeySetFacts { jwt, failures, .. } in sets {
        page.sample(names::JWKS_FAILURES.name, "", &[("jwt", jwt)], failures);
    }
}

/// The process as a whole.
fn facts(page: &mut TextPage, shards: usize, process: &ProcessFacts) {
    page.family(&names::SHARD_TICK_AGE);
    for (shard, age) in &process.shard_tick_ages {
        page.sample(names::SHARD_TICK_AGE.name, "", &[("shard", &shard.to_string())], age);
    }
    page.single(&names::SHARD_RESTARTS, Some(process.shard_restarts));
    page.single(&names::DIAGNOSTICS_DROPPED, Some(process.diagnostics_lost));
    page.family(&names::RELOADS);
    page.sample(names::RELOADS.name, "", &[("result", "success")], process.reloads_succeeded);
    page.sample(names::RELOADS.name, "", &[("result", "failure")], process.reloads_failed);
    page.single(&names::GENERATION, Some(process.generation));
    page.single(&names::SHARDS, Some(shards));
    page.family(&names::BUILD_INFO);
    let labels = [("version", &*process.version), ("driver", &*process.driver)];
    page.sample(names::BUILD_INFO.name, "", &labels, 1);
    page.single(&names::CPU_SECONDS, process.cpu_seconds);
    page.single(&names::OPEN_FDS, process.open_fds);
    page.single(&names::MAX_FDS, process.max_fds);
    page.single(&names::RESIDENT_MEMORY, process.resident_memory_bytes);
    page.single(&names::START_TIME, process.start_time_seconds);
}

/// A status as a label; those beyond a tally's number of keys are `other`.
fn status_label(status: u16) -> String {
    if status == OTHER_STATUS { "other".into() } else { status.to_string() }
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
