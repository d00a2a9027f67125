//! `/readyz`, `/metrics` and `/status`: what control knows and what the shards counted, as answers.

mod store;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::control::admin::answer::Answer;
use crate::control::supervisor::{ShardFacts, Supervisor};
use crate::control::{Control, process};
use crate::metrics::{self, MetricsSnapshot, ProcessFacts};
use crate::plan::{Action, HostPattern, Keyword, RoutePlan, TargetAddress, TargetPlan, UpstreamPlan};
use store::{JwtStatus, StoreStatus};

/// Whether requests may be sent here.
pub fn ready(supervisor: &Supervisor) -> Answer {
    if supervisor.all_serve() {
        return Answer::text(200, "ready\n");
    }
    let states: Vec<_> =
        supervisor.facts().iter().map(|shard| format!("shard {} {}", shard.id, shard.state)).collect();
    Answer::problem(503, "not_ready", &states.join(", "))
}

/// The Prometheus page.
pub fn metrics(control: &Control, snapshots: &[MetricsSnapshot]) -> Answer {
    let shared = control.store.link.snapshot();
    let facts = ProcessFacts {
        version: env!("CARGO_PKG_VERSION").into(),
        driver: driver(control),
        generation: control.current.number,
        reloads_succeeded: control.reload.succeeded,
        reloads_failed: control.reload.failed,
        shard_restarts: control.supervisor.restarts(),
        access_log_lost: control.log.sink.access_lost(),
        diagnostics_lost: control.log.sink.diagnostics_lost(),
        counters: shared.counters.to_vec(),
        store: store::facts(&shared),
        key_sets: store::key_sets(control),
        cpu_seconds: process::cpu_seconds(),
        open_fds: process::open_files(),
        max_fds: process::max_files(),
        resident_memory_bytes: process::resident_bytes(),
        start_time_seconds: process::seconds_since_1970(control.started_at),
    };
    Answer::metrics(metrics::render(snapshots, &facts))
}

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

#[derive(Serialize)]
struct ShardStatus {
    id: usize,
    core: Option<usize>,
    driver: Option<String>,
    state: &'static str,
    /// Whether it answered in time; its numbers are missing everywhere if not.
    answered: bool,
    connections: Option<u64>,
    restarts: u64,
}

#[derive(Serialize)]
struct RouteStatus<'a> {
    name: &'a str,
    host: Vec<String>,
    path: Vec<&'a str>,
    method: &'a [Arc<str>],
    #[serde(flatten)]
    action: ActionStatus<'a>,
    requests: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum ActionStatus<'a> {
    Upstream(&'a str),
    /// The status code.
    Respond(u16),
    /// The status code.
    Redirect(u16),
}

#[derive(Serialize)]
struct UpstreamStatus<'a> {
    name: &'a str,
    balance: &'static str,
    targets: Vec<TargetStatus<'a>>,
}

#[derive(Serialize)]
struct TargetStatus<'a> {
    url: &'a str,
    weight: u32,
    state: &'static str,
    addresses: Vec<String>,
    active: u64,
    idle: u64,
}

#[derive(Serialize)]
struct LogStatus {
    access_dropped: u64,
    diagnostics_dropped: u64,
}

/// The whole page.
pub fn status(control: &Control, snapshots: &[MetricsSnapshot]) -> Answer {
    let plan = &control.current.plan;
    let sink = &control.log.sink;
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
        routes: plan.routes.iter().map(|route| route_status(control, route, &requests)).collect(),
        upstreams: upstreams(control, snapshots),
        jwt: store::jwts(control),
        store: StoreStatus::of(&control.store.link.snapshot()),
        log: LogStatus {
            access_dropped: dropped + sink.access_lost(),
            diagnostics_dropped: sink.diagnostics_lost(),
        },
    };
    Answer::page(&status)
}

fn driver(control: &Control) -> String {
    control.supervisor.driver().map_or_else(String::new, ToString::to_string)
}

fn shards(control: &Control, snapshots: &[MetricsSnapshot]) -> Vec<ShardStatus> {
    let status = |facts: ShardFacts| {
        let snapshot = snapshots.iter().find(|snapshot| snapshot.shard() == facts.id);
        ShardStatus {
            id: facts.id,
            core: facts.core,
            driver: facts.driver,
            state: facts.state,
            answered: snapshot.is_some(),
            connections: snapshot.map(MetricsSnapshot::connections),
            restarts: facts.restarts,
        }
    };
    control.supervisor.facts().into_iter().map(status).collect()
}

fn route_status<'a>(
    control: &'a Control,
    route: &'a RoutePlan,
    requests: &HashMap<&str, u64>,
) -> RouteStatus<'a> {
    let upstreams = &control.current.plan.upstreams;
    RouteStatus {
        name: &route.name,
        host: route.hosts.iter().map(host).collect(),
        path: route.paths.iter().map(|path| &*path.text).collect(),
        method: &route.methods,
        action: match &route.action {
            Action::Proxy(proxy) => ActionStatus::Upstream(&upstreams[proxy.upstream].name),
            Action::Respond(respond) => ActionStatus::Respond(respond.status),
            Action::Redirect(redirect) => ActionStatus::Redirect(redirect.status),
        },
        requests: requests.get(&*route.name).copied().unwrap_or(0),
    }
}

fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(host) => host.to_string(),
        HostPattern::Wildcard(below) => format!("*.{below}"),
    }
}

fn upstreams<'a>(control: &'a Control, snapshots: &'a [MetricsSnapshot]) -> Vec<UpstreamStatus<'a>> {
    let targets = || snapshots.iter().flat_map(MetricsSnapshot::targets);
    let active = sum(targets().map(|(upstream, target, active, _)| ((upstream, target), active.into())));
    let idle = sum(targets().map(|(upstream, target, _, idle)| ((upstream, target), idle.into())));
    let upstreams = control.current.plan.upstreams.iter();
    let status = |upstream: &'a Arc<UpstreamPlan>| {
        let target = |target: &'a TargetPlan| {
            let key = (&*upstream.name, &*target.url);
            let addresses = addresses(control, target);
            TargetStatus {
                url: &target.url,
                weight: target.weight,
                state: if addresses.is_empty() { "unresolved" } else { "up" },
                addresses,
                active: active.get(&key).copied().unwrap_or(0),
                idle: idle.get(&key).copied().unwrap_or(0),
            }
        };
        UpstreamStatus {
            name: &upstream.name,
            balance: upstream.balance.word(),
            targets: upstream.targets.iter().map(target).collect(),
        }
    };
    upstreams.map(status).collect()
}

fn addresses(control: &Control, target: &TargetPlan) -> Vec<String> {
    match &target.address {
        TargetAddress::Ip(address) => vec![address.to_string()],
        TargetAddress::Unix(path) => vec![format!("unix:{}", path.display())],
        TargetAddress::Name { host, port } => {
            let found = control.current.addresses.get(&(host.clone(), *port));
            found.map(|found| found.iter().map(ToString::to_string).collect()).unwrap_or_default()
        }
    }
}

/// Adds up what several shards say of the same thing.
fn sum<K: std::hash::Hash + Eq>(counts: impl Iterator<Item = (K, u64)>) -> HashMap<K, u64> {
    let mut sums = HashMap::new();
    for (key, count) in counts {
        *sums.entry(key).or_default() += count;
    }
    sums
}
