//! Idle connections to one target, the warmest on top.

use std::cell::RefCell;

use crate::net::Socket;
use crate::plan;

struct Idle {
    socket: Socket,
    since_ms: u64,
}

/// A stack of idle connections, bounded in number and age.
pub struct Pool {
    idle: RefCell<Vec<Idle>>,
    capacity: usize,
    idle_ms: u64,
}

impl Pool {
    /// A pool with an upstream's `keepalive` settings.
    pub fn new(plan: &plan::UpstreamPlan) -> Pool {
        Pool { idle: RefCell::default(), capacity: plan.keepalive, idle_ms: idle_ms(plan) }
    }

    /// Whether a pool made for `plan` would be like this one.
    pub fn has_settings(&self, plan: &plan::UpstreamPlan) -> bool {
        (self.capacity, self.idle_ms) == (plan.keepalive, idle_ms(plan))
    }

    /// The connection used last, if it is young enough and its peer has stayed silent: one that was
    /// closed meanwhile, or that sent something nobody asked for, is dropped.
    pub fn take(&self, now_ms: u64) -> Option<Socket> {
        loop {
            let Idle { socket, since_ms } = self.idle.borrow_mut().pop()?;
            if now_ms.saturating_sub(since_ms) < self.idle_ms && socket.is_quiet() {
                return Some(socket);
            }
        }
    }

    /// Keeps a connection whose exchange ended cleanly. A full pool drops it.
    pub fn put(&self, socket: Socket, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.capacity {
            idle.push(Idle { socket, since_ms: now_ms });
        }
    }

    /// Drops what is too old or no longer quiet, so that closed connections do not linger.
    pub fn sweep(&self, now_ms: u64) {
        let good =
            |idle: &Idle| now_ms.saturating_sub(idle.since_ms) < self.idle_ms && idle.socket.is_quiet();
        self.idle.borrow_mut().retain(good);
    }

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Whether none is idle.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn idle_ms(plan: &plan::UpstreamPlan) -> u64 {
    u64::try_from(plan.keepalive_idle.as_millis()).unwrap_or(u64::MAX)
}
