//! A shard's live side of the configured upstreams: targets with their pools, and the choice among them.

mod connect;
mod pool;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::balance::Balancer;
use crate::base::error::{Error, Reason};
use crate::metrics::{ShardMetrics, TargetMetrics};
use crate::net::{Deadlines, Socket};
use crate::plan;

pub use pool::Pool;

/// What names resolve to, by host and port. Made on the control side, the same for all shards.
pub type Addresses = HashMap<(Arc<str>, u16), Arc<[SocketAddr]>>;

/// One upstream of a generation, on this shard.
pub struct Upstream {
    pub plan: Arc<plan::UpstreamPlan>,
    pub targets: Vec<Rc<Target>>,
    balancer: RefCell<Balancer>,
}

/// One target of an upstream, on this shard. It outlives the generation as long as its configuration stays.
pub struct Target {
    pub url: Arc<str>,
    pub authority: Arc<str>,
    pub address: plan::TargetAddress,
    pub pool: Pool,
    pub metrics: Rc<TargetMetrics>,
    /// Which of a name's addresses the next connection tries first.
    next_address: Cell<usize>,
}

/// A connection to a target, taken for one exchange.
pub struct Connection {
    pub socket: Socket,
    /// It has served before, so the upstream may just have closed it.
    pub reused: bool,
}

impl Upstream {
    /// Builds the live upstreams of a plan, keeping from `old` every target whose pool would be the same.
    pub fn build_all(
        plan: &plan::Plan,
        old: &[Rc<Upstream>],
        metrics: &ShardMetrics,
        seed: u64,
    ) -> Vec<Rc<Upstream>> {
        let old: HashMap<&str, &Rc<Upstream>> = old.iter().map(|up| (&*up.plan.name, up)).collect();
        let build = |plan: &Arc<plan::UpstreamPlan>| {
            let before = old.get(&*plan.name).copied();
            match before {
                // Unchanged as a whole: the balancer's position survives too.
                Some(before) if before.plan == *plan => before.clone(),
                _ => Rc::new(Upstream::build(plan, before.map(|rc| &**rc), metrics, seed)),
            }
        };
        plan.upstreams.iter().map(build).collect()
    }

    fn build(
        plan: &Arc<plan::UpstreamPlan>,
        before: Option<&Upstream>,
        metrics: &ShardMetrics,
        seed: u64,
    ) -> Upstream {
        let build_target = |target: &plan::TargetPlan| {
            let same = |old: &&Rc<Target>| old.url == target.url && old.pool.has_settings(plan);
            match before.and_then(|before| before.targets.iter().find(same)) {
                Some(kept) => kept.clone(),
                None => Rc::new(Target {
                    url: target.url.clone(),
                    authority: target.authority.clone(),
                    address: target.address.clone(),
                    pool: Pool::new(plan),
                    metrics: metrics.target(&plan.name, &target.url),
                    next_address: Cell::new(seed as usize),
                }),
            }
        };
        Upstream {
            plan: plan.clone(),
            targets: plan.targets.iter().map(build_target).collect(),
            balancer: RefCell::new(Balancer::build(plan, seed)),
        }
    }

    /// The target for the next attempt. `key` is what `hash_on` selects, hashed.
    ///
    /// # Errors
    /// [`Reason::NoTarget`] when none may be used.
    pub fn pick(&self, key: u64) -> Result<Rc<Target>, Error> {
        let active = |index: usize| self.targets[index].metrics.active.get();
        let picked = self.balancer.borrow_mut().pick(key, |_| true, active);
        let none = || Error::gateway(Reason::NoTarget, "no usable target");
        picked.and_then(|index| self.targets.get(index)).cloned().ok_or_else(none)
    }
}

impl Target {
    /// An idle connection that is still good.
    pub fn pooled(&self, now_ms: u64) -> Option<Connection> {
        let socket = self.pool.take(now_ms)?;
        self.metrics.reused();
        Some(Connection { socket, reused: true })
    }

    /// A new connection within `timeout`, trying each address of a name in turn.
    ///
    /// # Errors
    /// [`Reason::UpstreamConnect`] or [`Reason::UpstreamTimeout`] of the last address tried.
    pub async fn connect(
        &self,
        timeout: Duration,
        addresses: &Addresses,
        deadlines: &Rc<Deadlines>,
    ) -> Result<Connection, Error> {
        let first = self.next_address.get();
        self.next_address.set(first.wrapping_add(1));
        let socket = connect::connect(&self.address, addresses, first, timeout, deadlines).await?;
        self.metrics.connected();
        Ok(Connection { socket, reused: false })
    }
}
