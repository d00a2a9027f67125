//! One address of a target: its idle connections, how to open more, and how busy it is.

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::connect;
use super::pool::Pool;
use crate::base::error::Error;
use crate::metrics::TargetMetrics;
use crate::net::{Deadlines, Socket};
use crate::plan;

/// Where an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    Tcp(SocketAddr),
    Unix(Arc<Path>),
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointAddress::Tcp(address) => write!(f, "{address}"),
            EndpointAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One address of a target, on this shard. It outlives the generation as long as target and address stay.
pub struct Endpoint {
    /// The target as configured, for the log.
    pub url: Arc<str>,
    /// The target's host, and its port where that is not the scheme's own.
    pub authority: Arc<str>,
    pub address: EndpointAddress,
    /// Shared by all endpoints of the target.
    pub metrics: Rc<TargetMetrics>,
    pool: Pool,
    /// Exchanges in flight here.
    active: Cell<u32>,
}

/// A connection to an endpoint, taken for one exchange.
pub struct UpstreamConnection {
    pub socket: Socket,
    /// It has served before, so the upstream may just have closed it.
    pub reused: bool,
}

impl Endpoint {
    pub(super) fn new(
        upstream: &plan::UpstreamPlan,
        target: &plan::TargetPlan,
        address: EndpointAddress,
        metrics: Rc<TargetMetrics>,
    ) -> Endpoint {
        Endpoint {
            url: target.url.clone(),
            authority: target.authority.clone(),
            address,
            metrics,
            pool: Pool::new(upstream),
            active: Cell::new(0),
        }
    }

    /// An idle connection that is still good.
    pub fn pooled(&self, now_ms: u64) -> Option<UpstreamConnection> {
        let socket = self.pool.take(now_ms)?;
        self.metrics.reused();
        Some(UpstreamConnection { socket, reused: true })
    }

    /// A new connection within `timeout`. `free_descriptors` is called, and the connect tried again, where there was no
    /// descriptor for it; it returns whether it has closed anything.
    ///
    /// # Errors
    /// [`Reason::UpstreamConnect`](crate::base::error::Reason::UpstreamConnect),
    /// [`Reason::UpstreamTimeout`](crate::base::error::Reason::UpstreamTimeout) when `timeout` passed, or
    /// [`Reason::Overloaded`](crate::base::error::Reason::Overloaded) where this machine is out of what it needs.
    pub async fn connect(
        &self,
        timeout: Duration,
        deadlines: &Rc<Deadlines>,
        free_descriptors: impl FnOnce() -> bool,
    ) -> Result<UpstreamConnection, Error> {
        let mut connected = connect::connect(&self.address, timeout, deadlines).await;
        if connected.as_ref().is_err_and(connect::lacks_descriptor) && free_descriptors() {
            connected = connect::connect(&self.address, timeout, deadlines).await;
        }
        let socket = connected.map_err(|error| connect::refused(&error))?;
        self.metrics.connected();
        Ok(UpstreamConnection { socket, reused: false })
    }

    /// Keeps a connection whose exchange ended cleanly, unless the pool is full or the endpoint withdrawn.
    pub fn release(&self, socket: Socket, now_ms: u64) {
        self.pool.put(socket, now_ms);
    }

    /// Drops the idle connections that are too old or no longer good.
    pub fn sweep(&self, now_ms: u64) {
        self.pool.sweep(now_ms);
    }

    /// Closes the idle connections; how many there were.
    pub fn close_idle(&self) -> usize {
        self.pool.clear()
    }

    /// Counts an exchange as in flight here until the guard is dropped.
    pub fn begin_exchange(self: &Rc<Self>) -> InFlight {
        self.active.set(self.active.get() + 1);
        self.metrics.active.set(self.metrics.active.get() + 1);
        InFlight(self.clone())
    }

    /// Exchanges in flight here.
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// Idle connections kept.
    pub fn idle(&self) -> usize {
        self.pool.len()
    }

    /// Takes the `keepalive` settings of a newer plan.
    pub(super) fn configure(&self, upstream: &plan::UpstreamPlan) {
        self.pool.configure(upstream);
    }

    /// Closes all idle connections and keeps none from here on.
    pub(super) fn withdraw(&self) {
        self.pool.close();
    }
}

/// An exchange in flight at an endpoint.
pub struct InFlight(Rc<Endpoint>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let Endpoint { active, metrics, .. } = &*self.0;
        active.set(active.get() - 1);
        metrics.active.set(metrics.active.get() - 1);
    }
}
