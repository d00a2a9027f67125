//! A TCP or Unix stream on the shard's event loop. **The one file with `unsafe`**: monoio asks for
//! `&mut` where a read and a write of one socket run at the same time, and four system calls have no
//! safe wrapper that takes a descriptor the event loop owns.
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio::net::{TcpStream, UnixStream};
use socket2::SockRef;

use super::deadline::{Deadlines, Direction, Slot, SocketSide};
use super::expiry::Expiry;

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How a write ended.
pub struct Written {
    pub result: io::Result<()>,
    /// What the kernel took: after an error the peer may have some of it.
    pub sent_bytes: usize,
    /// The buffer back, whole.
    pub buffer: Vec<u8>,
}

/// A connected socket with its place in the deadline table. Clones share both.
///
/// At most one read and one write may be in flight at a time. Dropping either in flight loses bytes,
/// so whoever drops one also gives up the socket.
#[derive(Clone)]
pub struct Socket(Rc<Inner>);

struct Inner {
    // First, so that the slot is free before the descriptor can be used again.
    slot: Slot,
    fd: RawFd,
    /// Operations one after the other that did not have to wait.
    in_a_row: Cell<u32>,
    /// [`NonBlocking`] guards alive.
    nonblocking: Cell<u32>,
    stream: UnsafeCell<Stream>,
}

/// A socket whose descriptor carries the very bytes of the messages, so that the kernel may move them from one to the
/// other. Where a layer stands between (TLS), there is none.
#[derive(Clone, Copy)]
pub struct RawSocket<'a>(&'a Socket);

impl std::ops::Deref for RawSocket<'_> {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        self.0
    }
}

impl<'a> RawSocket<'a> {
    /// The socket itself.
    pub fn socket(self) -> &'a Socket {
        self.0
    }
}

impl AsFd for RawSocket<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Keeps a socket non-blocking, which system calls made outside of the event loop need and io_uring does not.
pub struct NonBlocking<'a>(&'a Socket);

impl Drop for NonBlocking<'_> {
    fn drop(&mut self) {
        let guards = &self.0.0.nonblocking;
        guards.set(guards.get() - 1);
        if guards.get() == 0 {
            self.0.set_nonblocking(monoio::utils::is_legacy());
        }
    }
}

/// A socket that waits for much to come. With the guard the first byte counts again, also for whoever uses the socket
/// after a wait that was dropped.
pub struct LowWater<'a>(&'a Socket);

impl Drop for LowWater<'_> {
    fn drop(&mut self) {
        self.0.set_low_water(1);
    }
}

impl Socket {
    /// A TCP stream of this shard.
    pub fn tcp(stream: TcpStream, side: SocketSide, deadlines: &Rc<Deadlines>) -> Socket {
        Self::new(stream.as_raw_fd(), Stream::Tcp(stream), side, deadlines)
    }

    /// A Unix stream of this shard.
    pub fn unix(stream: UnixStream, side: SocketSide, deadlines: &Rc<Deadlines>) -> Socket {
        Self::new(stream.as_raw_fd(), Stream::Unix(stream), side, deadlines)
    }

    fn new(fd: RawFd, stream: Stream, side: SocketSide, deadlines: &Rc<Deadlines>) -> Socket {
        let slot = deadlines.slot(fd, side);
        Socket(Rc::new(Inner {
            slot,
            fd,
            in_a_row: Cell::new(0),
            nonblocking: Cell::new(0),
            stream: UnsafeCell::new(stream),
        }))
    }

    /// The socket's place in the deadline table.
    pub fn slot(&self) -> &Slot {
        &self.0.slot
    }

    /// The socket as one that bytes may be spliced from and to; `None` where that would pass a layer by.
    pub fn raw(&self) -> Option<RawSocket<'_>> {
        match self.stream() {
            Stream::Tcp(_) | Stream::Unix(_) => Some(RawSocket(self)),
        }
    }

    /// The stream, for starting one operation.
    #[expect(clippy::mut_from_ref, reason = "one operation each direction: see the safety comment")]
    fn stream(&self) -> &mut Stream {
        // SAFETY: a `Socket` never leaves its thread (`Rc`). The reference is used to build one
        // operation, which clones the descriptor; monoio's own `OwnedReadHalf`/`OwnedWriteHalf` do
        // the same. A read touches nothing that a write touches.
        unsafe { &mut *self.0.stream.get() }
    }

    /// Waits until there is something to read (or the end), holding no buffer meanwhile.
    pub async fn readable(&self) -> io::Result<()> {
        match self.stream() {
            Stream::Tcp(stream) => self.fairly(pin!(stream.readable(false))).await,
            Stream::Unix(stream) => self.fairly(pin!(stream.readable(false))).await,
        }
    }

    /// Runs an operation, and pauses after many in a row that were ready at once: on epoll such a task
    /// never gives way, and neither the others nor the clock would ever have their turn. (monoio puts a
    /// task that wakes itself in front of all others, so only a timer gives way.)
    async fn fairly<T>(&self, mut operation: Pin<&mut impl Future<Output = T>>) -> T {
        const MAX_IN_A_ROW: u32 = 64;
        const PAUSE: Duration = Duration::from_millis(1);
        let mut at_once = true;
        let result = poll_fn(|cx| {
            let polled = operation.as_mut().poll(cx);
            at_once &= polled.is_ready();
            polled
        })
        .await;
        let in_a_row = if at_once { self.0.in_a_row.get() + 1 } else { 0 };
        self.0.in_a_row.set(in_a_row % MAX_IN_A_ROW);
        if in_a_row == MAX_IN_A_ROW {
            Box::pin(monoio::time::sleep(PAUSE)).await;
        }
        result
    }

    /// Like [`readable`](Self::readable), ended by a deadline: then `ErrorKind::TimedOut`, with an [`Expiry`].
    pub async fn readable_within(&self, timeout: Duration) -> io::Result<()> {
        self.0.slot.arm(Direction::Read, timeout);
        let result = self.readable().await;
        self.0.slot.disarm(Direction::Read);
        self.0.slot.expiry(Direction::Read).map_or(result, |expiry| Err(expiry.into()))
    }

    /// Waits until the peer takes more; nothing for `timeout` (to twice it) is `ErrorKind::TimedOut`, as is any other
    /// [`Expiry`].
    pub async fn writable_within(&self, timeout: Duration) -> io::Result<()> {
        self.0.slot.arm(Direction::Write, timeout);
        let result = match self.stream() {
            Stream::Tcp(stream) => self.fairly(pin!(stream.writable(false))).await,
            Stream::Unix(stream) => self.fairly(pin!(stream.writable(false))).await,
        };
        self.0.slot.disarm(Direction::Write);
        self.0.slot.expiry(Direction::Write).map_or(result, |expiry| Err(expiry.into()))
    }

    /// Reads once, behind what `buffer` holds and within its capacity (which must not be used up).
    /// `Ok(0)` is the end, or a read deadline that passed.
    pub async fn read(&self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let filled = buffer.len();
        let part = buffer.slice_mut(filled..);
        let (result, part) = match self.stream() {
            Stream::Tcp(stream) => self.fairly(pin!(stream.read(part))).await,
            Stream::Unix(stream) => self.fairly(pin!(stream.read(part))).await,
        };
        (result, part.into_inner())
    }

    /// Like [`read`](Self::read), ended by the read deadline that is armed: then `ErrorKind::TimedOut`.
    /// The deadline is disarmed afterwards.
    pub async fn read_until_deadline(&self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let (result, buffer) = self.read(buffer).await;
        self.0.slot.disarm_after(Direction::Read, *result.as_ref().unwrap_or(&0));
        // Even when bytes came after all: a shut-down socket may go on giving what it had queued.
        let result = self.0.slot.expiry(Direction::Read).map_or(result, |expiry| Err(expiry.into()));
        (result, buffer)
    }

    /// Like [`read`](Self::read), ended by a deadline: then `ErrorKind::TimedOut`, with an [`Expiry`]. A timeout of zero
    /// has passed already, as an exchange may have: a deadline would never end the reads of a peer that always has
    /// something to give.
    pub async fn read_within(&self, buffer: Vec<u8>, timeout: Duration) -> (io::Result<usize>, Vec<u8>) {
        if timeout.is_zero() {
            return (Err(Expiry::Stalled.into()), buffer);
        }
        if let Err(error) = self.0.slot.check_time() {
            return (Err(error), buffer);
        }
        self.0.slot.arm(Direction::Read, timeout);
        self.read_until_deadline(buffer).await
    }

    /// Writes `buffer[..to]`; a peer that takes nothing for `timeout` (to twice it) ends it with
    /// `ErrorKind::TimedOut`, as does any other [`Expiry`].
    pub async fn write(&self, mut buffer: Vec<u8>, to: usize, timeout: Duration) -> Written {
        let mut sent_bytes = 0;
        while sent_bytes < to {
            self.0.slot.arm(Direction::Write, timeout);
            let part = buffer.slice(sent_bytes..to);
            let (result, part) = match self.stream() {
                Stream::Tcp(stream) => self.fairly(pin!(stream.write(part))).await,
                Stream::Unix(stream) => self.fairly(pin!(stream.write(part))).await,
            };
            self.0.slot.disarm_after(Direction::Write, *result.as_ref().unwrap_or(&0));
            buffer = part.into_inner();
            let error = match result {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(sent) => {
                    sent_bytes += sent;
                    continue;
                }
                Err(error) => self.0.slot.expiry(Direction::Write).map_or(error, Into::into),
            };
            return Written { result: Err(error), sent_bytes, buffer };
        }
        Written { result: Ok(()), sent_bytes, buffer }
    }

    /// Writes all of `buffer`.
    pub async fn write_all(&self, buffer: Vec<u8>, timeout: Duration) -> Written {
        let to = buffer.len();
        self.write(buffer, to, timeout).await
    }

    /// Ends the read in flight as if its deadline had passed. A client can still be answered.
    pub fn end_reading(&self, expiry: Expiry) {
        self.0.slot.expire(Direction::Read, expiry);
        shut_down(self.0.fd, libc::SHUT_RD);
    }

    /// No more bytes from us; what was written still goes out.
    pub fn finish_writing(&self) {
        shut_down(self.0.fd, libc::SHUT_WR);
    }

    /// Ends the connection so that the peer sees an error (RST), not an orderly end: for answers cut short.
    pub fn abort(&self) {
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    /// Small writes go out at once. Unix sockets know no such thing.
    pub fn set_nodelay(&self) {
        if let Stream::Tcp(stream) = self.stream() {
            // Fails only on a socket that is gone already; the next operation says so.
            let _ = stream.set_nodelay(true);
        }
    }

    /// Non-blocking until the last of these guards is gone.
    pub fn nonblocking(&self) -> NonBlocking<'_> {
        let guards = &self.0.nonblocking;
        if guards.get() == 0 {
            self.set_nonblocking(true);
        }
        guards.set(guards.get() + 1);
        NonBlocking(self)
    }

    fn set_nonblocking(&self, on: bool) {
        // Fails on no open socket.
        let _ = rustix::io::ioctl_fionbio(self, on);
    }

    /// Has the socket count as readable from so many bytes on (or at its end), until the guard is dropped. Not every kind
    /// of socket heeds it.
    pub fn low_water(&self, bytes: usize) -> LowWater<'_> {
        self.set_low_water(bytes);
        LowWater(self)
    }

    fn set_low_water(&self, bytes: usize) {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        // SAFETY: the option takes one int, and this is one; a failure leaves the mark where it was.
        unsafe {
            libc::setsockopt(
                self.0.fd,
                libc::SOL_SOCKET,
                libc::SO_RCVLOWAT,
                (&raw const bytes).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
    }

    /// Whether something has come that was not read.
    pub fn has_unread(&self) -> bool {
        rustix::io::ioctl_fionread(self).is_ok_and(|bytes| bytes > 0)
    }

    /// Whether the peer has closed, half-closed or reset. What was done to the socket on this side does not count.
    pub fn has_left(&self) -> bool {
        !self.slot().is_deaf() && closed_by_peer(std::iter::once(self.0.fd)) == [true]
    }

    /// Whether the peer has neither closed nor sent anything: what an idle pooled connection must be.
    pub fn is_quiet(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.0.fd, events: libc::POLLIN | libc::POLLRDHUP, revents: 0 };
        // SAFETY: the pointer is to one live entry; a timeout of 0 never blocks.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 0 }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.0.fd) }
    }
}

/// Ends the operations in flight whose deadline passed: a client's read (it can still be answered), or all of a socket.
pub fn expire(fd: RawFd, side: SocketSide, direction: Direction) {
    let how = if side == SocketSide::Client && direction == Direction::Read {
        libc::SHUT_RD
    } else {
        libc::SHUT_RDWR
    };
    shut_down(fd, how);
}

/// Ends everything on every socket of a shard that died, so that no peer waits for it.
pub fn shut_down_all(deadlines: &Deadlines) {
    deadlines.all().into_iter().for_each(|fd| shut_down(fd, libc::SHUT_RDWR));
}

/// Ends reading on a client between two requests; a request that has arrived is still read.
pub fn stop_reading(fd: RawFd) {
    shut_down(fd, libc::SHUT_RD);
}

/// Bytes written that the peer has not acknowledged.
pub fn unsent_bytes(fd: RawFd) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int; a descriptor of another kind makes it fail and leaves it alone.
    unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes) };
    u64::try_from(bytes).unwrap_or(0)
}

/// Which of these sockets' peers have closed or reset. One system call for all.
pub fn closed_by_peer(fds: impl Iterator<Item = RawFd>) -> Vec<bool> {
    const GONE: libc::c_short = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
    let mut polls: Vec<_> = fds.map(|fd| libc::pollfd { fd, events: libc::POLLRDHUP, revents: 0 }).collect();
    // SAFETY: the pointer and length are of one live vector; a timeout of 0 never blocks.
    unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 0) };
    polls.iter().map(|poll| poll.revents & GONE != 0).collect()
}

fn shut_down(fd: RawFd, how: libc::c_int) {
    // SAFETY: a plain system call. Descriptors come from slots of open sockets; an error (the peer
    // was faster) changes nothing.
    unsafe { libc::shutdown(fd, how) };
}
