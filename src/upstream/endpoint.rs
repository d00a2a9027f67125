//! One address of a target: its idle connections, how to open more, how busy it is, and its breaker.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::connect;
use super::pool::{IdleLimit, Pool};
use crate::balance::{Breaker, hash_key};
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

/// Which endpoint is meant, between threads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The target as configured.
    pub url: Arc<str>,
    pub address: EndpointAddress,
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
    breaker: RefCell<Breaker>,
    /// Health checks say that it works, or there are none.
    healthy: Cell<bool>,
}

/// A connection to an endpoint, taken for one exchange.
pub struct UpstreamConnection {
    pub socket: Socket,
    /// It has served before, so the upstream may just have closed it.
    pub reused: bool,
}

impl Endpoint {
    pub(super) fn new(
        target: &plan::TargetPlan,
        address: EndpointAddress,
        metrics: Rc<TargetMetrics>,
        limit: &Rc<IdleLimit>,
    ) -> Endpoint {
        Endpoint {
            url: target.url.clone(),
            authority: target.authority.clone(),
            address,
            metrics,
            pool: Pool::new(limit),
            active: Cell::new(0),
            breaker: RefCell::default(),
            healthy: Cell::new(true),
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

    /// Keeps a connection whose exchange ended cleanly, unless the endpoint is withdrawn. Where the upstream has more than
    /// it keeps, the coldest goes.
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

    /// Counts an exchange as in flight here, or as ended.
    pub(super) fn count_active(&self, begins: bool) {
        let change = |n: u32| if begins { n + 1 } else { n - 1 };
        self.active.set(change(self.active.get()));
        self.metrics.active.set(change(self.metrics.active.get()));
    }

    /// Reads or moves the breaker.
    pub(super) fn with_breaker<T>(&self, f: impl FnOnce(&mut Breaker) -> T) -> T {
        f(&mut self.breaker.borrow_mut())
    }

    /// Whether health checks let requests go here.
    pub fn is_healthy(&self) -> bool {
        self.healthy.get()
    }

    /// Takes what health checks say.
    pub(super) fn set_healthy(&self, healthy: bool) {
        self.healthy.set(healthy);
    }

    /// A number that differs from endpoint to endpoint.
    pub(super) fn draw(&self) -> u64 {
        hash_key(self.authority.as_bytes()) ^ std::ptr::from_ref(self).addr() as u64
    }

    /// Exchanges in flight here.
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// Idle connections kept.
    pub fn idle(&self) -> usize {
        self.pool.len()
    }

    /// Closes all idle connections and keeps none from here on.
    pub(super) fn withdraw(&self) {
        self.pool.close();
    }
}
