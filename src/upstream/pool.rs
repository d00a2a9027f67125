//! Idle connections to one endpoint, the warmest on top.

use std::cell::{Cell, RefCell};

use crate::net::Socket;
use crate::plan;

struct Idle {
    socket: Socket,
    since_ms: u64,
}

/// A stack of idle connections, bounded in number and age.
pub struct Pool {
    idle: RefCell<Vec<Idle>>,
    /// Connections kept at the most.
    capacity: Cell<usize>,
    /// For how long one is kept.
    idle_ms: Cell<u64>,
    closed: Cell<bool>,
}

impl Pool {
    /// A pool with an upstream's `keepalive` settings.
    pub fn new(plan: &plan::UpstreamPlan) -> Pool {
        Pool {
            idle: RefCell::default(),
            capacity: Cell::new(plan.keepalive),
            idle_ms: Cell::new(idle_ms(plan)),
            closed: Cell::new(false),
        }
    }

    /// Takes other settings; of too many connections the coldest are dropped.
    pub fn configure(&self, plan: &plan::UpstreamPlan) {
        self.capacity.set(plan.keepalive);
        self.idle_ms.set(idle_ms(plan));
        let mut idle = self.idle.borrow_mut();
        let excess = idle.len().saturating_sub(plan.keepalive);
        idle.drain(..excess);
    }

    /// The connection used last, if it is young enough and its peer has stayed silent: one that was
    /// closed meanwhile, or that sent something nobody asked for, is dropped.
    pub fn take(&self, now_ms: u64) -> Option<Socket> {
        loop {
            let Idle { socket, since_ms } = self.idle.borrow_mut().pop()?;
            if now_ms.saturating_sub(since_ms) < self.idle_ms.get() && socket.is_quiet() {
                return Some(socket);
            }
        }
    }

    /// Keeps a connection whose exchange ended cleanly. A full or closed pool drops it.
    pub fn put(&self, socket: Socket, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.capacity.get() && !self.closed.get() {
            idle.push(Idle { socket, since_ms: now_ms });
        }
    }

    /// Drops what is too old or no longer quiet, so that closed connections do not linger.
    pub fn sweep(&self, now_ms: u64) {
        let idle_ms = self.idle_ms.get();
        let good = |idle: &Idle| now_ms.saturating_sub(idle.since_ms) < idle_ms && idle.socket.is_quiet();
        self.idle.borrow_mut().retain(good);
    }

    /// Drops all connections; how many there were.
    pub fn clear(&self) -> usize {
        self.idle.take().len()
    }

    /// Drops all connections, and every one that is still to be put here.
    pub fn close(&self) {
        self.closed.set(true);
        self.clear();
    }

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.idle.borrow().len()
    }
}

fn idle_ms(plan: &plan::UpstreamPlan) -> u64 {
    u64::try_from(plan.keepalive_idle.as_millis()).unwrap_or(u64::MAX)
}
