//! A response body on its way to the client: validated, one buffer in flight, in the client's framing.

use std::io;
use std::time::Duration;

use crate::base::error::{Error, Reason, Retry};
use crate::http::body::{BodyError, BodyReader};
use crate::http::framing::Body;
use crate::http::head::Version;
use crate::http::write;
use crate::net::Socket;
use crate::net::pipe::Stopped;
use crate::shard::proxy::attempt::Exchange;
use crate::shard::proxy::response::client_left;
use crate::shard::request_log::RequestLog;

/// How the body is framed for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// None, or as long as `Content-Length` says.
    Length,
    /// Chunked by the upstream, passed on byte for byte, extensions and trailers too.
    Chunked,
    /// Delimited by the upstream's close, chunked by us.
    Rechunk,
    /// Delimited by our close: for clients that know no chunks. Payload only.
    UntilClose,
}

impl Mode {
    /// The framing for a client of this version.
    pub fn of(body: Body, client: Version) -> Mode {
        match (body, client) {
            (Body::None | Body::Length(_), _) => Mode::Length,
            (Body::Chunked, Version::Http11) => Mode::Chunked,
            (Body::UntilClose, Version::Http11) => Mode::Rechunk,
            (Body::Chunked | Body::UntilClose, Version::Http10) => Mode::UntilClose,
        }
    }
}

pub struct Relay<'a> {
    pub exchange: &'a Exchange<'a>,
    pub upstream: &'a Socket,
    pub client: &'a Socket,
    /// How long the client may take nothing.
    pub client_timeout: Duration,
    pub mode: Mode,
    pub body: BodyReader,
}

impl Relay<'_> {
    /// Sends the head in `out` with what `arrived[from..]` holds of the body, then the rest. Returns
    /// whether the upstream sent exactly this response: more makes its connection unfit for use.
    ///
    /// # Errors
    /// A body that is malformed or too short, an upstream that stalls, a client that left.
    pub async fn run(
        &mut self,
        mut out: Vec<u8>,
        mut arrived: Vec<u8>,
        from: usize,
        record: &mut RequestLog,
    ) -> Result<bool, Error> {
        let buffers = &self.exchange.shard.buffers;
        let mut taken = from + self.encode(&arrived[from..], &mut out)?;
        record.head_sent = true;
        out = self.send(out, None, record).await?;
        while !self.body.is_done() {
            if self.splice(record).await? {
                taken = arrived.len();
                continue;
            }
            let was_full = arrived.len() == arrived.capacity();
            arrived.clear();
            if was_full {
                buffers.give_back(std::mem::replace(&mut arrived, buffers.large()));
            }
            let idle_timeout = self.exchange.within(self.exchange.upstream.plan.idle_timeout);
            arrived = read_body(self.upstream, &mut self.body, arrived, idle_timeout).await?;
            let ended = arrived.is_empty();
            taken = if self.mode == Mode::Rechunk || self.mode == Mode::UntilClose {
                out.clear();
                let taken = self.encode(&arrived, &mut out)?;
                out = self.send(out, None, record).await?;
                taken
            } else {
                let taken = self.body.take(&arrived).map_err(refusal)?;
                arrived = self.send(arrived, Some(taken), record).await?;
                taken
            };
            debug_assert!(
                !ended || self.body.is_done(),
                "an end that is too early is an error of `read_body`"
            );
        }
        let ended_exactly = taken == arrived.len();
        buffers.give_back(out);
        buffers.give_back(arrived);
        Ok(ended_exactly)
    }

    /// Carries the rest of a long body without looking at it; false where that is not to be done.
    async fn splice(&mut self, record: &mut RequestLog) -> Result<bool, Error> {
        let bytes = self.body.opaque_bytes();
        let pipes = &self.exchange.shard.pipes;
        let Some(pipe) = pipes.take_for(bytes) else {
            return Ok(false);
        };
        let idle_timeout = || self.exchange.within(self.exchange.upstream.plan.idle_timeout);
        let carrying = pipe.carry(self.upstream, self.client, bytes, idle_timeout, self.client_timeout);
        let carried = Box::pin(carrying).await;
        record.bytes_out += carried.bytes;
        self.body.pass(carried.bytes);
        pipes.give_back(pipe);
        match carried.result {
            Ok(()) => Ok(true),
            Err(Stopped::To(error)) => Err(client_left(error)),
            Err(Stopped::From(error)) => Err(upstream_stopped(&error)),
        }
    }

    /// Appends what `input` holds of the body to `out`, in the client's framing.
    fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Error> {
        let mode = self.mode;
        let taken = match mode {
            Mode::Length | Mode::Chunked => {
                let taken = self.body.take(input).map_err(refusal)?;
                out.extend_from_slice(&input[..taken]);
                taken
            }
            Mode::UntilClose => {
                self.body.take_payload(input, |run| out.extend_from_slice(run)).map_err(refusal)?
            }
            Mode::Rechunk => self.body.take_payload(input, |run| write::chunk(out, run)).map_err(refusal)?,
        };
        if mode == Mode::Rechunk && self.body.is_done() {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(taken)
    }

    /// Writes the first `bytes` of a buffer (all of it by default) to the client.
    async fn send(
        &self,
        buffer: Vec<u8>,
        bytes: Option<usize>,
        record: &mut RequestLog,
    ) -> Result<Vec<u8>, Error> {
        let bytes = bytes.unwrap_or(buffer.len());
        let written = self.client.write(buffer, bytes, self.client_timeout).await;
        record.bytes_out += written.sent_bytes as u64;
        written.result.map_err(client_left)?;
        Ok(written.buffer)
    }
}

/// Reads more of a response body; empty: it was delimited by the close that has come.
///
/// # Errors
/// An upstream that stalls, or that closes too early.
pub async fn read_body(
    upstream: &Socket,
    body: &mut BodyReader,
    buffer: Vec<u8>,
    timeout: Duration,
) -> Result<Vec<u8>, Error> {
    let (result, buffer) = upstream.read_within(buffer, timeout).await;
    match result {
        Ok(1..) => Ok(buffer),
        Err(error) => Err(upstream_stopped(&error)),
        Ok(_) => match body.end_of_input() {
            Ok(()) => Ok(buffer),
            Err(_) => Err(Error::upstream(Reason::UpstreamReset, Retry::Never, "closed within the body")),
        },
    }
}

/// An upstream that stopped within the body.
fn upstream_stopped(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            Error::upstream(Reason::UpstreamTimeout, Retry::Never, "the response body stalled")
        }
        _ => Error::upstream(Reason::UpstreamReset, Retry::Never, format!("within the body: {error}")),
    }
}

/// A body that breaks its framing, as the upstream's error.
pub fn refusal(error: BodyError) -> Error {
    let detail = match error {
        BodyError::Bad(detail) => detail,
        BodyError::TooLarge => "the body is too large",
    };
    Error::upstream(Reason::UpstreamProtocol, Retry::Never, detail)
}
