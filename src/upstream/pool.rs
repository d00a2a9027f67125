//! Idle connections to one endpoint, the warmest on top, within what the endpoint's upstream may keep.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use crate::net::Socket;
use crate::plan;

struct Idle {
    socket: Socket,
    since_ms: u64,
}

type Stack = RefCell<Vec<Idle>>;

/// What one upstream keeps on this shard, over all its endpoints: `keepalive` and `keepalive_idle`.
#[derive(Default)]
pub struct IdleLimit {
    /// Connections kept at the most, and those that are kept.
    most: Cell<usize>,
    kept: Cell<usize>,
    /// For how long one is kept.
    idle_ms: Cell<u64>,
    stacks: RefCell<Vec<Weak<Stack>>>,
}

impl IdleLimit {
    /// Takes an upstream's settings; of too many connections the coldest are dropped.
    pub fn configure(&self, plan: &plan::UpstreamPlan) {
        self.most.set(plan.keepalive);
        self.idle_ms.set(u64::try_from(plan.keepalive_idle.as_millis()).unwrap_or(u64::MAX));
        self.trim();
    }

    fn is_young(&self, idle: &Idle, now_ms: u64) -> bool {
        now_ms.saturating_sub(idle.since_ms) < self.idle_ms.get()
    }

    fn forget(&self, connections: usize) {
        self.kept.set(self.kept.get() - connections);
    }

    /// Drops the coldest connections of whichever endpoint while there are too many.
    fn trim(&self) {
        let mut stacks = self.stacks.borrow_mut();
        while self.kept.get() > self.most.get() {
            stacks.retain(|stack| stack.strong_count() > 0);
            let coldest = stacks.iter().filter_map(Weak::upgrade).filter_map(|stack| {
                let since_ms = stack.borrow().first()?.since_ms;
                Some((since_ms, stack))
            });
            let Some((_, stack)) = coldest.min_by_key(|(since_ms, _)| *since_ms) else { return };
            stack.borrow_mut().remove(0);
            self.forget(1);
        }
    }
}

/// A stack of idle connections.
pub struct Pool {
    idle: Rc<Stack>,
    limit: Rc<IdleLimit>,
    closed: Cell<bool>,
}

impl Pool {
    /// A pool of an upstream with this limit.
    pub fn new(limit: &Rc<IdleLimit>) -> Pool {
        let idle = Rc::new(Stack::default());
        limit.stacks.borrow_mut().push(Rc::downgrade(&idle));
        Pool { idle, limit: limit.clone(), closed: Cell::new(false) }
    }

    /// The connection used last, if it is young enough and its peer has stayed silent: one that was
    /// closed meanwhile, or that sent something nobody asked for, is dropped.
    pub fn take(&self, now_ms: u64) -> Option<Socket> {
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            self.limit.forget(1);
            if self.limit.is_young(&idle, now_ms) && idle.socket.is_quiet() {
                return Some(idle.socket);
            }
        }
    }

    /// Keeps a connection whose exchange ended cleanly; where the upstream has too many, the coldest goes. A closed pool
    /// drops it.
    pub fn put(&self, socket: Socket, now_ms: u64) {
        if self.closed.get() {
            return;
        }
        self.idle.borrow_mut().push(Idle { socket, since_ms: now_ms });
        self.limit.kept.set(self.limit.kept.get() + 1);
        self.limit.trim();
    }

    /// Drops what is too old or no longer quiet, so that closed connections do not linger.
    pub fn sweep(&self, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|idle| self.limit.is_young(idle, now_ms) && idle.socket.is_quiet());
        self.limit.forget(before - idle.len());
    }

    /// Drops all connections; how many there were.
    pub fn clear(&self) -> usize {
        let count = self.idle.take().len();
        self.limit.forget(count);
        count
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

impl Drop for Pool {
    fn drop(&mut self) {
        self.limit.forget(self.len());
    }
}
