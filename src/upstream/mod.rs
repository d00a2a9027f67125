//! A shard's live side of the configured upstreams: their endpoints and the choice among them.
//!
//! A target of the configuration becomes one [`Endpoint`] per address that it has: one for an IP address or a Unix
//! socket, and as many as its name resolves to otherwise. Traffic is balanced over endpoints, each with the weight of
//! its target, so a name with three addresses of weight 2 gets six shares, as in nginx and Envoy.
//!
//! Endpoints outlive generations: a reload keeps those whose target and address stay, with their idle connections.
//! An endpoint whose address the name no longer has is withdrawn: its idle connections are closed at once, and those
//! in use are closed when their exchange ends.

mod breaker_outbox;
mod connect;
mod endpoint;
mod in_flight;
mod pool;

use std::cell::{Ref, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::balance::{Balancer, BreakerNews, RetryBudget, WeightedEndpoint};
use crate::base::error::{Error, Reason, Retry};
use crate::limit::{CountedInFlight, InFlightCount};
use crate::metrics::{ShardMetrics, TargetMetrics};
use crate::plan::{self, AllOpen, NoneHealthy};

pub use breaker_outbox::{BreakerChange, BreakerOutbox};
pub use endpoint::{Endpoint, EndpointAddress, EndpointId, UpstreamConnection};
pub use in_flight::InFlight;

use pool::IdleLimit;

/// What names resolve to, by host and port. Made on the control side, the same for all shards.
pub type Addresses = HashMap<(Arc<str>, u16), Arc<[SocketAddr]>>;

/// The endpoints that health checks say are not to be used. Made on the control side, the same for all shards.
pub type UnhealthyEndpoints = HashSet<EndpointId>;

/// One upstream of a generation, on this shard.
pub struct Upstream {
    pub plan: Arc<plan::UpstreamPlan>,
    /// The counters of each target, by the plan's indices: also of one without an address.
    targets: Vec<Rc<TargetMetrics>>,
    /// Shared with the upstreams of this name that come before and after it: what bounds their idle connections.
    idle: Rc<IdleLimit>,
    /// Shared in the same way: its requests in flight.
    in_flight: InFlightCount,
    /// What its breakers have to tell other shards.
    outbox: BreakerOutbox,
    /// Shared with the upstreams of this name that come before and after it and are retried alike.
    retries: Rc<RetryBudget>,
    endpoints: RefCell<EndpointSet>,
    /// Where this shard begins.
    seed: u64,
}

/// The endpoints in use, and the balancer over their indices.
struct EndpointSet {
    endpoints: Vec<Rc<Endpoint>>,
    balancer: Balancer,
}

/// An endpoint as configuration and name resolution want it.
#[derive(Debug, PartialEq)]
struct Wanted {
    /// The target's index in the plan.
    target: usize,
    address: EndpointAddress,
}

impl Upstream {
    /// Builds the live upstreams of a plan. What `old` has of the same endpoints is kept: idle connections, counts, and
    /// the balancer's position where the upstream's targets are the same. Until [`Upstream::retire`], both serve.
    ///
    /// `seed` should differ from shard to shard, so that they begin at different endpoints.
    pub fn build_all(
        plan: &plan::Plan,
        old: &[Rc<Upstream>],
        addresses: &Addresses,
        metrics: &ShardMetrics,
        outbox: &BreakerOutbox,
        seed: u64,
    ) -> Vec<Rc<Upstream>> {
        let old: HashMap<&str, &Rc<Upstream>> = old.iter().map(|up| (&*up.plan.name, up)).collect();
        let build = |plan: &Arc<plan::UpstreamPlan>| {
            let before = old.get(&*plan.name).copied();
            Upstream::succeed(plan, before, addresses, metrics, outbox, seed)
        };
        plan.upstreams.iter().map(build).collect()
    }

    /// What follows on `before`, the upstream of the same name: that itself, where nothing has changed.
    fn succeed(
        plan: &Arc<plan::UpstreamPlan>,
        before: Option<&Rc<Upstream>>,
        addresses: &Addresses,
        metrics: &ShardMetrics,
        outbox: &BreakerOutbox,
        seed: u64,
    ) -> Rc<Upstream> {
        match before {
            Some(before) if before.plan == *plan => {
                before.set_addresses(addresses);
                before.clone()
            }
            _ => Rc::new(Upstream::build(plan, before.map(|rc| &**rc), addresses, metrics, outbox, seed)),
        }
    }

    fn build(
        plan: &Arc<plan::UpstreamPlan>,
        before: Option<&Upstream>,
        addresses: &Addresses,
        metrics: &ShardMetrics,
        outbox: &BreakerOutbox,
        seed: u64,
    ) -> Upstream {
        let targets: Vec<_> =
            plan.targets.iter().map(|target| metrics.target(&plan.name, &target.url)).collect();
        let before_set = before.map(|before| before.endpoints.borrow());
        let old = before_set.as_ref().map_or(&[][..], |set| &set.endpoints);
        let wanted = wanted(plan, addresses);
        let idle = before.map(|before| before.idle.clone()).unwrap_or_default();
        idle.configure(plan);
        let in_flight = before.map(|before| before.in_flight.clone()).unwrap_or_default();
        let retried_alike = before.filter(|before| before.plan.retry == plan.retry);
        let retries = retried_alike.map(|before| before.retries.clone()).unwrap_or_default();
        let endpoints = reconcile(plan, &targets, &wanted, old, &idle);
        let same_choice = |before: &&Upstream| {
            let unchanged = before.plan.targets == plan.targets && before.plan.balance == plan.balance;
            unchanged && same_endpoints(old, &endpoints)
        };
        let balancer = match (before.filter(same_choice), &before_set) {
            (Some(_), Some(set)) => set.balancer.clone(),
            _ => balancer(plan, &wanted, seed),
        };
        let endpoints = RefCell::new(EndpointSet { endpoints, balancer });
        let outbox = outbox.clone();
        Upstream { plan: plan.clone(), targets, idle, in_flight, outbox, retries, endpoints, seed }
    }

    /// Takes what names resolve to now: endpoints whose address stays are kept, the others withdrawn at once.
    pub fn set_addresses(&self, addresses: &Addresses) {
        let wanted = wanted(&self.plan, addresses);
        let mut set = self.endpoints.borrow_mut();
        let endpoints = reconcile(&self.plan, &self.targets, &wanted, &set.endpoints, &self.idle);
        // A balancer built anew would begin its rotation anew.
        if same_endpoints(&set.endpoints, &endpoints) {
            return;
        }
        set.balancer = balancer(&self.plan, &wanted, self.seed);
        let old = std::mem::replace(&mut set.endpoints, endpoints);
        withdraw_others(&old, &set.endpoints);
    }

    /// Takes what health checks say of its endpoints.
    pub fn set_unhealthy(&self, unhealthy: &UnhealthyEndpoints) {
        for endpoint in self.endpoints().iter() {
            endpoint.set_healthy(!unhealthy.contains(&self.id_of(endpoint)));
        }
    }

    fn id_of(&self, endpoint: &Endpoint) -> EndpointId {
        let (url, address) = (endpoint.url.clone(), endpoint.address.clone());
        EndpointId { upstream: self.plan.name.clone(), url, address }
    }

    /// The breaker of an endpoint has opened or closed: the other shards are to know.
    fn tell_breaker(&self, endpoint: &Endpoint, news: BreakerNews) {
        self.outbox.put(self.id_of(endpoint), news);
    }

    /// Takes what the breaker of another shard has done, if the endpoint is one of this upstream's.
    pub fn follow_breaker(&self, BreakerChange { endpoint: id, news }: &BreakerChange, now_ms: u64) {
        let Some(plan) = &self.plan.breaker else { return };
        let is_meant = |endpoint: &&Rc<Endpoint>| self.id_of(endpoint) == *id;
        for endpoint in self.endpoints().iter().filter(is_meant) {
            // Asked beforehand: it looks at all breakers.
            let may_open = self.may_open(endpoint, plan);
            endpoint.with_breaker(|breaker| breaker.follow(*news, now_ms, || may_open));
        }
    }

    /// After a swap from `old` to `live`: withdraws the endpoints of `old` that `live` has not taken over. Requests
    /// that began before the swap may still use them.
    pub fn retire(old: &[Rc<Upstream>], live: &[Rc<Upstream>]) {
        let live: HashMap<&str, &Rc<Upstream>> = live.iter().map(|up| (&*up.plan.name, up)).collect();
        for upstream in old {
            match live.get(&*upstream.plan.name) {
                Some(successor) if Rc::ptr_eq(successor, upstream) => {}
                Some(successor) => withdraw_others(&upstream.endpoints(), &successor.endpoints()),
                None => withdraw_others(&upstream.endpoints(), &[]),
            }
        }
    }

    /// Counts a request, with all its attempts, as in flight at this upstream; there are so many `shards`.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] when this shard's part of `max_inflight` is in flight.
    pub fn begin_request(&self, shards: usize) -> Result<CountedInFlight, Error> {
        self.in_flight.begin(self.plan.max_inflight, shards).ok_or_else(|| {
            let detail = format!("`max_inflight` of upstream {} is reached", self.plan.name);
            Error::gateway(Reason::Overloaded, detail)
        })
    }

    /// The endpoint for the next attempt. `key` is what `hash_on` selects, hashed; `tried` are the endpoints at which
    /// this request has failed already, and which are not chosen again.
    ///
    /// One that health checks call unhealthy is chosen only while none is healthy, and one whose breaker is open only
    /// where the breaker's plan says so.
    ///
    /// # Errors
    /// [`Reason::NoTarget`] when no endpoint is left; [`Reason::CircuitOpen`] when all that are left fail.
    pub fn pick(&self, key: u64, tried: &[Rc<Endpoint>], now_ms: u64) -> Result<Rc<Endpoint>, Error> {
        let set = &mut *self.endpoints.borrow_mut();
        let untried = |endpoint: &Rc<Endpoint>| !tried.iter().any(|tried| Rc::ptr_eq(tried, endpoint));
        let healthy = |endpoint: &Rc<Endpoint>| endpoint.is_healthy() && untried(endpoint);
        if let Some(picked) = self.pick_where(set, key, now_ms, healthy) {
            return picked;
        }
        let none_healthy = self.plan.health.as_ref().map(|health| health.none_healthy);
        let picked = match none_healthy {
            Some(NoneHealthy::TryAll) => self.pick_where(set, key, now_ms, untried),
            Some(NoneHealthy::Refuse) | None => None,
        };
        picked.unwrap_or_else(|| Err(no_target(&set.endpoints)))
    }

    /// Picks one of those for which `is_candidate` is true; `None` if it is for none.
    fn pick_where(
        &self,
        EndpointSet { endpoints, balancer }: &mut EndpointSet,
        key: u64,
        now_ms: u64,
        is_candidate: impl Fn(&Rc<Endpoint>) -> bool,
    ) -> Option<Result<Rc<Endpoint>, Error>> {
        let active = |index: usize| endpoints[index].active();
        let breaker = self.plan.breaker.as_ref();
        let admitted = |index: usize| {
            let admits = |plan| endpoints[index].with_breaker(|breaker| breaker.admits(plan, now_ms));
            is_candidate(&endpoints[index]) && breaker.is_none_or(admits)
        };
        if let Some(index) = balancer.pick(key, admitted, active) {
            return Some(Ok(endpoints[index].clone()));
        }
        let index = balancer.pick(key, |index| is_candidate(&endpoints[index]), active)?;
        Some(match breaker.map(|plan| plan.all_open) {
            Some(AllOpen::Refuse) => Err(circuit_open(endpoints, now_ms)),
            Some(AllOpen::Try) | None => Ok(endpoints[index].clone()),
        })
    }

    /// Counts a request, of whose retries this allows a share.
    pub fn count_request(&self) {
        if let Some(share) = self.plan.retry.budget {
            self.retries.add_request(share);
        }
    }

    /// Whether the budget has a retry left.
    pub fn may_retry(&self) -> bool {
        self.plan.retry.budget.is_none_or(|share| self.retries.allows(share))
    }

    /// Takes a retry off the budget.
    pub fn count_retry(&self) {
        if self.plan.retry.budget.is_some() {
            self.retries.take();
        }
    }

    /// Begins an exchange with an endpoint that was picked.
    pub fn begin_exchange(&self, endpoint: &Rc<Endpoint>, now_ms: u64) -> InFlight<'_> {
        InFlight::new(self, endpoint, now_ms)
    }

    /// Whether one more breaker may open: always while there are two endpoints or fewer, or no other one is healthy;
    /// otherwise `max_ejected` bounds how many are.
    fn may_open(&self, failing: &Rc<Endpoint>, plan: &plan::BreakerPlan) -> bool {
        let set = self.endpoints.borrow();
        let mut others = set.endpoints.iter().filter(|endpoint| !Rc::ptr_eq(endpoint, failing));
        let tripped = others.clone().filter(|endpoint| endpoint.with_breaker(|one| one.is_tripped())).count();
        let is_within = (tripped + 1) as f64 <= set.endpoints.len() as f64 * plan.max_ejected;
        set.endpoints.len() <= 2
            || is_within
            || !others.any(|endpoint| endpoint.with_breaker(|one| one.is_healthy()))
    }

    /// The endpoints in use, target by target. Not to be held over an await: a change of addresses replaces the list.
    pub fn endpoints(&self) -> Ref<'_, [Rc<Endpoint>]> {
        Ref::map(self.endpoints.borrow(), |set| &set.endpoints[..])
    }

    /// Drops the idle connections that are too old or no longer good.
    pub fn sweep(&self, now_ms: u64) {
        self.endpoints().iter().for_each(|endpoint| endpoint.sweep(now_ms));
    }

    /// Closes the idle connections of all endpoints; how many there were.
    pub fn close_idle(&self) -> usize {
        self.endpoints().iter().map(|endpoint| endpoint.close_idle()).sum()
    }

    /// Sets each target's gauges to what its endpoints have now: idle connections, and how many are passed over.
    pub fn count_endpoints(&self) {
        self.targets.iter().for_each(|metrics| metrics.clear_endpoints());
        for endpoint in self.endpoints().iter() {
            let is_passed_over = endpoint.with_breaker(|breaker| breaker.is_tripped());
            endpoint.metrics.count_endpoint(endpoint.idle() as u32, is_passed_over);
        }
    }
}

/// The answer where no endpoint may be used.
fn no_target(endpoints: &[Rc<Endpoint>]) -> Error {
    if endpoints.is_empty() {
        // Every target is a name that has no address; which is the upstream side's fault.
        return Error::upstream(Reason::NoTarget, Retry::Never, "the target's name has no address");
    }
    if endpoints.iter().any(|endpoint| !endpoint.is_healthy()) {
        return Error::upstream(Reason::NoTarget, Retry::Never, "no endpoint is healthy");
    }
    Error::gateway(Reason::NoTarget, "no usable target")
}

/// The answer while the breakers of all endpoints are open, with the time until the first may close.
fn circuit_open(endpoints: &[Rc<Endpoint>], now_ms: u64) -> Error {
    let waits = endpoints.iter().map(|endpoint| endpoint.with_breaker(|breaker| breaker.wait_ms(now_ms)));
    let seconds = waits.min().unwrap_or(0).div_ceil(1000).max(1);
    let detail = "the breakers of all endpoints are open";
    let error = Error::upstream(Reason::CircuitOpen, Retry::Never, detail);
    Error { retry_after_s: Some(seconds), ..error }
}

/// The endpoints of an upstream with these addresses, each with its target's authority.
pub fn endpoint_ids(
    plan: &plan::UpstreamPlan,
    addresses: &Addresses,
) -> impl Iterator<Item = (EndpointId, Arc<str>)> {
    wanted(plan, addresses).into_iter().map(|Wanted { target, address }| {
        let target = &plan.targets[target];
        (
            EndpointId { upstream: plan.name.clone(), url: target.url.clone(), address },
            target.authority.clone(),
        )
    })
}

/// The endpoints that a plan's targets make with these addresses, in the plan's order.
fn wanted(plan: &plan::UpstreamPlan, addresses: &Addresses) -> Vec<Wanted> {
    let mut wanted = Vec::with_capacity(plan.targets.len());
    for (index, target) in plan.targets.iter().enumerate() {
        let mut add = |address| wanted.push(Wanted { target: index, address });
        match &target.address {
            plan::TargetAddress::Ip(address) => add(EndpointAddress::Tcp(*address)),
            plan::TargetAddress::Unix(path) => add(EndpointAddress::Unix(path.clone())),
            plan::TargetAddress::Name { host, port } => {
                let known = addresses.get(&(host.clone(), *port)).map_or(&[][..], |known| &**known);
                known.iter().for_each(|address| add(EndpointAddress::Tcp(*address)));
            }
        }
    }
    wanted
}

/// One endpoint for each wanted, taken from `old` where that has one of the same target and address. Each of `old` is
/// taken once: a target that is written twice has two endpoints.
fn reconcile(
    plan: &plan::UpstreamPlan,
    targets: &[Rc<TargetMetrics>],
    wanted: &[Wanted],
    old: &[Rc<Endpoint>],
    idle: &Rc<IdleLimit>,
) -> Vec<Rc<Endpoint>> {
    let mut kept: HashMap<(&str, &EndpointAddress), Vec<&Rc<Endpoint>>> = HashMap::new();
    for endpoint in old.iter().rev() {
        kept.entry((&endpoint.url, &endpoint.address)).or_default().push(endpoint);
    }
    let mut endpoints = Vec::with_capacity(wanted.len());
    for Wanted { target, address } in wanted {
        let (metrics, target) = (&targets[*target], &plan.targets[*target]);
        endpoints.push(match kept.get_mut(&(&*target.url, address)).and_then(Vec::pop) {
            Some(kept) => kept.clone(),
            None => Rc::new(Endpoint::new(target, address.clone(), metrics.clone(), idle)),
        });
    }
    endpoints
}

/// A balancer over `wanted`, by their indices.
fn balancer(plan: &plan::UpstreamPlan, wanted: &[Wanted], seed: u64) -> Balancer {
    let weighted = |Wanted { target, address }: &Wanted| {
        let target = &plan.targets[*target];
        let name = match &target.address {
            plan::TargetAddress::Name { .. } => format!("{} {address}", target.url).into(),
            // The address is in the URL already.
            plan::TargetAddress::Ip(_) | plan::TargetAddress::Unix(_) => target.url.clone(),
        };
        WeightedEndpoint { name, weight: target.weight }
    };
    let endpoints: Vec<_> = wanted.iter().map(weighted).collect();
    Balancer::build(&plan.balance, &endpoints, seed)
}

fn same_endpoints(one: &[Rc<Endpoint>], other: &[Rc<Endpoint>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Rc::ptr_eq(one, other))
}

/// Withdraws those of `old` that are not in `kept`.
fn withdraw_others(old: &[Rc<Endpoint>], kept: &[Rc<Endpoint>]) {
    let kept: HashSet<*const Endpoint> = kept.iter().map(Rc::as_ptr).collect();
    for endpoint in old.iter().filter(|endpoint| !kept.contains(&Rc::as_ptr(endpoint))) {
        endpoint.withdraw();
    }
}

#[cfg(test)]
mod breaker_tests;
#[cfg(test)]
mod tests;
