//! A client that sends what it is told and reads one response at a time; whatever goes wrong fails the test.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::{DEADLINE, Message, QUIET, Wire, show};

pub struct Client {
    wire: Wire,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::with_socket(address, |_| ())
    }

    /// Connects after `prepare` has set options, such as a small receive buffer.
    pub fn with_socket(address: SocketAddr, prepare: impl FnOnce(&Socket)) -> Client {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        prepare(&socket);
        socket
            .connect_timeout(&address.into(), DEADLINE)
            .unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
        Client { wire: Wire::new(socket) }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        let bytes = bytes.as_ref();
        self.wire.send(bytes).unwrap_or_else(|e| panic!("cannot send {}: {e}", show(bytes)));
        self
    }

    /// Sends to a peer that may have closed already: what it did not take does not matter.
    pub fn send_lossy(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        let _ = self.wire.send(bytes);
        self
    }

    /// Sends and waits until the gateway has read it, so that what follows is a read of its own.
    pub fn send_taken(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.wire.send_taken(bytes).unwrap_or_else(|e| panic!("cannot send: {e}"));
        self
    }

    /// The gateway reads each byte by itself.
    pub fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        for byte in bytes.as_ref() {
            self.send_taken([*byte]);
        }
        self
    }

    /// The next response to a request with a method other than HEAD; interim ones come by themselves.
    pub fn response(&mut self) -> Message {
        self.response_to("GET")
    }

    /// The next response to a request with this method.
    pub fn response_to(&mut self, method: &str) -> Message {
        self.wire.response(method).unwrap_or_else(|e| panic!("no response to {method}: {e}"))
    }

    /// The next response that is not interim.
    pub fn final_response(&mut self) -> Message {
        let until = Instant::now() + DEADLINE;
        loop {
            let response = self.response();
            if response.status() >= 200 {
                return response;
            }
            assert!(Instant::now() < until, "interim responses without end");
        }
    }

    /// The head alone, its body left unread.
    pub fn head(&mut self) -> Message {
        self.wire.head().unwrap_or_else(|e| panic!("no head: {e}"))
    }

    /// The whole exchange on this connection.
    pub fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Message {
        self.send(bytes).response()
    }

    pub fn read_exact(&mut self, size: usize) -> Vec<u8> {
        self.wire.read_exact(size).unwrap_or_else(|e| panic!("{e}"))
    }

    pub fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        self.wire.read_until(end).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Everything until the gateway ends the connection in order.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        self.wire.read_to_end().unwrap_or_else(|e| panic!("no orderly end: {e}"))
    }

    /// Everything until the connection ends, in order or not: what of a cut response arrived, and whether it was reset.
    pub fn read_to_cut(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Ok(byte) = self.wire.read_exact(1) {
            all.extend(byte);
        }
        all
    }

    /// The gateway closes the connection, without another byte.
    pub fn expect_closed(&mut self) {
        self.expect_closed_within(DEADLINE);
    }

    pub fn expect_closed_within(&mut self, time: Duration) {
        assert!(self.wire.is_closed(time), "the connection is still open after {time:?}");
    }

    /// The connection stays open, and silent.
    pub fn expect_silence(&mut self) {
        assert!(!self.wire.is_closed(QUIET), "the connection was closed");
    }

    /// All these connections stay open, and silent; they are watched together.
    pub fn expect_silence_of_all<'a>(clients: impl IntoIterator<Item = &'a mut Client>) {
        let until = Instant::now() + QUIET;
        for client in clients {
            // The first wait is the wait of all.
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            assert!(!client.wire.is_closed(left), "the connection was closed");
        }
    }

    /// Half-close: nothing more will be sent.
    pub fn finish(&mut self) {
        self.wire.finish().expect("a connected socket can be shut down");
    }

    /// When dropped it resets, so that thousands of connections leave nothing waiting in the kernel's tables.
    pub fn resetting(mut self) -> Client {
        self.wire().socket().set_linger(Some(Duration::ZERO)).expect("SO_LINGER is always accepted");
        self
    }

    pub fn reset(self) {
        self.wire.reset();
    }

    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
