//! A client connection: waits without a buffer, reads one whole head, has the request served, goes on or closes.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::request;
use super::source::MAX_DISCARDED_BYTES;
use crate::base::error::{Error, Reason};
use crate::exchange::Peer;
use crate::http::body::BodyReader;
use crate::http::head::{EMPTY_LINES, HeadLimits, HeadScanner};
use crate::net::Socket;
use crate::net::deadline::Direction;
use crate::pipeline::receive::refused_head;
use crate::shard::Shard;
use crate::shard::connections::ConnectionKey;
use crate::shard::proxy::tunnel::{self, Tunnel};

/// A client that was told that its connection ends may take this long to stop sending, and send this much.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// What becomes of the connection after a request.
pub enum Next {
    /// Another request may come.
    KeepAlive,
    /// Another request may come behind the rest of this one's body.
    Discard,
    /// There was none yet.
    Wait,
    /// Everything was read and answered.
    Close,
    /// The answer is complete, but the client may still be sending: read on for a while, so that
    /// closing does not destroy the answer on its way.
    Linger,
    /// The answer was cut short, and the client must notice.
    Abort,
    /// Bytes go both ways until an end that nothing follows.
    Tunnel(Box<Tunnel>),
}

/// The connection's state between and during requests.
pub struct Connection {
    pub shard: Rc<Shard>,
    pub socket: Socket,
    pub peer: Peer,
    /// What was read and not yet used: the rest of a body, the next request. Holds no room while idle.
    pub input: Vec<u8>,
    /// The body of the current request.
    pub body: BodyReader,
    /// Its place among the shard's connections; `None`: it is being refused.
    key: Option<ConnectionKey>,
    scanner: HeadScanner,
    served: u64,
    /// An empty line has come after the last request.
    had_empty_line: bool,
}

/// What was read where a request was expected.
pub enum ReadHead {
    /// A whole head, of so many bytes.
    Whole(usize),
    /// An empty line (RFC 9112, 2.2) and nothing after it: the client is between two requests.
    EmptyLine,
    /// The client closed without having begun one, or in the midst of one.
    Closed,
}

/// A client connection's whole life.
pub async fn serve(shard: Rc<Shard>, socket: Socket, peer: IpAddr, key: ConnectionKey) {
    let mut connection = Connection::new(shard, socket, peer, Some(key));
    loop {
        if connection.input.is_empty() && !connection.has_more().await {
            return;
        }
        // Boxed, so that an idle connection is small.
        let mut next = Box::pin(request::serve_one(&mut connection)).await;
        // Only here, where all that the exchange needed has been freed.
        if let Next::Tunnel(tunnel) = next {
            Box::pin(tunnel::run(&mut connection, tunnel)).await;
            next = Next::Close;
        }
        match next {
            Next::KeepAlive | Next::Wait => connection.release_room(),
            Next::Discard if Box::pin(connection.discard_body()).await => connection.release_room(),
            Next::Discard => return Box::pin(linger(&mut connection)).await,
            // To close with something unread resets, and destroys the answer on its way.
            Next::Close if connection.socket.has_unread() => return Box::pin(linger(&mut connection)).await,
            Next::Close | Next::Tunnel(_) => return,
            Next::Linger => return Box::pin(linger(&mut connection)).await,
            Next::Abort => return connection.socket.abort(),
        }
    }
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(shard: Rc<Shard>, socket: Socket, peer: IpAddr, key: Option<ConnectionKey>) -> Connection {
        Connection {
            shard,
            socket,
            peer: Peer::new(peer),
            input: Vec::new(),
            body: BodyReader::empty(),
            key,
            scanner: HeadScanner::default(),
            served: 0,
            had_empty_line: false,
        }
    }

    /// Waits for the first byte of a request; false when the connection is over instead.
    async fn has_more(&mut self) -> bool {
        let timeout = {
            let live = self.shard.live.borrow();
            let limits = &live.plan.server.limits;
            if self.served == 0 { limits.header_timeout } else { limits.keepalive_timeout }
        };
        let slot = self.socket.slot();
        slot.arm(Direction::Read, timeout);
        let set_idle = |idle| {
            slot.set_idle(idle);
            if let Some(key) = self.key {
                self.shard.connections.set_idle(key, idle);
            }
        };
        set_idle(true);
        let readable = self.socket.readable().await;
        set_idle(false);
        slot.disarm(Direction::Read);
        readable.is_ok() && !slot.fired(Direction::Read)
    }

    /// Gives the buffer back when nothing is in it.
    fn release_room(&mut self) {
        if self.input.is_empty() {
            self.shard.buffers.give_back(std::mem::take(&mut self.input));
        }
    }

    /// Reads until `input` begins with a whole head, and says how long that is.
    ///
    /// # Errors
    /// A head that is malformed or over its limits, or that took longer than `header_timeout`.
    pub async fn read_head(&mut self, limits: &HeadLimits, timeout: Duration) -> Result<ReadHead, Error> {
        self.scanner.reset();
        let mut deadline = None;
        loop {
            if self.had_empty_line && self.input.starts_with(b"\r\n") {
                return Err(refused_head(EMPTY_LINES));
            }
            if let Some(bytes) = self.scanner.scan(&self.input, limits).map_err(refused_head)? {
                self.had_empty_line = false;
                self.served += 1;
                return Ok(ReadHead::Whole(bytes));
            }
            // Some clients send one after a body. No request has begun by it, so none can be late.
            if self.input == b"\r\n" {
                self.input.clear();
                self.had_empty_line = true;
                return Ok(ReadHead::EmptyLine);
            }
            if self.input.capacity() == 0 {
                self.input = self.shard.buffers.small();
            }
            if self.input.len() == self.input.capacity() {
                self.input.reserve(limits.bytes.max(self.input.len()));
            }
            let until = *deadline.get_or_insert_with(|| Instant::now() + timeout);
            self.socket.slot().arm(Direction::Read, until.saturating_duration_since(Instant::now()));
            let (result, input) = self.socket.read_until_deadline(std::mem::take(&mut self.input)).await;
            self.input = input;
            match result {
                Ok(0) => return Ok(ReadHead::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(Error::client(Reason::RequestTimeout, "the request head took too long"));
                }
                Err(_) => return Ok(ReadHead::Closed),
            }
        }
    }

    /// Reads and drops the rest of a body whose request was answered without it; false where it is too much, too slow
    /// or malformed.
    async fn discard_body(&mut self) -> bool {
        let timeout = self.shard.live().plan.server.limits.body_timeout.min(LINGER);
        let until = Instant::now() + timeout;
        let mut bytes = 0;
        loop {
            let Ok(taken) = self.body.take(&self.input) else { return false };
            self.consume(taken);
            bytes += taken as u64;
            if self.body.is_done() || bytes > MAX_DISCARDED_BYTES {
                return self.body.is_done();
            }
            if self.input.capacity() == 0 {
                self.input = self.shard.buffers.small();
            }
            let left = until.saturating_duration_since(Instant::now());
            let (result, input) = self.socket.read_within(std::mem::take(&mut self.input), left).await;
            self.input = input;
            if !matches!(result, Ok(1..)) {
                return false;
            }
        }
    }

    /// Removes the first bytes of the input.
    pub fn consume(&mut self, bytes: usize) {
        self.input.drain(..bytes);
    }
}

/// Tells the client that nothing more comes, and reads on until it has noticed.
pub async fn linger(connection: &mut Connection) {
    connection.socket.finish_writing();
    let until = Instant::now() + LINGER;
    let mut room = std::mem::take(&mut connection.input);
    let mut bytes = 0;
    while bytes < LINGER_BYTES {
        room.clear();
        if room.capacity() == 0 {
            room = connection.shard.buffers.small();
        }
        let left = until.saturating_duration_since(Instant::now());
        let (result, back) = connection.socket.read_within(room, left).await;
        room = back;
        match result {
            Ok(1..) => bytes += room.len(),
            _ => break,
        }
    }
    connection.shard.buffers.give_back(room);
}
