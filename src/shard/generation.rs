//! A generation as one shard serves by it. A request keeps the `Rc` it began with, so a reload never
//! changes the rules under it.
//!
//! What a reload leaves as it is is taken over, not built anew: endpoints with their connections, meters with their
//! counts, compiled scripts. So a reload that changes one route costs nothing on the others.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::auth::api_keys::Consumers;
use crate::auth::jwt::Provider;
use crate::base::error::{Error, Reason};
use crate::http::chunked::OwnedNames;
use crate::limit::{CountedInFlight, InFlightCount};
use crate::metrics::{RouteMetrics, ShardMetrics};
use crate::pipeline::identity;
use crate::pipeline::limits::ConsumerRates;
use crate::pipeline::script::RouteScripts;
use crate::pipeline::steps::RouteContext;
use crate::plan::{self, Plan};
use crate::route::RouteTable;
use crate::script::{self, Chain};
use crate::upstream::{Addresses, BreakerChange, BreakerOutbox, UnhealthyEndpoints, Upstream};

use super::Generation;
use super::limits::{RouteLimits, ShardLimits};
use super::script_host;

/// Immutable but for `providers` and the addresses of `upstreams`, which change without a reload.
pub struct LiveGeneration {
    pub number: u64,
    pub plan: Arc<Plan>,
    pub table: RouteTable,
    /// By the plan's indices, all three. A route's limits are apart from it: exchanges that outlive the generation
    /// keep the route, and need the limits no more.
    pub routes: Vec<Rc<LiveRoute>>,
    pub limits: Vec<Option<RouteLimits>>,
    pub upstreams: Vec<Rc<Upstream>>,
    /// By the plan's indices; replaced when a JWK set was fetched.
    pub providers: RefCell<Arc<[Arc<Provider>]>>,
    /// What health checks say; replaced when that changes.
    unhealthy: RefCell<Arc<UnhealthyEndpoints>>,
    /// Who may be calling.
    pub consumers: Consumers,
    /// Request headers in which the gateway tells of claims.
    pub owned: OwnedNames,
    /// Kept over reloads that leave the scripts as they are.
    scripts: Rc<LiveScripts>,
}

/// What all scripts of a generation run in.
struct LiveScripts {
    engine: script::Engine,
    settings: plan::ScriptSettings,
}

/// One route with what a request needs of it to its end, so that it is looked up by index alone.
pub struct LiveRoute {
    pub plan: Arc<plan::RoutePlan>,
    pub metrics: Rc<RouteMetrics>,
    /// Its requests in flight. Shared with the routes of this name that come before and after it.
    in_flight: InFlightCount,
    /// Its scripts, if it has any.
    scripts: Option<(Chain, Rc<LiveScripts>)>,
}

impl LiveRoute {
    /// Counts a request as in flight; there are so many `shards`.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] when this shard's part of `max_inflight` is in flight.
    pub fn begin_request(&self, shards: usize) -> Result<CountedInFlight, Error> {
        self.in_flight.begin(self.plan.max_inflight, shards).ok_or_else(|| {
            let detail = format!("`max_inflight` of route {} is reached", self.plan.name);
            Error::gateway(Reason::Overloaded, detail)
        })
    }

    /// The route's scripts.
    pub fn scripts(&self) -> Option<RouteScripts<'_>> {
        let (chain, live) = self.scripts.as_ref()?;
        Some(RouteScripts {
            engine: &live.engine,
            chain,
            plan: &live.settings,
            route: &self.plan.name,
            notify: &script_host::log_notice,
        })
    }
}

/// What a generation is made live with.
pub struct GenerationContext {
    pub metrics: Rc<ShardMetrics>,
    pub script_host: Rc<dyn script::ScriptHost>,
    pub limits: Rc<ShardLimits>,
    /// What breakers have to tell other shards.
    pub breakers: BreakerOutbox,
    /// Shards begin at different endpoints.
    /// Otherwise all would send their first requests to the same one.
    pub seed: u64,
}

impl LiveGeneration {
    /// Makes a generation live, taking over from `old` what its configuration leaves as it is.
    ///
    /// # Errors
    /// A script that does not compile here though it did when the configuration was checked.
    pub fn build(
        generation: Generation,
        old: Option<&LiveGeneration>,
        context: &GenerationContext,
    ) -> Result<LiveGeneration, script::ScriptFault> {
        let Generation { number, plan, table, providers, addresses, unhealthy, .. } = generation;
        let old_upstreams = old.map_or(&[][..], |old| &old.upstreams);
        let upstreams = Upstream::build_all(
            &plan,
            old_upstreams,
            &addresses,
            &context.metrics,
            &context.breakers,
            context.seed,
        );
        upstreams.iter().for_each(|upstream| upstream.set_unhealthy(&unhealthy));
        // An engine's programs count for good in the metrics that they began with, and those of scripts which no
        // route names are forgotten.
        let same =
            |old: &&LiveGeneration| old.plan.scripts == plan.scripts && named(&old.plan) == named(&plan);
        let scripts = match old.filter(same) {
            Some(old) => old.scripts.clone(),
            None => {
                let engine = script::Engine::new(&plan.scripts, context.script_host.clone());
                Rc::new(LiveScripts { engine, settings: plan.scripts.clone() })
            }
        };
        let names: Rc<[Arc<str>]> = plan.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
        let old_routes = old.map_or(&[][..], |old| &old.routes);
        let before: HashMap<&str, _> =
            old_routes.iter().map(|old| (&*old.plan.name, &old.in_flight)).collect();
        let rates = ConsumerRates::of(&plan.consumers);
        let live_route = |route: &Arc<plan::RoutePlan>| {
            let chain = Chain::build(&scripts.engine, &plan.scripts, route, &names)?;
            let scripts = chain.map(|chain| (chain, scripts.clone()));
            let metrics = context.metrics.route(&route.name);
            let in_flight = before.get(&*route.name).copied().cloned().unwrap_or_default();
            Ok(Rc::new(LiveRoute { plan: route.clone(), metrics, in_flight, scripts }))
        };
        let routes = plan.routes.iter().map(live_route).collect::<Result<_, script::ScriptFault>>()?;
        let limits_of = |route: &Arc<plan::RoutePlan>| {
            RouteLimits::build(route, &rates, &context.limits, &context.metrics)
        };
        let limits = plan.routes.iter().map(limits_of).collect();
        // Names and keys were held against each other when the configuration was checked.
        let consumers = Consumers::build(&plan.consumers).unwrap_or_default();
        let owned = identity::owned_names(plan.jwts.iter().map(|jwt| &**jwt)).into();
        let (providers, unhealthy) = (RefCell::new(providers), RefCell::new(unhealthy));
        Ok(LiveGeneration {
            number,
            plan,
            table,
            routes,
            limits,
            upstreams,
            providers,
            unhealthy,
            consumers,
            owned,
            scripts,
        })
    }

    /// Takes providers with newer keys, if they are those of this generation.
    /// A fetch of keys may have begun before a reload: its list then has other indices, and would verify tokens by the
    /// keys of another provider.
    pub fn renew_providers(&self, providers: Arc<[Arc<Provider>]>) {
        let wanted = self.plan.jwts.iter().map(|jwt| &**jwt);
        if providers.iter().map(|provider| provider.plan()).eq(wanted) {
            self.providers.replace(providers);
        }
    }

    /// Takes what names resolve to now.
    /// Requests in flight keep the endpoint that they have leased.
    pub fn set_addresses(&self, addresses: &Addresses) {
        let unhealthy = self.unhealthy.borrow();
        for upstream in &self.upstreams {
            upstream.set_addresses(addresses);
            upstream.set_unhealthy(&unhealthy);
        }
    }

    /// Takes what health checks say.
    pub fn set_unhealthy(&self, unhealthy: Arc<UnhealthyEndpoints>) {
        self.upstreams.iter().for_each(|upstream| upstream.set_unhealthy(&unhealthy));
        self.unhealthy.replace(unhealthy);
    }

    /// Takes what the breaker of another shard has done.
    pub fn follow_breaker(&self, change: &BreakerChange, now_ms: u64) {
        self.upstreams.iter().for_each(|upstream| upstream.follow_breaker(change, now_ms));
    }

    /// A route with what its steps work with, by its index.
    pub fn route_context(&self, route: usize) -> RouteContext<'_> {
        RouteContext {
            plan: &self.routes[route].plan,
            scripts: self.routes[route].scripts(),
            jwts: &self.plan.jwts,
            owned_names: &self.owned,
        }
    }

    /// Forgets the counters of routes and targets that are no more, so that reloads do not add up.
    pub fn retain_metrics(&self, metrics: &ShardMetrics) {
        let routes: HashSet<&str> = self.routes.iter().map(|route| &*route.plan.name).collect();
        let of_upstream = |live: &'_ Rc<Upstream>| -> Vec<(Arc<str>, Arc<str>)> {
            live.plan.targets.iter().map(|target| (live.plan.name.clone(), target.url.clone())).collect()
        };
        let targets: HashSet<_> = self.upstreams.iter().flat_map(of_upstream).collect();
        let scripts = named(&self.plan);
        let of_route = |route: &'_ Rc<LiveRoute>| -> Vec<(Arc<str>, Arc<str>)> {
            let limits = route.plan.rate_limits.iter();
            limits.map(|limit| (route.plan.name.clone(), limit.name.clone())).collect()
        };
        let limits: HashSet<_> = self.routes.iter().flat_map(of_route).collect();
        metrics.retain_limits(|route, limit| limits.contains(&(route.into(), limit.into())));
        metrics.retain_scripts(|script| scripts.contains(script));
        metrics.retain(
            |route| routes.contains(route),
            |upstream, target| targets.contains(&(upstream.into(), target.into())),
        );
    }
}

/// The scripts that routes name.
/// Those of the library that no route names are only imported, and have no counters.
fn named(plan: &Plan) -> HashSet<&str> {
    plan.routes.iter().flat_map(|route| &route.scripts).map(|name| &**name).collect()
}
