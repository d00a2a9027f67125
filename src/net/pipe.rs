//! Long bodies from socket to socket inside the kernel (splice): no byte is copied through the process.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::ClientWatch;
use super::deadline::SocketSide;
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
}

/// A shard's pipes.
#[derive(Default)]
pub struct Pipes(RefCell<Vec<Rc<Pipe>>>);

impl Pipes {
    /// An empty pipe for so much of a body; `None` where copying is right: it is too little, or the
    /// system gives no pipe of a useful size.
    pub fn take_for(&self, bytes: u64) -> Option<Rc<Pipe>> {
        if bytes < WORTH_BYTES {
            return None;
        }
        self.0.borrow_mut().pop().or_else(|| Pipe::new().ok().map(Rc::new))
    }

    /// Takes a pipe back. One with something in it is closed.
    pub fn give_back(&self, pipe: Rc<Pipe>) {
        let mut kept = self.0.borrow_mut();
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
    fn new() -> io::Result<Pipe> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let capacity_bytes = fcntl_setpipe_size(&write, PIPE_BYTES)?;
        if capacity_bytes < LEAST_PIPE_BYTES {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Pipe { read, write, capacity_bytes, held_bytes: Cell::new(0) })
    }

    /// Carries exactly `bytes` from one socket to the other, each wait bounded by its timeout. A client to which they
    /// go is looked after while it waits: that it left ends the transfer as a write that failed would.
    pub async fn carry(
        &self,
        from: RawSocket<'_>,
        to: RawSocket<'_>,
        bytes: u64,
        from_timeout: impl Fn() -> Duration,
        to_timeout: Duration,
    ) -> Carried {
        // A splice honours the socket's own mode, whatever flags it is given.
        let (_from, _to) = (from.nonblocking(), to.nonblocking());
        let mut carried = Carried { bytes: 0, result: Ok(()) };
        let mut left = bytes;
        while left > 0 || self.held_bytes.get() > 0 {
            if left > 0 {
                match self.fill(from, to, left, from_timeout()).await {
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
        if timeout.is_zero() {
            return Err(Stopped::From(io::ErrorKind::TimedOut.into()));
        }
        let room = self.capacity_bytes.min(usize::try_from(left).unwrap_or(usize::MAX));
        // By way of the event loop each time, so that one fast transfer does not keep the others waiting.
        from.set_low_water(room.min(GATHER_BYTES));
        let _ = monoio::time::timeout(GATHER_TIME, from.readable()).await;
        from.set_low_water(1);
        loop {
            match splice(from, None, &self.write, None, room, FLAGS) {
                Ok(0) => return Err(Stopped::From(io::ErrorKind::UnexpectedEof.into())),
                Ok(bytes) => {
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
    let late = matches!(&result, Err(error) if error.kind() == io::ErrorKind::TimedOut);
    if watch.is_some_and(|watch| watch.end(late)) {
        return Err(Stopped::To(io::ErrorKind::ConnectionAborted.into()));
    }
    result.map_err(Stopped::From)
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
