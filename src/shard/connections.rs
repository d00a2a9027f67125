//! The client connections of a shard: how many are open, which of them has been idle the longest, and how all are ended.
//!
//! Idle ones are in a list by the time since when they are, threaded through the table: to enter and leave it is a few
//! stores, so that every wait for a request can do so.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::task::Waker;

const NONE: u32 = u32::MAX;

/// A connection's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionKey(u32);

struct Entry {
    fd: RawFd,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    is_idle: bool,
    /// The idle neighbours: one has been idle for longer, the other for less long.
    longer: u32,
    shorter: u32,
}

struct Table {
    entries: Vec<Entry>,
    free: Vec<u32>,
    longest_idle: u32,
    shortest_idle: u32,
}

/// The connections that are open.
pub struct Connections(RefCell<Table>);

impl Default for Connections {
    fn default() -> Connections {
        Connections(RefCell::new(Table {
            entries: Vec::new(),
            free: Vec::new(),
            longest_idle: NONE,
            shortest_idle: NONE,
        }))
    }
}

impl Connections {
    /// Counts a connection as open until [`Connections::remove`].
    pub fn add(&self, fd: RawFd) -> ConnectionKey {
        let table = &mut *self.0.borrow_mut();
        let entry = Entry { fd, waker: None, is_idle: false, longer: NONE, shorter: NONE };
        ConnectionKey(match table.free.pop() {
            Some(index) => {
                table.entries[index as usize] = entry;
                index
            }
            None => {
                table.entries.push(entry);
                u32::try_from(table.entries.len() - 1).expect("fewer sockets than 2^32")
            }
        })
    }

    /// The connection has ended.
    pub fn remove(&self, key: ConnectionKey) {
        let table = &mut *self.0.borrow_mut();
        table.set_idle(key.0, false);
        table.entries[key.0 as usize].waker = None;
        table.free.push(key.0);
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        let table = self.0.borrow();
        table.entries.len() - table.free.len()
    }

    /// Keeps what wakes the connection's task, for [`Connections::wake_all`], if it is not known yet.
    pub fn keep_waker(&self, key: ConnectionKey, waker: &Waker) {
        self.0.borrow_mut().entries[key.0 as usize].waker.get_or_insert_with(|| waker.clone());
    }

    /// The connection waits for a request of which nothing has come yet, or no longer does.
    pub fn set_idle(&self, key: ConnectionKey, idle: bool) {
        self.0.borrow_mut().set_idle(key.0, idle);
    }

    /// The descriptor of the connection that has been idle the longest; it counts as idle no more.
    pub fn take_idlest(&self) -> Option<RawFd> {
        let table = &mut *self.0.borrow_mut();
        let index = table.longest_idle;
        let fd = table.entries.get(index as usize)?.fd;
        table.set_idle(index, false);
        Some(fd)
    }

    /// Has the task of every connection be polled.
    pub fn wake_all(&self) {
        let wakers: Vec<Waker> =
            self.0.borrow().entries.iter().filter_map(|entry| entry.waker.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Table {
    fn set_idle(&mut self, index: u32, idle: bool) {
        let entry = &mut self.entries[index as usize];
        if std::mem::replace(&mut entry.is_idle, idle) == idle {
            return;
        }
        if idle {
            let last = std::mem::replace(&mut self.shortest_idle, index);
            (entry.longer, entry.shorter) = (last, NONE);
            match self.entries.get_mut(last as usize) {
                Some(last) => last.shorter = index,
                None => self.longest_idle = index,
            }
            return;
        }
        let (longer, shorter) = (entry.longer, entry.shorter);
        match self.entries.get_mut(longer as usize) {
            Some(longer) => longer.shorter = shorter,
            None => self.longest_idle = shorter,
        }
        match self.entries.get_mut(shorter as usize) {
            Some(shorter) => shorter.longer = longer,
            None => self.shortest_idle = longer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idlest_is_the_one_that_has_been_idle_the_longest() {
        let connections = Connections::default();
        let keys: Vec<_> = (10..15).map(|fd| connections.add(fd)).collect();
        assert_eq!((connections.len(), connections.take_idlest()), (5, None));
        for index in [3, 0, 4, 1] {
            connections.set_idle(keys[index], true);
        }
        // One that has served meanwhile is the last again; one that has ended is gone from between the others.
        connections.set_idle(keys[3], false);
        connections.set_idle(keys[3], true);
        connections.remove(keys[4]);
        connections.set_idle(keys[0], true);
        let mut order = Vec::new();
        while let Some(fd) = connections.take_idlest() {
            order.push(fd);
        }
        assert_eq!(order, [10, 11, 13]);
        assert_eq!(connections.len(), 4);
        connections.set_idle(keys[0], false);
        let again = connections.add(20);
        assert_eq!(again, keys[4]);
        connections.set_idle(again, true);
        assert_eq!(connections.take_idlest(), Some(20));
    }
}
