//! A client connection: waits without a buffer, reads one whole head, has the request served, goes on or closes.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::request;
use crate::base::error::{Error, Reason};
use crate::exchange::Peer;
use crate::http::body::BodyReader;
use crate::http::head::{HeadLimits, HeadScanner};
use crate::net::Socket;
use crate::net::deadline::Direction;
use crate::pipeline::receive::refused_head;
use crate::shard::Shard;
use crate::shard::proxy::tunnel::{self, Tunnel};

/// A client that was told that its connection ends may take this long to stop sending, and send this much.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// What becomes of the connection after a request.
pub enum Next {
    /// Another request may come.
    KeepAlive,
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
    scanner: HeadScanner,
    served: u64,
}

/// A client connection's whole life.
pub async fn serve(shard: Rc<Shard>, socket: Socket, peer: IpAddr) {
    let mut connection = Connection::new(shard, socket, peer);
    loop {
        if connection.input.is_empty() && !connection.has_more().await {
            return;
        }
        // Boxed, so that an idle connection is small.
        let mut next = Box::pin(request::serve_one(&mut connection)).await;
        connection.served += 1;
        // Only here, where all that the exchange needed has been freed.
        if let Next::Tunnel(tunnel) = next {
            Box::pin(tunnel::run(&mut connection, tunnel)).await;
            next = Next::Close;
        }
        match next {
            Next::KeepAlive => connection.release_room(),
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
    pub fn new(shard: Rc<Shard>, socket: Socket, peer: IpAddr) -> Connection {
        Connection {
            shard,
            socket,
            peer: Peer::new(peer),
            input: Vec::new(),
            body: BodyReader::empty(),
            scanner: HeadScanner::default(),
            served: 0,
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
        slot.set_idle(true);
        let readable = self.socket.readable().await;
        slot.set_idle(false);
        slot.disarm(Direction::Read);
        readable.is_ok() && !slot.fired(Direction::Read)
    }

    /// Gives the buffer back when nothing is in it.
    fn release_room(&mut self) {
        if self.input.is_empty() {
            self.shard.buffers.give_back(std::mem::take(&mut self.input));
        }
    }

    /// Reads until `input` begins with a whole head, and says how long that is; `None`: the client
    /// closed without having begun one, or in the midst of one.
    ///
    /// # Errors
    /// A head that is malformed or over its limits, or that took longer than `header_timeout`.
    pub async fn read_head(
        &mut self,
        limits: &HeadLimits,
        timeout: Duration,
    ) -> Result<Option<usize>, Error> {
        self.scanner.reset();
        let mut deadline = None;
        loop {
            if let Some(bytes) = self.scanner.scan(&self.input, limits).map_err(refused_head)? {
                return Ok(Some(bytes));
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
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(Error::client(Reason::RequestTimeout, "the request head took too long"));
                }
                Err(_) => return Ok(None),
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
