//! A generation as one shard serves by it. A request keeps the `Rc` it began with, so a reload never
//! changes the rules under it.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::{Plan, plan};
use crate::metrics::{RouteMetrics, ShardMetrics};
use crate::route::Table;
use crate::upstream::Upstream;

use super::Generation;

pub struct Live {
    pub number: u64,
    pub plan: Arc<Plan>,
    pub table: Table,
    /// By the plan's indices, both.
    pub routes: Vec<LiveRoute>,
    pub upstreams: Vec<Rc<Upstream>>,
}

pub struct LiveRoute {
    pub plan: Arc<plan::Route>,
    pub metrics: Rc<RouteMetrics>,
}

impl Live {
    /// Makes a generation live, taking over from `old` what its configuration leaves as it is.
    pub fn build(generation: Generation, old: Option<&Live>, metrics: &ShardMetrics, seed: u64) -> Live {
        let Generation { number, plan, table, .. } = generation;
        let old_upstreams = old.map_or(&[][..], |old| &old.upstreams);
        let upstreams = Upstream::build_all(&plan, old_upstreams, metrics, seed);
        let live_route =
            |route: &Arc<plan::Route>| LiveRoute { plan: route.clone(), metrics: metrics.route(&route.name) };
        let routes = plan.routes.iter().map(live_route).collect();
        Live { number, plan, table, routes, upstreams }
    }

    /// Forgets the counters of routes and targets that are no more, so that reloads do not add up.
    pub fn retain_metrics(&self, metrics: &ShardMetrics) {
        let routes: HashSet<&str> = self.routes.iter().map(|route| &*route.plan.name).collect();
        let of_upstream = |live: &'_ Rc<Upstream>| -> Vec<(Arc<str>, Arc<str>)> {
            live.targets.iter().map(|target| (live.plan.name.clone(), target.url.clone())).collect()
        };
        let targets: HashSet<_> = self.upstreams.iter().flat_map(of_upstream).collect();
        metrics.retain(
            |route| routes.contains(route),
            |upstream, target| targets.contains(&(upstream.into(), target.into())),
        );
    }
}
