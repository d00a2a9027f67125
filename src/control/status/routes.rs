//! The routes in `/status`: what each matches, what it does, and how many requests it has served.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::plan::{Action, HostPattern, Plan, RoutePlan};

/// One `[[route]]`.
#[derive(Serialize)]
pub struct RouteStatus<'a> {
    name: &'a str,
    host: Vec<String>,
    path: Vec<&'a str>,
    method: &'a [Arc<str>],
    #[serde(flatten)]
    action: ActionStatus<'a>,
    requests: u64,
}

/// What a route does: the name of its one action is the key.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum ActionStatus<'a> {
    Upstream(&'a str),
    /// With the status code.
    Respond(u16),
    /// With the status code.
    Redirect(u16),
}

/// All routes of a plan, in its order; `requests` holds the finished requests by route, over all shards.
pub fn routes<'a>(plan: &'a Plan, requests: &HashMap<&str, u64>) -> Vec<RouteStatus<'a>> {
    plan.routes.iter().map(|route| route_status(plan, route, requests)).collect()
}

fn route_status<'a>(plan: &'a Plan, route: &'a RoutePlan, requests: &HashMap<&str, u64>) -> RouteStatus<'a> {
    let upstreams = &plan.upstreams;
    RouteStatus {
        name: &route.name,
        host: route.hosts.iter().map(host_text).collect(),
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

/// A host pattern as the configuration writes it.
fn host_text(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(host) => host.to_string(),
        HostPattern::Wildcard(below) => format!("*.{below}"),
    }
}
