//! Deadlines of all sockets of a shard in one flat table, looked through once a tick.
//!
//! Arming a deadline is one store; there is no timer per operation and nothing to cancel. When one
//! passes, the tick shuts the socket down in that direction: the operation in flight ends by itself,
//! its buffer comes back, and the waiting code finds the slot marked as fired. So no read or write is
//! ever dropped half-way because of a timeout.
//!
//! What can pass: the time of the operation itself, the time of the whole exchange that a socket is used for, and the time
//! in which its peer has to keep its minimum rate.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::expiry::Expiry;
use super::pace::Pace;

/// Time between two looks through the table.
pub const TICK_MS: u64 = 20;

/// No deadline.
pub const NEVER: u64 = u64::MAX;
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
    /// Read, write.
    watches: [Watch; 2],
    /// When the exchange that the socket is used for must be over.
    until_ms: u64,
    /// In bytes a second, what the peer must send and take; 0: any.
    min_rate: u64,
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

/// One direction of a socket.
struct Watch {
    /// When the operation in flight has stalled, and how long it may.
    stalled_at_ms: u64,
    timeout_ms: u64,
    /// What the peer had not taken when the write was last found to stall.
    unsent_bytes: u64,
    /// When to look at the pace of the peer.
    look_at_ms: u64,
    /// Kept once the peer must keep a rate: most need not, and idle connections are to be small.
    pace: Option<Box<Pace>>,
    fired: Option<Expiry>,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            stalled_at_ms: NEVER,
            timeout_ms: 0,
            unsent_bytes: NEVER,
            look_at_ms: NEVER,
            pace: None,
            fired: None,
        }
    }
}

impl Entry {
    fn new(fd: RawFd, side: SocketSide) -> Entry {
        Entry {
            fd,
            side,
            watches: Default::default(),
            until_ms: NEVER,
            min_rate: 0,
            idle: false,
            deaf: false,
            left: false,
            waits_on: NONE,
            waits_since_ms: 0,
        }
    }

    /// When something passes for the operation that is in flight in this direction.
    fn at_ms(&self, direction: Direction) -> u64 {
        let watch = &self.watches[direction as usize];
        watch.stalled_at_ms.min(watch.look_at_ms).min(self.until_ms)
    }

    fn arm(&mut self, direction: Direction, now_ms: u64, timeout_ms: u64) {
        let watch = &mut self.watches[direction as usize];
        watch.stalled_at_ms = now_ms + timeout_ms + TICK_MS;
        watch.timeout_ms = timeout_ms;
        watch.unsent_bytes = NEVER;
        let pace = watch.pace.as_deref_mut();
        watch.look_at_ms = pace.map_or(NEVER, |pace| pace.begin_wait(now_ms, self.min_rate));
    }

    /// Looks at an operation in flight for which something has passed: when to look next, or why it ends.
    fn look(
        &mut self,
        direction: Direction,
        now_ms: u64,
        unsent: &impl Fn(RawFd) -> u64,
    ) -> Result<u64, Expiry> {
        if self.until_ms <= now_ms {
            return Err(Expiry::Overdue);
        }
        let unsent_bytes = if direction == Direction::Write { unsent(self.fd) } else { 0 };
        let watch = &mut self.watches[direction as usize];
        if let Some(pace) = watch.pace.as_deref_mut().filter(|_| watch.look_at_ms <= now_ms) {
            let next_ms = pace.look(now_ms, unsent_bytes, self.min_rate);
            watch.look_at_ms = next_ms.ok_or(Expiry::TooSlow)?;
        }
        if watch.stalled_at_ms <= now_ms {
            if direction == Direction::Read || unsent_bytes >= watch.unsent_bytes {
                return Err(Expiry::Stalled);
            }
            watch.unsent_bytes = unsent_bytes;
            watch.stalled_at_ms = now_ms + watch.timeout_ms;
        }
        Ok(self.at_ms(direction))
    }

    /// An end of its input says nothing about it.
    fn is_deaf(&self) -> bool {
        self.deaf || self.side == SocketSide::Client && self.watches[Direction::Read as usize].fired.is_some()
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

    /// When this much time from now has passed, never early: the clock may be a tick behind. `None`: never.
    pub fn after(&self, timeout: Option<Duration>) -> u64 {
        timeout.map_or(NEVER, |timeout| self.now_ms() + milliseconds(timeout) + TICK_MS)
    }

    /// What is left until then.
    pub fn left_until(&self, until_ms: u64) -> Duration {
        Duration::from_millis(until_ms.saturating_sub(self.now_ms()))
    }

    /// The result of something that is no operation of a socket, and that can be dropped; `None`: not before that time.
    pub async fn within<T>(&self, until_ms: u64, doing: impl Future<Output = T>) -> Option<T> {
        let mut doing = pin!(doing);
        // Nearly always at once, and then there is no timer.
        if until_ms == NEVER {
            return Some(doing.await);
        }
        match poll_fn(|cx| Poll::Ready(doing.as_mut().poll(cx))).await {
            Poll::Ready(done) => Some(done),
            Poll::Pending => monoio::time::timeout(self.left_until(until_ms), doing).await.ok(),
        }
    }

    /// A slot for a socket that was just opened.
    pub fn slot(self: &Rc<Self>, fd: RawFd, side: SocketSide) -> Slot {
        let entry = Entry::new(fd, side);
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
                match entry.look(direction, now_ms, &unsent) {
                    Ok(next_ms) => *at_ms = next_ms,
                    Err(expiry) => {
                        *at_ms = NEVER;
                        entry.watches[direction as usize].fired = Some(expiry);
                        fired.push(Fired { slot: slot as u32, fd: entry.fd, side: entry.side, direction });
                    }
                }
            }
        }
    }

    /// The shard stood still for so long, and can neither have read nor written meanwhile: that time counts against no
    /// peer. To be called before the [`Deadlines::tick`] that follows; what was armed since, by a clock as late, would
    /// otherwise pass at once.
    pub fn forgive(&self, still_ms: u64) {
        let table = &mut *self.table.borrow_mut();
        let put_off = |at_ms: &mut u64| {
            if *at_ms != NEVER {
                *at_ms = at_ms.saturating_add(still_ms);
            }
        };
        table.at_ms.iter_mut().flatten().for_each(put_off);
        for entry in &mut table.entries {
            put_off(&mut entry.until_ms);
            for watch in &mut entry.watches {
                put_off(&mut watch.stalled_at_ms);
                put_off(&mut watch.look_at_ms);
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

    /// How many sockets are open.
    pub fn open(&self) -> usize {
        let table = self.table.borrow();
        table.entries.len() - table.free.len()
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
    /// Arms the deadline of an operation `timeout` from now, never early: the clock may be a tick behind.
    pub fn arm(&self, direction: Direction, timeout: Duration) {
        let now_ms = self.deadlines.now_ms();
        let table = &mut *self.deadlines.table.borrow_mut();
        let entry = &mut table.entries[self.index as usize];
        entry.arm(direction, now_ms, milliseconds(timeout));
        table.at_ms[self.index as usize][direction as usize] = entry.at_ms(direction);
    }

    /// Takes a deadline back.
    pub fn disarm(&self, direction: Direction) {
        self.disarm_after(direction, 0);
    }

    /// Takes a deadline back after an operation that has moved so many bytes.
    pub fn disarm_after(&self, direction: Direction, bytes: usize) {
        let now_ms = self.deadlines.now_ms();
        let table = &mut *self.deadlines.table.borrow_mut();
        table.at_ms[self.index as usize][direction as usize] = NEVER;
        if let Some(pace) = &mut table.entries[self.index as usize].watches[direction as usize].pace {
            pace.end_wait(now_ms, bytes);
        }
    }

    /// From here on the socket is used for an exchange that must be over at this time of the coarse clock, and in which
    /// its peer must keep this rate, in bytes a second (0: any).
    pub fn begin_exchange(&self, until_ms: u64, min_rate: u64) {
        self.entry(|entry| {
            (entry.until_ms, entry.min_rate) = (until_ms, min_rate);
            if min_rate > 0 {
                entry.watches.iter_mut().for_each(|watch| _ = watch.pace.get_or_insert_default());
            }
        });
    }

    /// The exchange is over, or what follows is to be sent whatever the time: neither bound holds any more.
    pub fn end_exchange(&self) {
        self.begin_exchange(NEVER, 0);
    }

    /// # Errors
    /// [`Expiry::Overdue`] once the time of the exchange is up. To be asked before each operation that may not have to
    /// wait: a deadline only ends those that do.
    pub fn check_time(&self) -> io::Result<()> {
        let now_ms = self.deadlines.now_ms();
        if self.entry(|entry| entry.until_ms <= now_ms) { Err(Expiry::Overdue.into()) } else { Ok(()) }
    }

    /// Marks the deadline of this direction as passed; it is for the caller to end the operation in flight.
    pub fn expire(&self, direction: Direction, expiry: Expiry) {
        self.entry(|entry| entry.watches[direction as usize].fired = Some(expiry));
    }

    /// Whether a deadline of this direction has passed since the socket was opened.
    pub fn fired(&self, direction: Direction) -> bool {
        self.expiry(direction).is_some()
    }

    /// Which deadline of this direction has passed since the socket was opened.
    pub fn expiry(&self, direction: Direction) -> Option<Expiry> {
        self.entry(|entry| entry.watches[direction as usize].fired)
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

/// At least one.
fn milliseconds(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_millis()).unwrap_or(NEVER / 2).max(1)
}

#[cfg(test)]
mod tests;
