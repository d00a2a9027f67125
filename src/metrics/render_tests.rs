//! What a scrape sees, read back by a checker stricter than Prometheus itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::shard::ShardMetrics;
use super::*;

type Labels = BTreeMap<String, String>;

/// A page that was found valid: every sample by its name and labels.
struct Scrape {
    samples: HashMap<(String, Labels), f64>,
    kinds: HashMap<String, String>,
}

impl Scrape {
    /// Panics at whatever the format does not allow: a family twice, without HELP and TYPE or in two pieces, a name or
    /// label that is none, a series twice, a histogram that does not add up.
    fn read(page: &str) -> Scrape {
        assert!(page.ends_with('\n'));
        let mut scrape = Scrape { samples: HashMap::new(), kinds: HashMap::new() };
        let (mut helped, mut family) = (HashSet::new(), String::new());
        for line in page.split_terminator('\n') {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split_once(' ').expect("a help text").0.into();
                assert!(helped.insert(family.clone()), "HELP {family} twice");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert_eq!(name, family, "TYPE follows HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind));
                assert!(scrape.kinds.insert(name.into(), kind.into()).is_none(), "TYPE {name} twice");
            } else {
                let (name, labels, value) = sample(line);
                let suffixes: &[&str] =
                    if scrape.kinds[&family] == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(
                    suffixes.iter().any(|suffix| name == format!("{family}{suffix}")),
                    "{name} in {family}"
                );
                assert!(scrape.samples.insert((name, labels), value).is_none(), "twice: {line}");
            }
        }
        scrape.check_histograms();
        scrape
    }

    fn check_histograms(&self) {
        for ((name, labels), &count) in &self.samples {
            let Some(family) = name.strip_suffix("_count") else { continue };
            let mut buckets = self.buckets(family, labels);
            buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
            assert!(buckets.iter().map(|(_, count)| count).is_sorted(), "{name}{labels:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{name}{labels:?}");
            assert!(self.samples.contains_key(&(format!("{family}_sum"), labels.clone())));
        }
    }

    /// The bounds and counts of a histogram.
    fn buckets(&self, family: &str, labels: &Labels) -> Vec<(f64, f64)> {
        let bucket = |((name, own), count): (&(String, Labels), &f64)| {
            let mut own = own.clone();
            let bound = own.remove("le").filter(|_| name == &format!("{family}_bucket") && own == *labels)?;
            Some((bound.parse().expect("a bound is a number"), *count))
        };
        self.samples.iter().filter_map(bucket).collect()
    }

    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        self.samples.get(&(name.into(), labels)).copied()
    }
}

/// `name{label="value",…} number`
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).expect("a name ends");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inner.split_once("=\"").expect("a label has a value");
            assert!(is_name(label), "{line}");
            let (value, after) = quoted(after);
            assert!(labels.insert(label.into(), value).is_none(), "label twice: {line}");
            match after.strip_prefix(',') {
                Some(next) => inner = next,
                None => break rest = after.strip_prefix('}').expect("labels end"),
            }
        }
    }
    let number = rest.strip_prefix(' ').expect("one space");
    (name.into(), labels, number.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}

/// The text up to the closing quote, unescaped, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let (mut value, mut chars) = (String::new(), text.chars());
    loop {
        match chars.next().expect("a closing quote") {
            '"' => return (value, chars.as_str()),
            '\\' => value.push(match chars.next() {
                Some('n') => '\n',
                Some(c @ ('"' | '\\')) => c,
                other => panic!("unknown escape {other:?}"),
            }),
            c => value.push(c),
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

fn arc(name: &str) -> Arc<str> {
    name.into()
}

fn facts() -> ProcessFacts {
    ProcessFacts {
        version: "1.2.3".into(),
        driver: "io_uring".into(),
        generation: 7,
        reloads_succeeded: 6,
        reloads_failed: 2,
        shard_restarts: 1,
        shard_tick_ages: vec![(0, 0.02), (3, 1.3)],
        access_log_lost: 5,
        diagnostics_lost: 4,
        counters: vec![("hits".into(), 3)],
        store: StoreFacts {
            up: true,
            exchanges: 3,
            queue: 2,
            latency: vec![(Some(250), 1), (Some(1_000_000), 2), (None, 3)],
            latency_sum_us: 2_000_200,
            keys_revoked: 9,
            ..StoreFacts::default()
        },
        key_sets: vec![KeySetFacts { jwt: "main".into(), keys: 2, failures: 1 }],
        cpu_seconds: Some(1.25),
        open_fds: Some(12),
        max_fds: Some(1024),
        resident_memory_bytes: Some(1 << 33),
        start_time_seconds: Some(1_795_521_600.25),
    }
}

fn two_shards() -> [ShardMetrics; 2] {
    let shards = [ShardMetrics::new(0), ShardMetrics::new(1)];
    for (n, shard) in (1..).zip(&shards) {
        let route = shard.route(&arc("users"));
        for _ in 0..n {
            route.record(200, None, Duration::from_millis(3), 100, 1000);
        }
        route.record(504, Some(Reason::UpstreamTimeout), Duration::from_secs(30), 1, 2);
        shard.unrouted().record(404, Some(Reason::NoRoute), Duration::ZERO, 50, 60);
        let target = shard.target(&arc("users"), &arc("http://10.0.0.1:80"));
        target.connected();
        (0..n).for_each(|_| target.reused());
        target.request(200);
        target.failure(Reason::UpstreamTimeout);
        target.retried();
        target.latency(Duration::from_millis(2));
        target.active.set(n);
        shard.connections_open.set(n as u64 * 10);
        shard.connections_total.set(100);
        shard.access_log_dropped.set(n as u64);
    }
    shards
}

fn scrape(shards: &[ShardMetrics]) -> Scrape {
    let snapshots: Vec<_> = shards.iter().map(ShardMetrics::snapshot).collect();
    Scrape::read(&render(&snapshots, &facts()))
}

#[test]
fn routes_are_summed_over_shards() {
    let scrape = scrape(&two_shards());
    let requests = |route, status, reason| {
        scrape.get("ringway_requests_total", &[("route", route), ("status", status), ("reason", reason)])
    };
    assert_eq!(requests("users", "200", ""), Some(3.0));
    assert_eq!(requests("users", "504", "upstream_timeout"), Some(2.0));
    assert_eq!(requests("", "404", "no_route"), Some(2.0));
    let route = |name, route| scrape.get(name, &[("route", route)]);
    assert_eq!(route("ringway_request_bytes_total", "users"), Some(302.0));
    assert_eq!(route("ringway_response_bytes_total", "users"), Some(3004.0));
    assert_eq!(route("ringway_request_duration_seconds_count", "users"), Some(5.0));
    assert_eq!(route("ringway_request_duration_seconds_sum", "users"), Some(60.009));
    let bucket =
        |le| scrape.get("ringway_request_duration_seconds_bucket", &[("route", "users"), ("le", le)]);
    assert_eq!((bucket("0.0025"), bucket("0.005"), bucket("30")), (Some(0.0), Some(3.0), Some(5.0)));
}

#[test]
fn targets_are_summed_over_shards() {
    let scrape = scrape(&two_shards());
    let target = |name, more: &[(&'static str, &'static str)]| {
        let mut labels = vec![("upstream", "users"), ("target", "http://10.0.0.1:80")];
        labels.extend_from_slice(more);
        scrape.get(name, &labels)
    };
    assert_eq!(target("ringway_upstream_requests_total", &[("status", "200")]), Some(2.0));
    assert_eq!(target("ringway_upstream_failures_total", &[("reason", "upstream_timeout")]), Some(2.0));
    assert_eq!(target("ringway_upstream_connects_total", &[]), Some(2.0));
    assert_eq!(target("ringway_upstream_reuses_total", &[]), Some(3.0));
    assert_eq!(target("ringway_upstream_retries_total", &[]), Some(2.0));
    assert_eq!(target("ringway_upstream_active_requests", &[]), Some(3.0));
    assert_eq!(target("ringway_upstream_duration_seconds_count", &[]), Some(2.0));
}

#[test]
fn only_the_shards_own_gauges_have_a_shard_label() {
    let scrape = scrape(&two_shards());
    assert_eq!(scrape.get("ringway_connections", &[("shard", "0")]), Some(10.0));
    assert_eq!(scrape.get("ringway_connections", &[("shard", "1")]), Some(20.0));
    assert_eq!(scrape.get("ringway_connections_total", &[]), Some(200.0));
    for (name, labels) in scrape.samples.keys() {
        assert!(!labels.contains_key("shard") || scrape.kinds[name] == "gauge", "{name}");
    }
}

#[test]
fn lines_lost_by_the_writer_and_by_the_shards_are_one_sum() {
    assert_eq!(scrape(&two_shards()).get("ringway_access_log_dropped_total", &[]), Some(8.0));
}

#[test]
fn facts_of_the_process_are_told_where_known() {
    let full = scrape(&two_shards());
    for (name, labels, value) in [
        ("ringway_build_info", &[("version", "1.2.3"), ("driver", "io_uring")][..], 1.0),
        ("ringway_reloads_total", &[("result", "success")], 6.0),
        ("ringway_reloads_total", &[("result", "failure")], 2.0),
        ("ringway_generation", &[], 7.0),
        ("ringway_shards", &[], 2.0),
        ("ringway_shard_tick_age_seconds", &[("shard", "3")], 1.3),
        ("ringway_shard_restarts_total", &[], 1.0),
        ("ringway_diagnostics_dropped_total", &[], 4.0),
        ("ringway_store_up", &[], 1.0),
        ("ringway_store_exchanges_total", &[], 3.0),
        ("ringway_store_queue", &[], 2.0),
        ("ringway_store_latency_seconds_bucket", &[("le", "0.00025")], 1.0),
        ("ringway_store_latency_seconds_bucket", &[("le", "1")], 2.0),
        ("ringway_store_latency_seconds_sum", &[], 2.0002),
        ("ringway_store_api_keys", &[("state", "revoked")], 9.0),
        ("ringway_jwks_keys", &[("jwt", "main")], 2.0),
        ("ringway_jwks_failures", &[("jwt", "main")], 1.0),
        ("process_cpu_seconds_total", &[], 1.25),
        ("process_open_fds", &[], 12.0),
        ("process_max_fds", &[], 1024.0),
        ("process_resident_memory_bytes", &[], 8_589_934_592.0),
        ("process_start_time_seconds", &[], 1_795_521_600.25),
    ] {
        assert_eq!(full.get(name, labels), Some(value), "{name}");
    }
    let store = StoreFacts { latency: vec![(None, 0)], ..StoreFacts::default() };
    let bare = Scrape::read(&render(&[], &ProcessFacts { store, ..ProcessFacts::default() }));
    assert!(!bare.kinds.keys().any(|name| name.starts_with("process_")));
}

#[test]
fn every_metric_that_has_a_name_is_on_the_page() {
    let scrape = scrape(&two_shards());
    let missing: Vec<_> = names::ALL
        .iter()
        .map(|family| family.name)
        .filter(|&name| !scrape.kinds.contains_key(name))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn an_upstream_that_answers_with_every_status_makes_few_series() {
    let shards = two_shards();
    let route = shards[0].route(&arc("users"));
    (100..600).for_each(|status| route.record(status, None, Duration::ZERO, 0, 0));
    let scrape = scrape(&shards);
    let series = scrape.samples.keys().filter(|(name, _)| name == "ringway_requests_total");
    assert!(series.count() < 60);
    let labels = [("route", "users"), ("status", "other"), ("reason", "")];
    assert!(scrape.get("ringway_requests_total", &labels).unwrap() > 400.0);
}

proptest! {
    #[test]
    fn any_name_can_be_a_label(route in any::<String>(), upstream in any::<String>(), target in ".*\\\\\"\n.*") {
        prop_assume!(!route.is_empty());
        let shard = ShardMetrics::new(0);
        shard.route(&arc(&route)).record(200, None, Duration::ZERO, 0, 0);
        shard.target(&arc(&upstream), &arc(&target)).connected();
        let scrape = scrape(&[shard]);
        let requests = [("route", &*route), ("status", "200"), ("reason", "")];
        prop_assert_eq!(scrape.get("ringway_requests_total", &requests), Some(1.0));
        let connects = [("upstream", &*upstream), ("target", &*target)];
        prop_assert_eq!(scrape.get("ringway_upstream_connects_total", &connects), Some(1.0));
    }
}
