//! An origin that does what a test tells it to, byte by byte, and remembers what it received.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{DEADLINE, Message, Wire};

/// The ways to say that a body goes on and on: by its length, or in a chunk that has no end.
pub const ENDLESS_FRAMINGS: [&str; 2] =
    ["Content-Length: 1000000000000", "Transfer-Encoding: chunked\r\n\r\nffffffffff"];

/// A listening origin; it stops accepting when dropped, and fails the test if one of its handlers panicked.
pub struct Origin {
    address: SockAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    closed: usize,
    requests: Vec<Message>,
    panics: usize,
}

/// The origin's end of one connection, counted from 0 in the order accepted.
pub struct Peer {
    pub number: usize,
    wire: Wire,
    shared: Arc<Shared>,
}

impl Origin {
    /// Runs `handle` for each connection, on a thread of its own; the connection closes when it returns.
    pub fn new(handle: impl Fn(&mut Peer) + Send + Sync + 'static) -> Origin {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Origin::listen(Domain::IPV4, &address.into(), handle)
    }

    /// Like [`Origin::new`], on an address of one's choice: all of 127/8 is this machine.
    pub fn at(address: SocketAddr, handle: impl Fn(&mut Peer) + Send + Sync + 'static) -> Origin {
        Origin::listen(Domain::for_address(address), &address.into(), handle)
    }

    /// Like [`Origin::new`], on the IPv6 loopback; `None` where there is none.
    pub fn ipv6(handle: impl Fn(&mut Peer) + Send + Sync + 'static) -> Option<Origin> {
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        std::net::TcpListener::bind(address)
            .ok()
            .map(|_| Origin::listen(Domain::IPV6, &address.into(), handle))
    }

    /// Like [`Origin::new`], on a Unix socket.
    pub fn unix(path: &Path, handle: impl Fn(&mut Peer) + Send + Sync + 'static) -> Origin {
        Origin::listen(Domain::UNIX, &SockAddr::unix(path).expect("a short path"), handle)
    }

    fn listen(
        domain: Domain,
        address: &SockAddr,
        handle: impl Fn(&mut Peer) + Send + Sync + 'static,
    ) -> Origin {
        let listener = Socket::new(domain, Type::STREAM, None).expect("a socket");
        listener.bind(address).expect("a free address");
        listener.listen(1024).expect("a bound socket listens");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let for_thread = shared.clone();
        std::thread::spawn(move || accept(&listener, &for_thread, &Arc::new(handle)));
        Origin { address, shared }
    }

    /// Answers every request with a 200 whose body is the request's head, exactly as received;
    /// the request's body is read and kept.
    pub fn echo() -> Origin {
        Origin::new(echo)
    }

    /// Answers every request with these bytes, on connections that persist.
    pub fn answering(bytes: impl AsRef<[u8]>) -> Origin {
        let bytes = bytes.as_ref().to_vec();
        Origin::new(move |peer| {
            while peer.request().is_some() {
                peer.send(&bytes);
            }
        })
    }

    /// Answers the first request of each connection with these bytes and closes.
    pub fn answering_once(bytes: impl AsRef<[u8]>) -> Origin {
        let bytes = bytes.as_ref().to_vec();
        Origin::new(move |peer| {
            if peer.request().is_some() {
                peer.send(&bytes);
            }
        })
    }

    /// Answers one request with a body of `framing`, one of [`ENDLESS_FRAMINGS`], for as long as it is taken.
    pub fn endless(framing: &'static str) -> Origin {
        Origin::new(move |peer| {
            if peer.request().is_some() {
                let end = if framing.contains("chunked") { "\r\n" } else { "\r\n\r\n" };
                peer.send(format!("HTTP/1.1 200 OK\r\n{framing}{end}"));
                while peer.send_all(&[b'x'; 65536]).is_ok() {}
            }
        })
    }

    /// As a target: `http://127.0.0.1:PORT`, or `unix:PATH`.
    pub fn url(&self) -> String {
        match self.address.as_socket() {
            Some(address) => format!("http://{address}"),
            None => format!("unix:{}", self.address.as_pathname().expect("bound to a path").display()),
        }
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        self.socket_address().to_string()
    }

    pub fn socket_address(&self) -> SocketAddr {
        self.address.as_socket().expect("a TCP origin")
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.seen(|seen| seen.connections)
    }

    /// Requests whose head was read so far, in order.
    pub fn requests(&self) -> Vec<Message> {
        self.seen(|seen| seen.requests.clone())
    }

    /// Waits until this many requests' heads were read, and returns all.
    pub fn wait_for_requests(&self, count: usize) -> Vec<Message> {
        self.wait("requests", |seen| seen.requests.len() >= count);
        self.requests()
    }

    /// Waits until this many connections have ended.
    pub fn wait_for_closed(&self, count: usize) {
        self.wait("closed connections", |seen| seen.closed >= count);
    }

    /// Waits until this many connections have ended and the kernel has told the gateway so about all of its own.
    pub fn wait_for_closed_everywhere(&self, count: usize) {
        self.wait_for_closed(count);
        let until = Instant::now() + DEADLINE;
        while super::kernel::has_established_to(&self.address) {
            assert!(Instant::now() < until, "the kernel does not deliver the end of a connection");
            std::thread::yield_now();
        }
    }

    fn seen<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.shared.lock())
    }

    fn wait(&self, what: &str, holds: impl Fn(&Seen) -> bool) {
        let until = Instant::now() + DEADLINE;
        let mut seen = self.shared.lock();
        while !holds(&seen) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let Seen { connections, closed, ref requests, .. } = *seen;
                let requests = requests.len();
                // Not while the lock is held: the drop of what unwinds needs it.
                drop(seen);
                panic!(
                    "too few {what}: {connections} connections, {closed} of them closed, {requests} requests"
                );
            }
            seen = self.shared.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, which then sees that it is to stop.
        if let Ok(socket) = Socket::new(self.address.domain(), Type::STREAM, None) {
            let _ = socket.connect(&self.address);
        }
        let panics = self.seen(|seen| seen.panics);
        assert!(panics == 0 || std::thread::panicking(), "{panics} of the origin's handlers panicked");
    }
}

impl Shared {
    /// A holder that panicked has failed its test already; the others' counts are still right.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }
}

fn accept(listener: &Socket, shared: &Arc<Shared>, handle: &Arc<impl Fn(&mut Peer) + Send + Sync + 'static>) {
    loop {
        let Ok((socket, _)) = listener.accept() else { return };
        if shared.stopped.load(Ordering::Relaxed) {
            return;
        }
        let (shared, handle) = (shared.clone(), handle.clone());
        std::thread::spawn(move || {
            let number = shared.change(|seen| {
                seen.connections += 1;
                seen.connections - 1
            });
            let mut peer = Peer { number, wire: Wire::new(socket), shared: shared.clone() };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handle(&mut peer)));
            drop(peer);
            shared.change(|seen| {
                seen.closed += 1;
                seen.panics += usize::from(result.is_err());
            });
        });
    }
}

/// A bound address that refuses connections for as long as the socket lives.
pub fn refusing() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free address");
    let address = socket.local_addr().ok().and_then(|a| a.as_socket()).expect("bound");
    (socket, format!("http://{address}"))
}

/// The handler of [`Origin::echo`].
pub fn echo(peer: &mut Peer) {
    while let Some(request) = peer.request() {
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.head.len()));
        if request.method() != "HEAD" {
            peer.send(&request.head);
        }
    }
}

impl Peer {
    /// The next request with its body; `None` when the gateway ends the connection instead.
    pub fn request(&mut self) -> Option<Message> {
        let mut message = self.head()?;
        self.wire.request_body(&mut message).ok()?;
        Some(message)
    }

    /// The next request's head; its body is left unread. It counts as seen from here on.
    pub fn head(&mut self) -> Option<Message> {
        let message = self.wire.head().ok()?;
        self.shared.change(|seen| seen.requests.push(message.clone()));
        Some(message)
    }

    /// Reads the body that goes with this head. An error is how the connection ended instead.
    pub fn body(&mut self, message: &mut Message) -> io::Result<()> {
        self.wire.request_body(message)
    }

    /// Sends; a gateway that has closed the connection is no failure of the origin's.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.wire.send(bytes);
    }

    /// Sends until all is taken, or says how much was (at most the deadline for each piece).
    pub fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.send(bytes)
    }

    /// Nothing more will be sent, but more is read.
    pub fn finish(&mut self) {
        let _ = self.wire.finish();
    }

    /// The connection will end with a reset when the handler returns.
    pub fn reset(&mut self) {
        self.wire.socket().set_linger(Some(Duration::ZERO)).expect("SO_LINGER is always accepted");
    }

    /// Waits until the gateway closes or resets the connection. Panics on bytes, or after the deadline.
    pub fn expect_closed(&mut self) {
        assert!(self.wire.is_closed(DEADLINE), "the gateway keeps the connection open");
    }

    /// Reads until the gateway ends the connection, whatever comes.
    pub fn drain(&mut self) -> Vec<u8> {
        self.wire.read_to_end().unwrap_or_default()
    }

    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
