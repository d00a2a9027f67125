//! One end of a connection: bytes out as written, messages in as received, a deadline on every read and write.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::kernel::receive_queue_is_empty;
use super::message::{Message, field};
use super::{DEADLINE, show};

/// A connected socket (TCP or Unix) and what was read from it but not yet asked for.
pub struct Wire {
    socket: Socket,
    buffer: Vec<u8>,
}

/// How a read ended that did not bring what it waited for.
fn ended(what: &str, got: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("connection ended before {what}; got {}", show(got)))
}

impl Wire {
    pub fn new(socket: Socket) -> Wire {
        // Fails on a Unix socket, which needs no such thing.
        let _ = socket.set_tcp_nodelay(true);
        socket.set_write_timeout(Some(DEADLINE)).expect("a write timeout is always accepted");
        Wire { socket, buffer: Vec::new() }
    }

    /// The socket itself, for options.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// A second handle on the same connection, for writing while another thread reads.
    pub fn writer(&self) -> Socket {
        self.socket.try_clone().expect("a socket can be duplicated")
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.write_all(bytes.as_ref())
    }

    /// Sends, then waits until the peer's process has read all of it: the next bytes come to it by themselves.
    pub fn send_taken(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.send(bytes)?;
        let (theirs, ours) = (self.socket.peer_addr()?, self.socket.local_addr()?);
        let until = Instant::now() + DEADLINE;
        while !receive_queue_is_empty(&theirs, &ours) {
            assert!(Instant::now() < until, "the peer does not read");
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Tells the peer that nothing more will come.
    pub fn finish(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// Ends the connection with a reset instead of an orderly close.
    pub fn reset(self) {
        self.socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER is always accepted");
    }

    /// Reads more into the buffer; 0 at the end. A deadline that passes is `TimedOut`.
    fn fill(&mut self, until: Instant) -> io::Result<usize> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("nothing came; got {}", show(&self.buffer)),
            ));
        }
        self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut chunk = [0; 64 * 1024];
        match self.socket.read(&mut chunk) {
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(n)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                self.fill(until)
            }
            Err(e) => Err(e),
        }
    }

    /// Everything up to and including `end`.
    pub fn read_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let until = Instant::now() + DEADLINE;
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].windows(end.len()).position(|w| w == end) {
                return Ok(self.buffer.drain(..searched + at + end.len()).collect());
            }
            searched = self.buffer.len().saturating_sub(end.len() - 1);
            if self.fill(until)? == 0 {
                return Err(ended(&show(end), &self.buffer));
            }
        }
    }

    /// Exactly this many bytes. The deadline is for each read, so that large bodies may take their time.
    pub fn read_exact(&mut self, size: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < size {
            if self.fill(Instant::now() + DEADLINE)? == 0 {
                return Err(ended(&format!("{size} bytes were there"), &self.buffer));
            }
        }
        Ok(self.buffer.drain(..size).collect())
    }

    /// Reads and drops this many bytes in constant memory, calling `each` on every piece.
    pub fn read_through(&mut self, mut size: u64, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        while size > 0 {
            if self.buffer.is_empty() && self.fill(Instant::now() + DEADLINE)? == 0 {
                return Err(ended(&format!("{size} more bytes"), &self.buffer));
            }
            let take = self.buffer.len().min(usize::try_from(size).unwrap_or(usize::MAX));
            each(&self.buffer[..take]);
            self.buffer.drain(..take);
            size -= take as u64;
        }
        Ok(())
    }

    /// Everything until the peer closes.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill(Instant::now() + DEADLINE)? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Whether the peer has closed or reset the connection, waiting for it until the deadline.
    /// Panics if it sends something instead.
    pub fn is_closed(&mut self, within: Duration) -> bool {
        let until = Instant::now() + within;
        assert!(self.buffer.is_empty(), "more came: {}", show(&self.buffer));
        match self.fill(until) {
            Ok(0) => true,
            Ok(_) => panic!("more came instead of the end: {}", show(&self.buffer)),
            Err(e) => e.kind() != io::ErrorKind::TimedOut,
        }
    }

    /// A head alone.
    pub fn head(&mut self) -> io::Result<Message> {
        Ok(Message::from_head(self.read_until(b"\r\n\r\n")?))
    }

    /// The body of a request with this head.
    pub fn request_body(&mut self, message: &mut Message) -> io::Result<()> {
        if message.is_chunked() {
            self.chunked(message)
        } else {
            self.sized(message, message.content_length().unwrap_or(0))
        }
    }

    /// One response to a request with this method, interim ones (1xx) each by themselves.
    pub fn response(&mut self, method: &str) -> io::Result<Message> {
        let mut message = self.head()?;
        let status = message.status();
        assert!(
            !(message.has("transfer-encoding") && message.has("content-length")),
            "{}",
            show(&message.head)
        );
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(message);
        }
        if message.is_chunked() {
            self.chunked(&mut message)?;
        } else if let Some(size) = message.content_length() {
            self.sized(&mut message, size)?;
        } else {
            message.raw_body = self.read_to_end()?;
            message.body.clone_from(&message.raw_body);
        }
        Ok(message)
    }

    fn sized(&mut self, message: &mut Message, size: usize) -> io::Result<()> {
        message.raw_body = self.read_exact(size)?;
        message.body.clone_from(&message.raw_body);
        Ok(())
    }

    fn chunked(&mut self, message: &mut Message) -> io::Result<()> {
        loop {
            let line = self.read_until(b"\r\n")?;
            message.raw_body.extend_from_slice(&line);
            let size = chunk_size(&line).unwrap_or_else(|| panic!("chunk size line {}", show(&line)));
            if size == 0 {
                break;
            }
            let data = self.read_exact(size + 2)?;
            assert!(data.ends_with(b"\r\n"), "chunk does not end with its line end: {}", show(&data));
            message.body.extend_from_slice(&data[..size]);
            message.raw_body.extend_from_slice(&data);
        }
        loop {
            let line = self.read_until(b"\r\n")?;
            message.raw_body.extend_from_slice(&line);
            if line == b"\r\n" {
                return Ok(());
            }
            let text: String = line[..line.len() - 2].iter().map(|byte| char::from(*byte)).collect();
            message.trailers.push(field(&text, &line));
        }
    }
}

/// The size in a chunk's first line: hex digits, then at once the line end or an extension.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let digits = line.split_once(';').map_or(line, |(size, _)| size.trim_end_matches([' ', '\t']));
    // `from_str_radix` alone would take a sign.
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| usize::from_str_radix(digits, 16).ok())?
}
