//! Deadlines of all sockets of a shard in one flat table, looked through once a tick.
//!
//! Arming a deadline is one store; there is no timer per operation and nothing to cancel. When one
//! passes, the tick shuts the socket down in that direction: the operation in flight ends by itself,
//! its buffer comes back, and the waiting code finds the slot marked as fired. So no read or write is
//! ever dropped half-way because of a timeout.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::Duration;

/// Time between two looks through the table.
pub const TICK_MS: u64 = 20;

const NEVER: u64 = u64::MAX;
const NONE: u32 = u32::MAX;

/// Which side of the gateway a socket is on. A client whose read deadline passed can still be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketSide {
    Client,
    Upstream,
}

/// A direction of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

/// What the tick has to do for a deadline that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fired {
    pub slot: u32,
    pub fd: RawFd,
    pub side: SocketSide,
    pub direction: Direction,
}

struct Entry {
    fd: RawFd,
    side: SocketSide,
    fired: [bool; 2],
    /// The write timeout, and the bytes that the peer had not taken when the deadline last passed.
    write_timeout_ms: u64,
    unsent_bytes: u64,
    /// A client between two requests.
    idle: bool,
    /// We ended reading from it, or it may end its body early: an end of its input says nothing about it.
    deaf: bool,
    /// The client left while its exchange waited.
    left: bool,
    /// The upstream's slot for whose bytes this client waits, and since when.
    waits_on: u32,
    waits_since_ms: u64,
}

impl Entry {
    /// An end of its input says nothing about it.
    fn is_deaf(&self) -> bool {
        self.deaf || self.side == SocketSide::Client && self.fired[Direction::Read as usize]
    }
}

#[derive(Default)]
struct Table {
    /// One pair a slot: read, write. Apart from the entries, so that a look is a plain scan.
    at_ms: Vec<[u64; 2]>,
    entries: Vec<Entry>,
    free: Vec<u32>,
}

/// The table, and the shard's coarse clock: milliseconds since the shard began, as of the last tick.
#[derive(Default)]
pub struct Deadlines {
    now_ms: Cell<u64>,
    table: RefCell<Table>,
}

impl Deadlines {
    /// The coarse clock, at most one tick (and one burst of work) old.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// A slot for a socket that was just opened.
    pub fn slot(self: &Rc<Self>, fd: RawFd, side: SocketSide) -> Slot {
        let entry = Entry {
            fd,
            side,
            fired: [false; 2],
            write_timeout_ms: 0,
            unsent_bytes: 0,
            idle: false,
            deaf: false,
            left: false,
            waits_on: NONE,
            waits_since_ms: 0,
        };
        let mut table = self.table.borrow_mut();
        let index = match table.free.pop() {
            Some(index) => {
                table.entries[index as usize] = entry;
                index
            }
            None => {
                table.entries.push(entry);
                table.at_ms.push([NEVER; 2]);
                u32::try_from(table.entries.len() - 1)
                    .expect("fewer sockets than 2^32: the fd limit is far below")
            }
        };
        Slot { deadlines: self.clone(), index }
    }

    /// Sets the clock and collects what passed. `unsent(fd)` tells how many bytes a peer has not
    /// acknowledged: a slow reader that took some since the last look has its write deadline extended.
    pub fn tick(&self, now_ms: u64, unsent: impl Fn(RawFd) -> u64, fired: &mut Vec<Fired>) {
        self.now_ms.set(now_ms);
        let table = &mut *self.table.borrow_mut();
        for (slot, at_ms) in table.at_ms.iter_mut().enumerate() {
            if at_ms[0].min(at_ms[1]) > now_ms {
                continue;
            }
            let entry = &mut table.entries[slot];
            for (direction, at_ms) in [Direction::Read, Direction::Write].into_iter().zip(at_ms) {
                if *at_ms > now_ms {
                    continue;
                }
                if direction == Direction::Write {
                    let unsent_bytes = unsent(entry.fd);
                    if unsent_bytes < entry.unsent_bytes {
                        entry.unsent_bytes = unsent_bytes;
                        *at_ms = now_ms + entry.write_timeout_ms;
                        continue;
                    }
                }
                *at_ms = NEVER;
                entry.fired[direction as usize] = true;
                fired.push(Fired { slot: slot as u32, fd: entry.fd, side: entry.side, direction });
            }
        }
    }

    /// Clients that have waited for bytes of an upstream since before `since_ms`: those whose leaving is looked for.
    pub fn waiting_since(&self, since_ms: u64, out: &mut Vec<(u32, RawFd)>) {
        let table = self.table.borrow();
        for (slot, entry) in table.entries.iter().enumerate() {
            if entry.waits_on != NONE && !entry.is_deaf() && entry.waits_since_ms <= since_ms {
                out.push((slot as u32, entry.fd));
            }
        }
    }

    /// Marks a client as gone; returns the upstream socket whose exchange is thereby without a reader.
    pub fn mark_left(&self, slot: u32) -> Option<RawFd> {
        let table = &mut *self.table.borrow_mut();
        let entry = &mut table.entries[slot as usize];
        entry.left = true;
        let upstream = std::mem::replace(&mut entry.waits_on, NONE);
        table.entries.get(upstream as usize).map(|entry| entry.fd)
    }

    /// File descriptors of all sockets that are open.
    pub fn all(&self) -> Vec<RawFd> {
        let table = self.table.borrow();
        let free: HashSet<u32> = table.free.iter().copied().collect();
        let open = |slot: &usize| !free.contains(&(*slot as u32));
        (0..table.entries.len()).filter(open).map(|slot| table.entries[slot].fd).collect()
    }

    /// File descriptors of the clients that are between two requests, from which nothing more is to be read.
    pub fn silence_idle_clients(&self) -> Vec<RawFd> {
        let entries = &mut self.table.borrow_mut().entries;
        let silence = |entry: &mut Entry| {
            entry.deaf = true;
            entry.fd
        };
        entries.iter_mut().filter(|entry| entry.idle).map(silence).collect()
    }
}

/// A socket's place in the table; dropped before the socket closes.
pub struct Slot {
    deadlines: Rc<Deadlines>,
    index: u32,
}

impl Slot {
    /// Arms a deadline `timeout` from now, never early: the clock may be a tick behind.
    pub fn arm(&self, direction: Direction, timeout: Duration) {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(NEVER / 2).max(1);
        self.arm_at(direction, self.deadlines.now_ms() + timeout_ms + TICK_MS);
        if direction == Direction::Write {
            self.entry(|entry| {
                entry.write_timeout_ms = timeout_ms;
                entry.unsent_bytes = NEVER;
            });
        }
    }

    /// Arms a deadline at a time of the coarse clock.
    pub fn arm_at(&self, direction: Direction, at_ms: u64) {
        self.deadlines.table.borrow_mut().at_ms[self.index as usize][direction as usize] = at_ms;
    }

    /// Takes a deadline back.
    pub fn disarm(&self, direction: Direction) {
        self.arm_at(direction, NEVER);
    }

    /// Whether a deadline of this direction has passed since the socket was opened.
    pub fn fired(&self, direction: Direction) -> bool {
        self.entry(|entry| entry.fired[direction as usize])
    }

    /// Marks a client as between two requests, or not.
    pub fn set_idle(&self, idle: bool) {
        self.entry(|entry| entry.idle = idle);
    }

    /// From here on this client waits for bytes of `upstream`.
    pub fn wait_on(&self, upstream: &Slot) {
        let now_ms = self.deadlines.now_ms();
        self.entry(|entry| (entry.waits_on, entry.waits_since_ms) = (upstream.index, now_ms));
    }

    /// The wait is over; true when the client left meanwhile.
    pub fn stop_waiting(&self) -> bool {
        self.entry(|entry| {
            entry.waits_on = NONE;
            entry.left
        })
    }

    /// Which side of the gateway the socket is on.
    pub fn side(&self) -> SocketSide {
        self.entry(|entry| entry.side)
    }

    /// From here on an end of its input does not mean that the client left.
    pub fn set_deaf(&self) {
        self.entry(|entry| entry.deaf = true);
    }

    /// Whether an end of its input says nothing about the peer, because we ended reading from it for one.
    pub fn is_deaf(&self) -> bool {
        self.entry(|entry| entry.is_deaf())
    }

    fn entry<T>(&self, with: impl FnOnce(&mut Entry) -> T) -> T {
        with(&mut self.deadlines.table.borrow_mut().entries[self.index as usize])
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let table = &mut *self.deadlines.table.borrow_mut();
        table.at_ms[self.index as usize] = [NEVER; 2];
        let entry = &mut table.entries[self.index as usize];
        (entry.idle, entry.waits_on) = (false, NONE);
        table.free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticked(deadlines: &Deadlines, now_ms: u64, unsent: u64) -> Vec<Fired> {
        let mut fired = Vec::new();
        deadlines.tick(now_ms, |_| unsent, &mut fired);
        fired
    }

    #[test]
    fn a_deadline_fires_once_and_never_early() {
        let deadlines = Rc::new(Deadlines::default());
        let slot = deadlines.slot(7, SocketSide::Client);
        slot.arm(Direction::Read, Duration::from_millis(100));
        assert_eq!(ticked(&deadlines, 100, 0), []);
        assert!(!slot.fired(Direction::Read));
        let fired = Fired { slot: 0, fd: 7, side: SocketSide::Client, direction: Direction::Read };
        assert_eq!(ticked(&deadlines, 100 + TICK_MS, 0), [fired]);
        assert!(slot.fired(Direction::Read) && !slot.fired(Direction::Write));
        assert_eq!(ticked(&deadlines, 10_000, 0), []);
    }

    #[test]
    fn a_disarmed_or_dropped_slot_does_not_fire_and_its_place_is_used_again() {
        let deadlines = Rc::new(Deadlines::default());
        let (first, second) =
            (deadlines.slot(1, SocketSide::Client), deadlines.slot(2, SocketSide::Upstream));
        first.arm(Direction::Read, Duration::from_millis(1));
        first.disarm(Direction::Read);
        second.arm(Direction::Write, Duration::from_millis(1));
        drop(second);
        assert_eq!(ticked(&deadlines, 1_000, 0), []);
        let third = deadlines.slot(3, SocketSide::Client);
        assert_eq!(third.index, 1);
        assert!(!third.fired(Direction::Write));
    }

    #[test]
    fn a_slow_reader_is_spared_as_long_as_it_takes_bytes() {
        let deadlines = Rc::new(Deadlines::default());
        let slot = deadlines.slot(1, SocketSide::Client);
        slot.arm(Direction::Write, Duration::from_millis(100));
        assert_eq!(ticked(&deadlines, 200, 5_000), []);
        assert_eq!(ticked(&deadlines, 301, 4_000), []);
        assert_eq!(ticked(&deadlines, 402, 4_000).len(), 1);
    }

    #[test]
    fn a_client_that_left_names_the_upstream_it_waited_on() {
        let deadlines = Rc::new(Deadlines::default());
        let (client, upstream) =
            (deadlines.slot(1, SocketSide::Client), deadlines.slot(2, SocketSide::Upstream));
        client.wait_on(&upstream);
        let mut waiting = Vec::new();
        deadlines.waiting_since(0, &mut waiting);
        assert_eq!(waiting, [(0, 1)]);
        assert_eq!(deadlines.mark_left(0), Some(2));
        assert!(client.stop_waiting());
    }

    #[test]
    fn a_client_whose_body_was_late_is_not_taken_for_one_that_left() {
        let deadlines = Rc::new(Deadlines::default());
        let (client, upstream) =
            (deadlines.slot(1, SocketSide::Client), deadlines.slot(2, SocketSide::Upstream));
        client.arm(Direction::Read, Duration::from_millis(1));
        assert_eq!(ticked(&deadlines, 1_000, 0).len(), 1);
        client.wait_on(&upstream);
        let mut waiting = Vec::new();
        deadlines.waiting_since(u64::MAX, &mut waiting);
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_client_that_got_its_head_is_no_longer_looked_at() {
        let deadlines = Rc::new(Deadlines::default());
        let (client, upstream) =
            (deadlines.slot(1, SocketSide::Client), deadlines.slot(2, SocketSide::Upstream));
        client.wait_on(&upstream);
        assert!(!client.stop_waiting());
        let mut waiting = Vec::new();
        deadlines.waiting_since(u64::MAX, &mut waiting);
        assert!(waiting.is_empty());
    }

    #[test]
    fn idle_clients_are_known() {
        let deadlines = Rc::new(Deadlines::default());
        let slot = deadlines.slot(9, SocketSide::Client);
        assert!(deadlines.silence_idle_clients().is_empty());
        slot.set_idle(true);
        assert_eq!(deadlines.silence_idle_clients(), [9]);
        drop(slot);
        assert!(deadlines.silence_idle_clients().is_empty());
    }

    #[test]
    fn a_client_whose_reading_we_ended_is_not_taken_for_one_that_left() {
        let deadlines = Rc::new(Deadlines::default());
        let (client, upstream) =
            (deadlines.slot(1, SocketSide::Client), deadlines.slot(2, SocketSide::Upstream));
        client.set_idle(true);
        assert_eq!(deadlines.silence_idle_clients(), [1]);
        client.set_idle(false);
        client.wait_on(&upstream);
        let mut waiting = Vec::new();
        deadlines.waiting_since(u64::MAX, &mut waiting);
        assert!(waiting.is_empty());
    }
}
