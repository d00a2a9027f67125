//! A response body from an upstream's HTTP/1 connection to a client's: validated, one buffer in flight, in the client's
//! framing. Bytes pass as they came wherever both sides frame alike.

use std::time::Duration;

use super::sink::client_left;
use crate::base::error::Error;
use crate::http::framing::Body;
use crate::http::head::Version;
use crate::http::write;
use crate::net::pipe::Stopped;
use crate::net::{ClientWatch, Socket};
use crate::shard::Shard;
use crate::shard::proxy::response_body::{Incoming, refused_body, upstream_stopped};
use crate::shard::request_log::RequestLog;

/// How a response body is framed for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// As the head's fields state it: none, or by `Content-Length`.
    AsStated,
    /// Chunked by the upstream, passed on byte for byte, extensions and trailers too.
    Chunked,
    /// Delimited by the upstream's close, chunked by us.
    Rechunked,
    /// Delimited by our close: for clients that know no chunks. Payload only.
    UntilClose,
}

impl Framing {
    /// The framing for a client of this version.
    pub fn of(body: Body, client: Version) -> Framing {
        match (body, client) {
            (Body::None | Body::Length(_), _) => Framing::AsStated,
            (Body::Chunked, Version::Http11) => Framing::Chunked,
            (Body::UntilClose, Version::Http11) => Framing::Rechunked,
            (Body::Chunked | Body::UntilClose, Version::Http10) => Framing::UntilClose,
        }
    }

    /// The client gets the very bytes that the upstream has sent.
    fn is_verbatim(self) -> bool {
        matches!(self, Framing::AsStated | Framing::Chunked)
    }
}

pub struct Relay<'a> {
    pub shard: &'a Shard,
    pub client: &'a Socket,
    /// How long the client may take nothing.
    pub client_timeout: Duration,
    pub framing: Framing,
}

impl Relay<'_> {
    /// Sends `out` (the head, with what had arrived of the body: `arrived` up to `taken`), then the rest of the body.
    /// Returns whether the upstream sent exactly this response.
    ///
    /// # Errors
    /// A body that is malformed or too short, an upstream that stalls, a client that left.
    pub async fn run(
        &self,
        incoming: &mut Incoming<'_>,
        mut taken: usize,
        mut out: Vec<u8>,
        log: &mut RequestLog,
    ) -> Result<bool, Error> {
        let buffers = &self.shard.buffers;
        out = self.send(out, None, log).await?;
        // No buffer is held while nothing comes.
        buffers.give_back(std::mem::take(&mut out));
        while !incoming.body.is_done() {
            if self.splice(incoming, log).await? {
                taken = incoming.arrived.len();
                continue;
            }
            incoming.read(taken, ClientWatch::begin(self.client, incoming.upstream)).await?;
            if self.framing.is_verbatim() {
                taken = incoming.body.take(&incoming.arrived).map_err(refused_body)?;
                let arrived = std::mem::take(&mut incoming.arrived);
                incoming.arrived = self.send(arrived, Some(taken), log).await?;
            } else {
                if out.capacity() == 0 {
                    out = buffers.small();
                }
                out.clear();
                taken = self.encode(incoming, &mut out)?;
                out = self.send(out, None, log).await?;
                if !incoming.refill.was_filled() {
                    buffers.give_back(std::mem::take(&mut out));
                }
            }
        }
        let ended_exactly = taken == incoming.arrived.len();
        buffers.give_back(out);
        buffers.give_back(std::mem::take(&mut incoming.arrived));
        Ok(ended_exactly)
    }

    /// Carries the rest of a long body without looking at it; false where that is not to be done: both ends have to be
    /// raw, and what is left long enough.
    async fn splice(&self, incoming: &mut Incoming<'_>, log: &mut RequestLog) -> Result<bool, Error> {
        let bytes = incoming.body.opaque_bytes();
        let (Some(from), Some(to)) = (incoming.upstream.raw(), self.client.raw()) else { return Ok(false) };
        let pipes = &self.shard.pipes;
        let Some(pipe) = pipes.take_for(bytes) else { return Ok(false) };
        self.shard.buffers.give_back(std::mem::take(&mut incoming.arrived));
        let carrying = pipe.carry(from, to, bytes, incoming.timeout(), self.client_timeout);
        let carried = Box::pin(carrying).await;
        log.bytes_out += carried.bytes;
        incoming.body.pass(carried.bytes);
        pipes.give_back(pipe);
        match carried.result {
            Ok(()) => Ok(true),
            Err(Stopped::To(error)) => Err(client_left(error)),
            Err(Stopped::From(error)) => Err(upstream_stopped(&error)),
        }
    }

    /// Appends what has arrived of the body to `out`, in the client's framing. Returns how far `arrived` was taken.
    pub fn encode(&self, incoming: &mut Incoming<'_>, out: &mut Vec<u8>) -> Result<usize, Error> {
        let from = std::mem::take(&mut incoming.from);
        let input = &incoming.arrived[from..];
        let body = &mut incoming.body;
        let taken = match self.framing {
            Framing::AsStated | Framing::Chunked => {
                let taken = body.take(input).map_err(refused_body)?;
                out.extend_from_slice(&input[..taken]);
                taken
            }
            Framing::UntilClose => {
                body.take_payload(input, |run| out.extend_from_slice(run)).map_err(refused_body)?
            }
            Framing::Rechunked => {
                body.take_payload(input, |run| write::chunk(out, run)).map_err(refused_body)?
            }
        };
        if self.framing == Framing::Rechunked && body.is_done() {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(from + taken)
    }

    /// Writes the first `bytes` of a buffer (all of it by default) to the client.
    async fn send(
        &self,
        buffer: Vec<u8>,
        bytes: Option<usize>,
        log: &mut RequestLog,
    ) -> Result<Vec<u8>, Error> {
        let bytes = bytes.unwrap_or(buffer.len());
        let written = self.client.write(buffer, bytes, self.client_timeout).await;
        log.bytes_out += written.sent_bytes as u64;
        written.result.map_err(client_left)?;
        Ok(written.buffer)
    }
}
