//! A plan on one screen, for `ringway check`.
//!
//! It goes to terminals and into tickets, so nothing of it may be a secret.

use std::fmt::Write;

use super::units::show_rate;
use crate::plan::*;

/// Upstreams, and routes, shown before the rest is only counted.
const SHOWN_UPSTREAMS: usize = 8;
const SHOWN_ROUTES: usize = 16;

/// What a run of this plan would do: listeners, shards, upstreams with their targets, routes.
pub fn summary(plan: &Plan) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| _ = writeln!(out, "{name:<10} {value}");
    line("listen", comma(&plan.server.listen));
    line("admin", plan.admin.as_ref().map_or("none".to_string(), admin));
    line("shards", shards(&plan.server));
    line("log", log(&plan.log));
    line("store", store(plan.store.as_ref()));
    if !plan.jwts.is_empty() {
        line("jwt", plan.jwts.iter().map(|jwt| jwt_item(jwt)).collect::<Vec<_>>().join(", "));
    }
    if !plan.consumers.is_empty() {
        let keys: usize = plan.consumers.iter().map(|consumer| consumer.api_keys.len()).sum();
        line("consumers", format!("{}, with {keys} API keys", plan.consumers.len()));
    }
    line("upstreams", plan.upstreams.len().to_string());
    cut(&mut out, &plan.upstreams, SHOWN_UPSTREAMS, |upstream| upstream_line(upstream));
    _ = writeln!(out, "{:<10} {}", "routes", plan.routes.len());
    cut(&mut out, &plan.routes, SHOWN_ROUTES, |route| route_line(route, plan));
    out
}

fn admin(admin: &AdminSettings) -> String {
    let token = if admin.token.is_some() { ", with a token" } else { "" };
    format!("{}{token}", admin.listen)
}

fn comma<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// The first items, one line each, and how many more there are.
fn cut<T>(out: &mut String, items: &[T], shown: usize, line: impl Fn(&T) -> String) {
    for item in items.iter().take(shown) {
        _ = writeln!(out, "  {}", line(item));
    }
    if let Some(more) = items.len().checked_sub(shown).filter(|more| *more > 0) {
        _ = writeln!(out, "  … and {more} more");
    }
}

fn shards(server: &Server) -> String {
    let count = server.shards.map_or("auto (one per CPU)".to_string(), |n| n.to_string());
    let pinned = if server.pin_cores { "pinned" } else { "not pinned" };
    format!("{count}, {pinned}, driver {}", server.driver.word())
}

fn log(log: &LogSettings) -> String {
    let target = match &log.target {
        LogTarget::Stdout => "stdout".to_string(),
        LogTarget::File(path) => path.display().to_string(),
    };
    let access = match log.access {
        AccessFormat::Off => "off".to_string(),
        format => format!("{} to {target}", format.word()),
    };
    format!("access {access}, level {}", log.level.word())
}

/// The kind alone: the rest may hold a password.
fn store(store: Option<&StoreSettings>) -> String {
    let Some(store) = store else { return "embedded, of this process alone".to_string() };
    let kind = match store.url.text().and_then(|url| url.split_once("://")).map_or("", |(scheme, _)| scheme) {
        "rediss" => "Redis over TLS",
        "redis+unix" => "Redis on a Unix socket",
        "redis-cluster" => "Redis Cluster",
        _ => "Redis",
    };
    format!("{kind}, timeout {:?}, keys under {}", store.timeout, store.key_prefix)
}

fn jwt_item(jwt: &Jwt) -> String {
    let key = match jwt.key {
        JwtKey::Secret(_) => "a secret",
        JwtKey::PublicKey(_) => "a public key",
        JwtKey::Jwks(_) => "a key set",
        JwtKey::JwksUrl(_) => "a key set from a URL",
    };
    let algorithms: Vec<_> = jwt.algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect();
    format!("{} ({} by {key})", jwt.name, algorithms.join(" "))
}

fn upstream_line(upstream: &UpstreamPlan) -> String {
    const SHOWN_TARGETS: usize = 4;
    let balance = match &upstream.balance {
        Balance::Hash(on) => format!("{} on {on}", upstream.balance.word()),
        balance => balance.word().to_string(),
    };
    let target = |target: &TargetPlan| match target.weight {
        1 => target.url.to_string(),
        weight => format!("{} (weight {weight})", target.url),
    };
    let mut targets: Vec<_> = upstream.targets.iter().take(SHOWN_TARGETS).map(target).collect();
    if let Some(more) = upstream.targets.len().checked_sub(SHOWN_TARGETS).filter(|more| *more > 0) {
        targets.push(format!("and {more} more"));
    }
    format!("{:<16} {balance}: {}", upstream.name, targets.join(", "))
}

/// Only the first path and host are shown, with the number of the others.
fn route_line(route: &RoutePlan, plan: &Plan) -> String {
    let methods =
        if route.methods.is_empty() { String::new() } else { format!("{} ", route.methods.join(",")) };
    let host = match route.hosts.first() {
        Some(HostPattern::Exact(name)) => name.to_string(),
        Some(HostPattern::Wildcard(name)) => format!("*.{name}"),
        None => String::new(),
    };
    let path = route.paths.first().map_or("", |path| &*path.text);
    let more = (route.paths.len() + route.hosts.len().max(1)).saturating_sub(2);
    let more = if more > 0 { format!(" (+{more})") } else { String::new() };
    // Names alone: a value may be a key that clients send.
    let names =
        |what, list: &[Condition]| list.iter().map(|c| format!("{what} {}", c.name)).collect::<Vec<_>>();
    let conditions = [names("header", &route.headers), names("query", &route.query)].concat();
    let conditions = match conditions.is_empty() {
        true => String::new(),
        false => format!(" by {}", conditions.join(", ")),
    };
    let action = match &route.action {
        Action::Proxy(proxy) => {
            plan.upstreams.get(proxy.upstream).map_or("", |upstream| &*upstream.name).to_string()
        }
        Action::Respond(respond) => format!("respond {}", respond.status),
        Action::Redirect(redirect) => {
            format!("redirect {} to {}", redirect.status, show_template(&redirect.to))
        }
    };
    let policies = route_policies(route, plan);
    format!("{:<16} {methods}{host}{path}{more}{conditions} -> {action}{policies}", route.name)
}

/// The policies that decide who may use a route, and how often.
fn route_policies(route: &RoutePlan, plan: &Plan) -> String {
    let mut parts = Vec::new();
    if route.ip != IpRules::default() {
        parts.push("ip rules".to_string());
    }
    if route.cors.is_some() {
        parts.push("cors".to_string());
    }
    let method = |method: &AuthMethod| match method {
        AuthMethod::Jwt(index) => format!("jwt:{}", plan.jwts.get(*index).map_or("", |jwt| &*jwt.name)),
        AuthMethod::Key => "key".to_string(),
    };
    if !route.auth.is_empty() {
        parts.push(format!("auth {}", route.auth.iter().map(method).collect::<Vec<_>>().join(" or ")));
    }
    if route.require != Require::default() {
        parts.push("requirements".to_string());
    }
    parts.extend(route.rate_limits.iter().map(limit_item));
    parts.extend(route.max_inflight.map(|most| format!("at most {most} in flight")));
    parts.iter().map(|part| format!("; {part}")).collect()
}

fn limit_item(limit: &RateLimit) -> String {
    let mode = match limit.mode {
        LimitMode::Shared => String::new(),
        mode => format!(", {}", mode.word()),
    };
    let dry = if limit.dry_run { ", dry run" } else { "" };
    format!("limit {} {} by {}{mode}{dry}", limit.name, show_rate(limit.rate), limit.by)
}

fn show_template(template: &Template) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.to_string(),
        Piece::Capture(name) => format!("{{{name}}}"),
    };
    template.0.iter().map(piece).collect()
}
