//! The upstreams in `/status`: their targets, the addresses they resolve to, what is open to them, and whether they
//! get requests.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::control::Control;
use crate::metrics::{MetricsSnapshot, TargetSnapshot};
use crate::plan::{Keyword, TargetAddress, TargetPlan, UpstreamPlan};

/// One `[upstream.NAME]`.
#[derive(Serialize)]
pub struct UpstreamStatus<'a> {
    name: &'a str,
    balance: &'static str,
    targets: Vec<TargetStatus<'a>>,
}

/// One of its targets.
#[derive(Serialize)]
struct TargetStatus<'a> {
    url: &'a str,
    weight: u32,
    /// `up`; `unhealthy` while health checks fail at all its addresses; `open` while shards pass over all its addresses because they fail, `degraded` while only some do that,
    /// or for some addresses; `unresolved` while its name has no address.
    state: &'static str,
    addresses: Vec<String>,
    /// Its addresses at which health checks fail, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unhealthy: Vec<String>,
    /// Requests in flight, over all shards.
    active: u64,
    /// Idle connections, over all shards.
    idle: u64,
}

/// What all shards have at a target.
#[derive(Clone, Copy, Default)]
struct TargetTotals {
    active: u64,
    idle: u64,
    endpoints: u64,
    passed_over: u64,
}

impl TargetTotals {
    fn add(&mut self, of_shard: &TargetSnapshot<'_>) {
        self.active += u64::from(of_shard.active);
        self.idle += u64::from(of_shard.idle);
        self.endpoints += u64::from(of_shard.endpoints);
        self.passed_over += u64::from(of_shard.passed_over);
    }

    fn state(&self) -> &'static str {
        match self.passed_over {
            0 => "up",
            all if all == self.endpoints => "open",
            _ => "degraded",
        }
    }
}

/// All upstreams of the plan, in its order.
pub fn upstreams<'a>(control: &'a Control, snapshots: &'a [MetricsSnapshot]) -> Vec<UpstreamStatus<'a>> {
    let mut totals = HashMap::<_, TargetTotals>::new();
    for target in snapshots.iter().flat_map(MetricsSnapshot::targets) {
        totals.entry((target.upstream, target.target)).or_default().add(&target);
    }
    let upstreams = control.current.plan.upstreams.iter();
    let status = |upstream: &'a Arc<UpstreamPlan>| {
        let target = |target: &'a TargetPlan| {
            let totals = totals.get(&(&*upstream.name, &*target.url)).copied().unwrap_or_default();
            let addresses = addresses(control, target);
            let unhealthy: Vec<_> = control.current.health.failures_of(&upstream.name, &target.url).collect();
            let state = match (addresses.len(), unhealthy.len()) {
                (0, _) => "unresolved",
                (all, failing) if all == failing => "unhealthy",
                (_, 1..) => "degraded",
                (_, 0) => totals.state(),
            };
            TargetStatus {
                url: &target.url,
                weight: target.weight,
                state,
                addresses,
                unhealthy,
                active: totals.active,
                idle: totals.idle,
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

/// The addresses that a target's connections go to; none while its name is unresolved.
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
