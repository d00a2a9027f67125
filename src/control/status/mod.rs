//! The responses to `/readyz`, `/metrics` and `/status`, from what control knows and what the shards have counted.

mod routes;
mod store;
mod upstreams;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;

use crate::control::admin::response::AdminResponse;
use crate::control::supervisor::ShardFacts;
use crate::control::{Control, process};
use crate::metrics::{self, MetricsSnapshot, ProcessFacts};
use routes::RouteStatus;
use store::{JwtStatus, StoreStatus};
use upstreams::UpstreamStatus;

/// `/readyz`: whether requests may be sent to this gateway. Providers without keys are named, but do not count: whoever
/// takes all gateways away because an issuer is down helps nobody.
pub fn ready(control: &Control, now: Instant) -> AdminResponse {
    if control.supervisor.all_serve(now) {
        let missing = control.jwts_without_keys().map(|name| format!("jwt {name} has no keys yet\n"));
        return AdminResponse::text(200, "ready\n".to_owned() + missing.collect::<String>().as_str());
    }
    let state = |shard: &ShardFacts| match shard.tick_age.filter(|_| shard.state == "stalled") {
        Some(age) => format!("shard {} has not answered for {:.1}s", shard.id, age.as_secs_f64()),
        None => format!("shard {} {}", shard.id, shard.state),
    };
    let states: Vec<_> = control.supervisor.facts(now).iter().map(state).collect();
    AdminResponse::problem(503, "not_ready", &states.join(", "))
}

/// `/metrics`: the shards' counters and what control knows of the process, for Prometheus.
pub fn metrics(control: &Control, snapshots: &[MetricsSnapshot]) -> AdminResponse {
    let store = control.store.link.snapshot();
    let shards = control.supervisor.facts(Instant::now());
    let tick_age = |shard: &ShardFacts| Some((shard.id, shard.tick_age?.as_secs_f64()));
    let facts = ProcessFacts {
        version: env!("CARGO_PKG_VERSION").into(),
        driver: driver(control),
        generation: control.current.number,
        reloads_succeeded: control.reload.succeeded,
        reloads_failed: control.reload.failed,
        shard_restarts: control.supervisor.restarts(),
        shard_tick_ages: shards.iter().filter_map(tick_age).collect(),
        access_log_lost: control.log.sink.access_lost(),
        diagnostics_lost: control.log.sink.diagnostics_lost(),
        counters: store.counters.to_vec(),
        store: store::facts(&store),
        key_sets: store::key_sets(control),
        cpu_seconds: process::cpu_seconds(),
        open_fds: process::open_files(),
        max_fds: process::max_files(),
        resident_memory_bytes: process::resident_bytes(),
        start_time_seconds: process::seconds_since_1970(control.started_at),
    };
    AdminResponse::metrics(metrics::render(snapshots, &facts))
}

/// `/status`, in the order in which it is shown.
#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    generation: u64,
    driver: String,
    state: &'static str,
    uptime_s: u64,
    config: String,
    listen: Vec<SocketAddr>,
    shards: Vec<ShardStatus>,
    routes: Vec<RouteStatus<'a>>,
    upstreams: Vec<UpstreamStatus<'a>>,
    jwt: Vec<JwtStatus<'a>>,
    store: StoreStatus,
    log: LogStatus,
}

/// One shard.
#[derive(Serialize)]
struct ShardStatus {
    id: usize,
    core: Option<usize>,
    driver: Option<String>,
    state: &'static str,
    /// Milliseconds since its event loop last turned.
    tick_age_ms: Option<u64>,
    /// Whether it sent its numbers in time; if not, they are missing everywhere.
    answered: bool,
    connections: Option<u64>,
    restarts: u64,
}

/// Lines that were lost, for lack of room in a queue or on the disk.
#[derive(Serialize)]
struct LogStatus {
    access_dropped: u64,
    diagnostics_dropped: u64,
}

/// `/status`: what is served, by what, and how it is doing.
pub fn status(control: &Control, snapshots: &[MetricsSnapshot]) -> AdminResponse {
    let plan = &control.current.plan;
    let sink = &control.log.sink;
    // Counters of shards that did not respond in time are missing from all sums.
    let requests = sum(snapshots.iter().flat_map(MetricsSnapshot::route_requests));
    let dropped = snapshots.iter().map(MetricsSnapshot::access_log_dropped).sum::<u64>();
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        generation: control.current.number,
        driver: driver(control),
        state: if control.drain.is_some() { "draining" } else { "serving" },
        uptime_s: control.started_at.elapsed().unwrap_or_default().as_secs(),
        config: control.options.source.name(),
        listen: control.addresses().collect(),
        shards: shards(control, snapshots),
        routes: routes::routes(plan, &requests),
        upstreams: upstreams::upstreams(control, snapshots),
        jwt: store::jwts(control),
        store: StoreStatus::of(&control.store.link.snapshot()),
        log: LogStatus {
            access_dropped: dropped + sink.access_lost(),
            diagnostics_dropped: sink.diagnostics_lost(),
        },
    };
    AdminResponse::page(&status)
}

/// The I/O driver of the shards.
fn driver(control: &Control) -> String {
    control.supervisor.driver().map_or_else(String::new, |driver| driver.kind.to_string())
}

/// Every shard, with its own numbers if it sent them.
fn shards(control: &Control, snapshots: &[MetricsSnapshot]) -> Vec<ShardStatus> {
    let status = |facts: ShardFacts| {
        let snapshot = snapshots.iter().find(|snapshot| snapshot.shard() == facts.id);
        ShardStatus {
            id: facts.id,
            core: facts.core,
            driver: facts.driver,
            state: facts.state,
            tick_age_ms: facts.tick_age.map(|age| age.as_millis() as u64),
            answered: snapshot.is_some(),
            connections: snapshot.map(MetricsSnapshot::connections),
            restarts: facts.restarts,
        }
    };
    control.supervisor.facts(Instant::now()).into_iter().map(status).collect()
}

/// Adds up the counts of several shards by key.
fn sum<K: std::hash::Hash + Eq>(counts: impl Iterator<Item = (K, u64)>) -> HashMap<K, u64> {
    let mut sums = HashMap::new();
    for (key, count) in counts {
        *sums.entry(key).or_default() += count;
    }
    sums
}
