//! Long bodies from socket to socket inside the kernel (splice): no byte is copied through the process.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::ClientWatch;
use super::deadline::{Direction, SocketSide};
use super::expiry::Expiry;
use super::socket::RawSocket;

/// From so many bytes of a body on, splicing is cheaper than copying through a buffer.
const WORTH_BYTES: u64 = 64 * 1024;
/// What a pipe is asked to hold: the most that an ordinary user may.
const PIPE_BYTES: usize = 1024 * 1024;
/// A pipe that holds less is no gain. The kernel gives such to users with many pipes open.
const LEAST_PIPE_BYTES: usize = 128 * 1024;
/// So much is let gather in the kernel before it is moved on, for so long at the most: few large moves
/// cost half of what many small ones do.
const GATHER_BYTES: usize = 512 * 1024;
const GATHER_TIME: Duration = Duration::from_millis(10);
/// How many empty pipes a shard keeps.
const KEPT: usize = 32;

/// A pipe, empty between two uses.
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity_bytes: usize,
    held_bytes: Cell<usize>,
    _open: Rc<()>,
}

/// A shard's pipes.
pub struct Pipes {
    kept: RefCell<Vec<Rc<Pipe>>>,
    /// Every pipe holds it, so its references count the pipes.
    open: Rc<()>,
    max: usize,
}

impl Pipes {
    /// At most `max` are open at a time.
    pub fn new(max: usize) -> Pipes {
        Pipes { kept: RefCell::default(), open: Rc::new(()), max }
    }

    /// An empty pipe for so much of a body; `None` where copying is right: it is too little, there
    /// are too many already, or the system gives no pipe of a useful size.
    pub fn take_for(&self, bytes: u64) -> Option<Rc<Pipe>> {
        if bytes < WORTH_BYTES {
            return None;
        }
        if let Some(kept) = self.kept.borrow_mut().pop() {
            return Some(kept);
        }
        let is_full = Rc::strong_count(&self.open) > self.max;
        if is_full { None } else { Pipe::new(self.open.clone()).ok().map(Rc::new) }
    }

    /// Takes a pipe back. One with something in it is closed.
    pub fn give_back(&self, pipe: Rc<Pipe>) {
        let mut kept = self.kept.borrow_mut();
        if pipe.held_bytes.get() == 0 && kept.len() < KEPT {
            kept.push(pipe);
        }
    }
}

/// How far bytes were carried, and what stopped them.
pub struct Carried {
    /// Bytes that `to` has taken.
    pub bytes: u64,
    pub result: Result<(), Stopped>,
}

/// Which side ended a transfer early.
pub enum Stopped {
    /// The sender closed (`UnexpectedEof`), stalled (`TimedOut`) or failed.
    From(io::Error),
    /// The receiver took nothing for too long (`TimedOut`) or failed.
    To(io::Error),
}

impl Pipe {
    fn new(open: Rc<()>) -> io::Result<Pipe> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let capacity_bytes = fcntl_setpipe_size(&write, PIPE_BYTES)?;
        if capacity_bytes < LEAST_PIPE_BYTES {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Pipe { read, write, capacity_bytes, held_bytes: Cell::new(0), _open: open })
    }

    /// Carries exactly `bytes` from one socket to the other, each wait bounded by its timeout. A client to which they
    /// go is looked after while it waits: that it left ends the transfer as a write that failed would.
    pub async fn carry(
        &self,
        from: RawSocket<'_>,
        to: RawSocket<'_>,
        bytes: u64,
        from_timeout: Duration,
        to_timeout: Duration,
    ) -> Carried {
        // A splice honours the socket's own mode, whatever flags it is given.
        let (_from, _to) = (from.nonblocking(), to.nonblocking());
        let mut carried = Carried { bytes: 0, result: Ok(()) };
        let mut left = bytes;
        while left > 0 || self.held_bytes.get() > 0 {
            if left > 0 {
                match self.fill(from, to, left, from_timeout).await {
                    Ok(filled) => left -= filled as u64,
                    Err(stopped) => {
                        carried.result = Err(stopped);
                        break;
                    }
                }
            }
            let drained = self.drain(to, left > 0, to_timeout).await;
            carried.bytes += drained.0 as u64;
            if let Err(error) = drained.1 {
                carried.result = Err(Stopped::To(error));
                break;
            }
        }
        carried
    }

    /// Waits until something is there and moves what fits into the pipe.
    async fn fill(
        &self,
        from: RawSocket<'_>,
        to: RawSocket<'_>,
        left: u64,
        timeout: Duration,
    ) -> Result<usize, Stopped> {
        // As with `Socket::read_within`: the time is up, though there may be something to move.
        from.slot().check_time().map_err(Stopped::From)?;
        let room = self.capacity_bytes.min(usize::try_from(left).unwrap_or(usize::MAX));
        // By way of the event loop each time, so that one fast transfer does not keep the others waiting.
        {
            let _low_water = from.low_water(room.min(GATHER_BYTES));
            let _ = monoio::time::timeout(GATHER_TIME, from.readable_within(timeout)).await;
        }
        // Should the wait have been dropped. It counts all the same.
        from.slot().disarm(Direction::Read);
        if let Some(expiry) = from.slot().expiry(Direction::Read) {
            return Err(Stopped::From(expiry.into()));
        }
        loop {
            match splice(from, None, &self.write, None, room, FLAGS) {
                Ok(0) => return Err(Stopped::From(io::ErrorKind::UnexpectedEof.into())),
                Ok(bytes) => {
                    from.slot().disarm_after(Direction::Read, bytes);
                    self.held_bytes.set(bytes);
                    return Ok(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(from, to, timeout).await?,
                Err(error) => return Err(Stopped::From(error.into())),
            }
        }
    }

    /// Moves all that the pipe holds into the socket. `more`: the message goes on after this.
    async fn drain(&self, to: RawSocket<'_>, more: bool, timeout: Duration) -> (usize, io::Result<()>) {
        let flags = if more { FLAGS | SpliceFlags::MORE } else { FLAGS };
        let mut drained = 0;
        while self.held_bytes.get() > 0 {
            match splice(&self.read, None, to, None, self.held_bytes.get(), flags) {
                Ok(0) => return (drained, Err(io::ErrorKind::WriteZero.into())),
                Ok(bytes) => {
                    to.slot().disarm_after(Direction::Write, bytes);
                    drained += bytes;
                    self.held_bytes.set(self.held_bytes.get() - bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = to.writable_within(timeout).await {
                        return (drained, Err(error));
                    }
                }
                Err(error) => return (drained, Err(error.into())),
            }
        }
        (drained, Ok(()))
    }
}

/// Waits until the sender has something, for as long as a client that waits for it is there.
async fn wait(from: RawSocket<'_>, to: RawSocket<'_>, timeout: Duration) -> Result<(), Stopped> {
    let watch = (to.slot().side() == SocketSide::Client).then(|| ClientWatch::begin(to.socket(), &from));
    let result = from.readable_within(timeout).await;
    let late = result.as_ref().is_err_and(|error| Expiry::of(error).is_some());
    if watch.is_some_and(|watch| watch.end(late)) {
        return Err(Stopped::To(io::ErrorKind::ConnectionAborted.into()));
    }
    result.map_err(Stopped::From)
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::net::deadline::{Deadlines, SocketSide};
    use crate::net::socket::Socket;

    /// A socket of the gateway's, and its peer.
    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (accepted, _) = listener.accept().expect("there is a connection");
        accepted.set_nonblocking(true).expect("an open socket");
        let stream = monoio::net::TcpStream::from_std(accepted).expect("an open socket");
        (Socket::tcp(stream, SocketSide::Client, &Rc::new(Deadlines::default())), peer)
    }

    #[test]
    fn a_transfer_that_is_dropped_while_it_waits_for_much_leaves_a_socket_that_hears_little() {
        let builder = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer();
        builder.build().expect("epoll works").block_on(async {
            let ((from, mut sender), (to, _taker)) = (pair(), pair());
            let pipe = Pipe::new(Rc::default()).expect("a pipe");
            {
                let (raw_from, raw_to) = (from.raw().expect("TCP"), to.raw().expect("TCP"));
                let minute = Duration::from_secs(60);
                let mut carrying = pin!(pipe.carry(raw_from, raw_to, 1_000_000, minute, minute));
                let begun = poll_fn(|cx| Poll::Ready(carrying.as_mut().poll(cx).is_ready())).await;
                assert!(!begun, "nothing is there yet");
            }
            sender.write_all(b"x").expect("connected");
            let heard = monoio::time::timeout(Duration::from_secs(5), from.readable()).await;
            assert!(heard.is_ok_and(|readable| readable.is_ok()), "one byte is something to read");
        });
    }
}
