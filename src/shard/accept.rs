//! Listening sockets: one accept task each, never dropped half-way, and the panic fence around every connection.
//!
//! An accept operation that is dropped can leak the socket it has accepted, so none is raced against anything: a task
//! is stopped by cancelling its operation in the kernel, and ends by itself.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use monoio::io::{CancelHandle, Canceller};
use monoio::net::{TcpListener, TcpStream};

use super::h1::{connection, refuse};
use super::{Listener, Shard};
use crate::net::Socket;
use crate::net::deadline::SocketSide;

/// How long to wait when there is no descriptor left for another connection.
/// Without a pause the loop would spin: the connection that could not be accepted keeps the listener readable.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

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
    loop {
        match listener.cancelable_accept(cancel.clone()).await {
            Ok((stream, peer)) => admit(&shard, stream, peer.ip()),
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => break,
            // The peer gave up between its handshake and our accept.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(shard = shard.id, %error, "cannot accept; pausing");
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
                admit(&shard, stream, peer.ip());
            }
        }
    }
    tasks.set(tasks.get() - 1);
}

/// Gives a connection its task, or refuses it when there are too many.
fn admit(shard: &Rc<Shard>, stream: TcpStream, peer: IpAddr) {
    let socket = Socket::tcp(stream, SocketSide::Client, &shard.deadlines);
    let metrics = &shard.metrics;
    metrics.connections_total.set(metrics.connections_total.get() + 1);
    if shard.open.get() >= shard.live().plan.server.limits.max_connections {
        // Refused by a short 503 in a task of its own, not by a close: a client can tell the two apart.
        metrics.connections_refused.set(metrics.connections_refused.get() + 1);
        monoio::spawn(refuse::refuse_connection(shard.clone(), socket, peer));
        return;
    }
    let open = Open::new(shard);
    let connection = Box::pin(connection::serve(shard.clone(), socket, peer));
    monoio::spawn(Fenced { connection: Some(connection), open });
}

/// Counts a connection for as long as its task lives.
/// Dropped with the task, so a panic counts down as well; a drain waits for this count to reach 0.
struct Open(Rc<Shard>);

impl Open {
    fn new(shard: &Rc<Shard>) -> Open {
        shard.open.set(shard.open.get() + 1);
        Open(shard.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// A connection's task. A panic in it ends it alone: it is logged, counted, and its sockets close.
/// Without it, a panic in one task would unwind the whole event loop with all its connections.
struct Fenced<F> {
    connection: Option<Pin<Box<F>>>,
    open: Open,
}

impl<F: Future<Output = ()>> Future for Fenced<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(()) };
        // What a panic leaves half-changed is the connection's own, dropped right here; the shard's
        // tables are changed in single steps that do not panic.
        let polled = catch_unwind(AssertUnwindSafe(|| connection.as_mut().poll(cx)));
        let Err(panic) = polled else {
            return polled.unwrap_or(Poll::Ready(()));
        };
        let shard = self.open.0.clone();
        shard.metrics.panics_total.set(shard.metrics.panics_total.get() + 1);
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!(shard = shard.id, panic = text, "a connection panicked and was closed");
        // Its destructors run behind a fence too: they may panic in the state that the first panic has left.
        let doomed = self.connection.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(doomed)));
        Poll::Ready(())
    }
}
