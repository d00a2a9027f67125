//! All counters of one shard: its own, and those of each route, target, script and limit by name.
//!
//! The live configuration holds the counters it counts in; they are found again by name after a reload, so counts go on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::counters::{LimitMetrics, RouteMetrics, ScriptMetrics, TargetMetrics};
use super::names::{self, MetricFamily};
use super::snapshot::{LimitLabels, MetricsSnapshot, TargetLabels};

/// The route label of requests that matched no route, bad requests among them. No route can have this name.
pub const NO_ROUTE: &str = "";

/// One shard's counters. Gauges are set to what is now; counters only rise.
#[derive(Debug)]
pub struct ShardMetrics {
    shard: usize,
    /// Client connections open now.
    pub connections_open: Cell<u64>,
    /// Client connections accepted, those refused among them.
    pub connections_total: Cell<u64>,
    /// Client connections closed with 503 because of `max_connections`.
    pub connections_refused: Cell<u64>,
    /// Upgraded connections open now.
    pub tunnels_open: Cell<u64>,
    /// Keys of rate limits kept now.
    pub limit_keys: Cell<u64>,
    /// Connections that ended in a panic of the gateway.
    pub panics_total: Cell<u64>,
    /// `AccessLog::dropped`: set, not added.
    pub access_log_dropped: Cell<u64>,
    unrouted: Rc<RouteMetrics>,
    routes: RefCell<HashMap<Arc<str>, Rc<RouteMetrics>>>,
    targets: RefCell<HashMap<TargetLabels, Rc<TargetMetrics>>>,
    scripts: RefCell<HashMap<Arc<str>, Rc<ScriptMetrics>>>,
    limits: RefCell<HashMap<LimitLabels, Rc<LimitMetrics>>>,
}

impl ShardMetrics {
    pub fn new(shard: usize) -> ShardMetrics {
        ShardMetrics {
            shard,
            connections_open: Cell::default(),
            connections_total: Cell::default(),
            connections_refused: Cell::default(),
            tunnels_open: Cell::default(),
            limit_keys: Cell::default(),
            panics_total: Cell::default(),
            access_log_dropped: Cell::default(),
            unrouted: Rc::default(),
            routes: RefCell::default(),
            targets: RefCell::default(),
            scripts: RefCell::default(),
            limits: RefCell::default(),
        }
    }

    /// The counters of a route: the same ones for the same name, so that they survive a reload.
    pub fn route(&self, name: &Arc<str>) -> Rc<RouteMetrics> {
        if **name == *NO_ROUTE {
            return self.unrouted();
        }
        self.routes.borrow_mut().entry(name.clone()).or_default().clone()
    }

    /// The counters of requests that matched no route; never forgotten.
    pub fn unrouted(&self) -> Rc<RouteMetrics> {
        self.unrouted.clone()
    }

    /// The counters of a target: the same ones for the same two names.
    pub fn target(&self, upstream: &Arc<str>, target: &Arc<str>) -> Rc<TargetMetrics> {
        self.targets.borrow_mut().entry((upstream.clone(), target.clone())).or_default().clone()
    }

    /// The counters of a script: the same ones for the same name.
    pub fn script(&self, name: &str) -> Rc<ScriptMetrics> {
        if let Some(metrics) = self.scripts.borrow().get(name) {
            return metrics.clone();
        }
        self.scripts.borrow_mut().entry(name.into()).or_default().clone()
    }

    /// The counters of a limit: the same ones for the same two names.
    pub fn limit(&self, route: &Arc<str>, limit: &Arc<str>) -> Rc<LimitMetrics> {
        self.limits.borrow_mut().entry((route.clone(), limit.clone())).or_default().clone()
    }

    /// After a reload: forgets the limits that no route has any more.
    pub fn retain_limits(&self, keep: impl Fn(&str, &str) -> bool) {
        self.limits.borrow_mut().retain(|(route, limit), _| keep(route, limit));
    }

    /// After a reload: forgets the scripts that no route has any more.
    pub fn retain_scripts(&self, keep: impl Fn(&str) -> bool) {
        self.scripts.borrow_mut().retain(|name, _| keep(name));
    }

    /// After a reload: forgets the routes and the (upstream, target) pairs that are no longer configured. Requests
    /// of an earlier generation still count there, but on no page.
    pub fn retain(&self, keep_route: impl Fn(&str) -> bool, keep_target: impl Fn(&str, &str) -> bool) {
        let mut routes = self.routes.borrow_mut();
        routes.retain(|name, _| keep_route(name));
        routes.shrink_to_fit();
        let mut targets = self.targets.borrow_mut();
        targets.retain(|(upstream, target), _| keep_target(upstream, target));
        targets.shrink_to_fit();
    }

    /// A copy for another thread. Routes that have served nothing yet are left out: ten thousand of them would hold up
    /// the shard and fill the page.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let routes = self.routes.borrow();
        let used = routes.iter().filter(|(_, metrics)| !metrics.requests.is_empty());
        let mut routes: Vec<_> = used.map(|(name, metrics)| (name.clone(), (**metrics).clone())).collect();
        routes.push((NO_ROUTE.into(), (*self.unrouted).clone()));
        let targets = self.targets.borrow();
        MetricsSnapshot {
            shard: self.shard,
            values: self.values(),
            routes,
            targets: targets.iter().map(|(key, metrics)| (key.clone(), (**metrics).clone())).collect(),
            limits: self.limits.borrow().iter().map(|(key, of)| (key.clone(), (**of).clone())).collect(),
            scripts: self.scripts.borrow().iter().map(|(name, of)| (name.clone(), (**of).clone())).collect(),
        }
    }

    /// The shard's own values with their families, in the order of the page.
    fn values(&self) -> Vec<(&'static MetricFamily, u64)> {
        vec![
            (&names::CONNECTIONS, self.connections_open.get()),
            (&names::CONNECTIONS_TOTAL, self.connections_total.get()),
            (&names::CONNECTIONS_REFUSED, self.connections_refused.get()),
            (&names::TUNNELS, self.tunnels_open.get()),
            (&names::LIMIT_KEYS, self.limit_keys.get()),
            (&names::PANICS, self.panics_total.get()),
            (&names::ACCESS_LOG_DROPPED, self.access_log_dropped.get()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn arc(name: &str) -> Arc<str> {
        name.into()
    }

    fn hit(route: &RouteMetrics) {
        route.record(200, None, Duration::from_millis(1), 10, 20);
    }

    #[test]
    fn the_same_names_share_counters_so_a_reload_keeps_them() {
        let shard = ShardMetrics::new(0);
        assert!(Rc::ptr_eq(&shard.route(&arc("users")), &shard.route(&arc("users"))));
        assert!(!Rc::ptr_eq(&shard.route(&arc("users")), &shard.route(&arc("orders"))));
        let target = shard.target(&arc("users"), &arc("http://a"));
        assert!(Rc::ptr_eq(&target, &shard.target(&arc("users"), &arc("http://a"))));
        assert!(!Rc::ptr_eq(&target, &shard.target(&arc("orders"), &arc("http://a"))));
    }

    #[test]
    fn retain_keeps_the_counts_of_what_is_still_configured_and_forgets_the_rest() {
        let shard = ShardMetrics::new(0);
        hit(&shard.route(&arc("kept")));
        hit(&shard.route(&arc("gone")));
        hit(&shard.unrouted());
        shard.target(&arc("kept"), &arc("http://a")).connected();
        shard.target(&arc("kept"), &arc("http://b")).connected();
        shard.retain(|route| route == "kept", |upstream, target| upstream == "kept" && target == "http://a");
        hit(&shard.route(&arc("kept")));
        hit(&shard.route(&arc("gone")));
        let snapshot = shard.snapshot();
        let count = |name: &str| {
            let found = snapshot.routes.iter().find(|(route, _)| &**route == name);
            found.map(|(_, metrics)| metrics.duration.count())
        };
        assert_eq!((count("kept"), count("gone"), count(NO_ROUTE)), (Some(2), Some(1), Some(1)));
        assert_eq!(snapshot.targets.len(), 1);
        assert_eq!(snapshot.targets[0].1.connects.get(), 1);
    }

    #[test]
    fn ten_thousand_reloads_with_new_names_leave_nothing_behind() {
        let shard = ShardMetrics::new(0);
        for generation in 0..10_000 {
            let name = arc(&format!("route-{generation}"));
            hit(&shard.route(&name));
            shard.target(&name, &name).connected();
            shard.retain(|route| route == &*name, |upstream, _| upstream == &*name);
        }
        assert_eq!((shard.routes.borrow().len(), shard.targets.borrow().len()), (1, 1));
        assert!(shard.routes.borrow().capacity() < 16);
    }

    #[test]
    fn a_snapshot_may_go_to_another_thread_and_leaves_out_idle_routes() {
        fn sendable<T: Send>(value: T) -> T {
            value
        }
        let shard = ShardMetrics::new(3);
        shard.route(&arc("idle"));
        hit(&shard.route(&arc("busy")));
        let snapshot = sendable(shard.snapshot());
        let names: Vec<_> = snapshot.routes.iter().map(|(name, _)| &**name).collect();
        assert_eq!((snapshot.shard, names), (3, vec!["busy", NO_ROUTE]));
    }
}
