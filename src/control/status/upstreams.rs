//! The upstreams in `/status`: their targets, the addresses they resolve to, and what is open to them.

use std::sync::Arc;

use serde::Serialize;

use super::sum;
use crate::control::Control;
use crate::metrics::MetricsSnapshot;
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
    /// `up`, or `unresolved` while its name has no address.
    state: &'static str,
    addresses: Vec<String>,
    /// Requests in flight, over all shards.
    active: u64,
    /// Idle connections, over all shards.
    idle: u64,
}

/// All upstreams of the plan, in its order.
pub fn upstreams<'a>(control: &'a Control, snapshots: &'a [MetricsSnapshot]) -> Vec<UpstreamStatus<'a>> {
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
