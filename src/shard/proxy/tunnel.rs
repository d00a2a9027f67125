//! After an upgrade: bytes both ways, each direction ending by itself (half-close), an idle tunnel holding no buffer.
//!
//! Neither side's bytes are interpreted; steps and scripts have ended with the 101.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::net::deadline::Direction;
use crate::net::{Buffers, Socket};
use crate::shard::h1::connection::Connection;
use crate::shard::turn::TurnRecord;

/// An exchange that both sides have agreed to go on with in another protocol.
pub struct Upgraded {
    pub upstream: Socket,
    /// What the upstream has sent of the new protocol already.
    pub first: Vec<u8>,
    /// How long neither side may send a byte.
    pub idle_timeout: Duration,
}

/// An upgraded exchange, with what its line in the log needs.
pub struct Tunnel {
    pub upgraded: Upgraded,
    pub record: TurnRecord,
}

/// One direction.
/// `bytes` counts what was written to `to`, which is what the log shows.
struct Lane<'a> {
    from: &'a Socket,
    to: &'a Socket,
    open: Cell<bool>,
    bytes: Cell<u64>,
}

/// Carries bytes until both sides have ended, one of them fails, or neither has sent a byte for `idle_timeout`.
pub async fn run(connection: &mut Connection, tunnel: Box<Tunnel>) {
    let Tunnel { upgraded, mut record } = *tunnel;
    record.shrink();
    let Upgraded { upstream, first: first_down, idle_timeout } = upgraded;
    let (shard, upstream) = (&connection.shard, &upstream);
    let _open = OpenTunnel::new(&shard.metrics.tunnels_open);
    let first_up = std::mem::take(&mut connection.input);
    let client = &connection.socket;
    let up = Lane { from: client, to: upstream, open: Cell::new(true), bytes: Cell::new(0) };
    let down = Lane { from: upstream, to: client, open: Cell::new(true), bytes: Cell::new(0) };
    let writing = Cell::new(0_u32);
    // A write has its own deadline, which a slow reader that takes bytes has extended.
    let stay_awake = |writes: i32| {
        writing.set(writing.get().saturating_add_signed(writes));
        for lane in [&up, &down].into_iter().filter(|lane| lane.open.get()) {
            match writing.get() {
                0 => lane.from.slot().arm(Direction::Read, idle_timeout),
                _ => lane.from.slot().disarm(Direction::Read),
            }
        }
    };
    stay_awake(0);
    let mut upward = pin!(up.carry(first_up, &shard.buffers, idle_timeout, &stay_awake));
    let mut downward = pin!(down.carry(first_down, &shard.buffers, idle_timeout, &stay_awake));
    poll_fn(|cx| {
        for (lane, carrying) in
            [(&up, upward.as_mut() as std::pin::Pin<&mut dyn Future<Output = _>>), (&down, downward.as_mut())]
        {
            if lane.open.get()
                && let Poll::Ready(result) = carrying.poll(cx)
            {
                lane.open.set(false);
                lane.from.slot().disarm(Direction::Read);
                if result.is_err() {
                    return Poll::Ready(());
                }
            }
        }
        if up.open.get() || down.open.get() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    record.log.add_in(usize::try_from(up.bytes.get()).unwrap_or(usize::MAX));
    record.log.bytes_out += down.bytes.get();
    record.finish();
}

/// Counts a tunnel as open, however it ends.
struct OpenTunnel<'a>(&'a Cell<u64>);

impl<'a> OpenTunnel<'a> {
    fn new(open: &'a Cell<u64>) -> OpenTunnel<'a> {
        open.set(open.get() + 1);
        OpenTunnel(open)
    }
}

impl Drop for OpenTunnel<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Lane<'_> {
    /// Passes on `first`, then what comes. Boxed are the passes, so that a direction that waits is small.
    ///
    /// # Errors
    /// A read or write that failed, or nothing to read for `timeout`: both end the whole tunnel. An end of input ends
    /// this direction only.
    async fn carry(
        &self,
        first: Vec<u8>,
        buffers: &Buffers,
        timeout: Duration,
        stay_awake: &impl Fn(i32),
    ) -> io::Result<()> {
        Box::pin(self.send(first, buffers, timeout, stay_awake)).await?;
        loop {
            self.from.readable().await?;
            if !Box::pin(self.pass(buffers, timeout, stay_awake)).await? {
                self.to.finish_writing();
                return Ok(());
            }
        }
    }

    /// Reads once, and passes on what has come; false at the end of input.
    async fn pass(
        &self,
        buffers: &Buffers,
        timeout: Duration,
        stay_awake: &impl Fn(i32),
    ) -> io::Result<bool> {
        let (result, buffer) = self.from.read(buffers.small()).await;
        if self.from.slot().fired(Direction::Read) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let more = result? > 0;
        self.send(buffer, buffers, timeout, stay_awake).await?;
        Ok(more)
    }

    /// Writes all of a buffer, and gives that back.
    async fn send(
        &self,
        buffer: Vec<u8>,
        buffers: &Buffers,
        timeout: Duration,
        stay_awake: &impl Fn(i32),
    ) -> io::Result<()> {
        if buffer.is_empty() {
            buffers.give_back(buffer);
            return Ok(());
        }
        stay_awake(1);
        let written = self.to.write_all(buffer, timeout).await;
        stay_awake(-1);
        self.bytes.set(self.bytes.get() + written.sent_bytes as u64);
        buffers.give_back(written.buffer);
        written.result
    }
}
