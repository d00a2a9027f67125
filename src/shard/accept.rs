//! Listening sockets: one accept task each, never dropped half-way, and the task of every connection, behind its fence.
//!
//! An accept operation that is dropped can leak the socket it has accepted, so none is raced against anything: a task
//! is stopped by cancelling its operation in the kernel, and ends by itself.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use monoio::io::{CancelHandle, Canceller};
use monoio::net::{TcpListener, TcpStream};

use super::connections::ConnectionKey;
use super::h1::{connection, refuse};
use super::{DescriptorShare, Listener, Shard, fence};
use crate::net::Socket;
use crate::net::deadline::SocketSide;
use crate::net::socket::stop_reading;

/// How long to wait when there is no descriptor left for another connection.
/// Without a pause the loop would spin: the connection that could not be accepted keeps the listener readable.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
/// How often a listener says at most that it cannot accept.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How long to wait after an idle client was told to make room, for it to do so.
const CROWDED_PAUSE: Duration = Duration::from_millis(1);

/// The accept tasks of a shard, by address.
#[derive(Default)]
pub struct Acceptors {
    running: RefCell<Vec<(SocketAddr, Option<Canceller>)>>,
    /// Tasks that have not ended, cancelled ones included.
    tasks: Rc<Cell<usize>>,
}

impl Acceptors {
    /// Accepts on these from now on: new ones are started, those no longer named stopped, the others untouched.
    ///
    /// # Errors
    /// When a listener cannot be put on the event loop.
    pub fn change(&self, shard: &Rc<Shard>, listeners: Vec<Listener>) -> io::Result<()> {
        let mut running = self.running.borrow_mut();
        running.retain_mut(|(address, canceller)| {
            let kept = listeners.iter().any(|listener| listener.address == *address);
            if !kept {
                stop(canceller);
            }
            kept
        });
        for listener in listeners {
            if running.iter().any(|(address, _)| *address == listener.address) {
                continue;
            }
            // A second handle of the same socket, for the queue that is left when the event loop's own has stopped.
            let drainer = listener.socket.try_clone()?;
            listener.socket.set_nonblocking(monoio::utils::is_legacy())?;
            let accepting = TcpListener::from_std(listener.socket)?;
            let canceller = Canceller::new();
            let task = accept_all(shard.clone(), accepting, drainer, canceller.handle(), self.tasks.clone());
            self.tasks.set(self.tasks.get() + 1);
            monoio::spawn(task);
            running.push((listener.address, Some(canceller)));
        }
        Ok(())
    }

    /// Stops accepting on all.
    /// Tasks end some time later: see [`Acceptors::is_empty`].
    pub fn stop_all(&self) {
        self.running.borrow_mut().drain(..).for_each(|(_, mut canceller)| stop(&mut canceller));
    }

    /// Whether the tasks of all listeners that were stopped have ended.
    pub fn have_stopped(&self) -> bool {
        self.tasks.get() <= self.running.borrow().len()
    }

    /// Whether every accept task has ended.
    /// Only then is it certain that no connection can still come in.
    pub fn is_empty(&self) -> bool {
        self.tasks.get() == 0
    }
}

/// Cancels the accept operation, once.
fn stop(canceller: &mut Option<Canceller>) {
    if let Some(canceller) = canceller.take() {
        // What it returns is a fresh canceller, of no use here.
        drop(canceller.cancel());
    }
}

/// One listener's accept loop, until it is cancelled. Every error but the cancellation is survived: a listener that
/// gives up would leave its share of new connections in a queue that nobody empties.
async fn accept_all(
    shard: Rc<Shard>,
    listener: TcpListener,
    drainer: std::net::TcpListener,
    cancel: CancelHandle,
    tasks: Rc<Cell<usize>>,
) {
    let mut warning = AcceptWarning::default();
    loop {
        match listener.cancelable_accept(cancel.clone()).await {
            Ok((stream, peer)) => {
                if admit(&shard, stream, peer.ip()) == Admission::InPlaceOfIdle {
                    monoio::time::sleep(CROWDED_PAUSE).await;
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => break,
            // The peer gave up between its handshake and our accept.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warning.warn(&shard, &error);
                close_idlest(&shard);
                monoio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
    // Whoever was in the queue already is served too: closing it would reset them.
    if drainer.set_nonblocking(true).is_ok() {
        while let Ok((stream, peer)) = drainer.accept() {
            let adopted =
                stream.set_nonblocking(monoio::utils::is_legacy()).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = adopted {
                let _ = admit(&shard, stream, peer.ip());
            }
        }
    }
    tasks.set(tasks.get() - 1);
}

/// Says that nothing can be accepted, but not each time: it is tried again many times a second.
#[derive(Default)]
struct AcceptWarning {
    last: Option<Instant>,
    unsaid: u64,
}

impl AcceptWarning {
    fn warn(&mut self, shard: &Shard, error: &io::Error) {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < WARN_EVERY) {
            self.unsaid += 1;
            return;
        }
        let unsaid = std::mem::take(&mut self.unsaid);
        self.last = Some(now);
        tracing::warn!(shard = shard.id, %error, unsaid, "cannot accept; trying again");
    }
}

/// Gives a connection its task, or refuses it when there are too many.
fn admit(shard: &Rc<Shard>, stream: TcpStream, peer: IpAddr) -> Admission {
    let fd = stream.as_raw_fd();
    let socket = Socket::tcp(stream, SocketSide::Client, &shard.deadlines);
    let metrics = &shard.metrics;
    metrics.connections_total.set(metrics.connections_total.get() + 1);
    let admission = admission(shard);
    if admission != Admission::Refused {
        let open = Open::new(shard, fd);
        let connection = Box::pin(connection::serve(shard.clone(), socket, peer, open.key));
        monoio::spawn(Fenced { connection: Some(connection), shard: shard.clone(), open: Some(open) });
        return admission;
    }
    // Refused by a short 503 in a task of its own, not by a close: a client can tell the two apart.
    metrics.connections_refused.set(metrics.connections_refused.get() + 1);
    let refusal = Box::pin(refuse::refuse_connection(shard.clone(), socket, peer));
    monoio::spawn(Fenced { connection: Some(refusal), shard: shard.clone(), open: None });
    admission
}

/// Whether a connection is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Free,
    /// The client that has been idle the longest is told to make room.
    InPlaceOfIdle,
    Refused,
}

/// Whether another connection may be open. Idle clients make room only where it is for want of descriptors: the operator
/// has set `max_connections` to have no more.
fn admission(shard: &Shard) -> Admission {
    let DescriptorShare { sockets, connections, refused, .. } = shard.share;
    match shard.connections.len() {
        open if open >= shard.live().plan.server.limits.max_connections => Admission::Refused,
        // The new one's own socket is counted already.
        open if open < connections && shard.sockets() <= sockets => Admission::Free,
        open if open < connections + refused && close_idlest(shard) => Admission::InPlaceOfIdle,
        _ => Admission::Refused,
    }
}

/// Has the client that has been idle the longest be closed; false: none is idle.
pub fn close_idlest(shard: &Shard) -> bool {
    // A request that has just arrived is still read, and answered.
    shard.connections.take_idlest().map(stop_reading).is_some()
}

/// Counts a connection for as long as its task lives.
/// Dropped with the task, so a panic counts down as well; a drain waits for this count to reach 0.
struct Open {
    shard: Rc<Shard>,
    key: ConnectionKey,
}

impl Open {
    fn new(shard: &Rc<Shard>, fd: RawFd) -> Open {
        Open { shard: shard.clone(), key: shard.connections.add(fd) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shard.connections.remove(self.key);
    }
}

/// A connection's task. A panic in it ends it alone: its sockets close. So does the end of a drain.
struct Fenced<F> {
    connection: Option<Pin<Box<F>>>,
    shard: Rc<Shard>,
    /// `None`: it is being refused.
    open: Option<Open>,
}

impl<F: Future<Output = ()>> Future for Fenced<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Fenced { connection, shard, open } = &mut *self;
        let Some(polled) = connection else { return Poll::Ready(()) };
        if !shard.cut.get() {
            match fence::attempt(shard, || polled.as_mut().poll(cx)) {
                Ok(Poll::Pending) => {
                    // Once: a task has the same waker all its life.
                    if let Some(open) = open {
                        shard.connections.keep_waker(open.key, cx.waker());
                    }
                    return Poll::Pending;
                }
                Ok(Poll::Ready(())) => return Poll::Ready(()),
                Err(_) => {}
            }
        }
        // Its destructors run behind a fence too: they may panic in the state that the first panic has left.
        let doomed = connection.take();
        let _ = fence::attempt(shard, || drop(doomed));
        Poll::Ready(())
    }
}
