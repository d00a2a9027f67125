//! The response body as it comes from an upstream's HTTP/1 connection.
//!
//! It is read only as fast as the client takes it, or as a whole where scripts are to see it.

use std::io;
use std::time::Duration;

use super::attempt::Exchange;
use crate::base::error::{Error, Reason, Retry};
use crate::http::body::{BodyError, BodyReader};
use crate::http::framing::Body;
use crate::net::expiry::Expiry;
use crate::net::{ClientWatch, Refill, Socket};
use crate::shard::held::HeldBytes;
use crate::shard::protocol::ResponseSink;

/// A response body of which some may have arrived with its head.
pub struct Incoming<'a> {
    pub exchange: &'a Exchange<'a>,
    pub upstream: &'a Socket,
    /// How the body arrives.
    pub framing: Body,
    pub body: BodyReader,
    /// What was read last; the body begins at `from`.
    pub arrived: Vec<u8>,
    pub from: usize,
    pub refill: Refill,
}

impl Incoming<'_> {
    /// How long the upstream may send nothing.
    pub fn timeout(&self) -> Duration {
        self.exchange.idle_timeout()
    }

    /// Whether the body may go on for as long as its upstream likes, as a stream of events does. Cheap rather than
    /// exact: trailers make a chunked body that is all here look like one that goes on.
    pub fn may_last(&self) -> bool {
        match self.framing {
            Body::None | Body::Length(_) => false,
            Body::Chunked => !self.arrived[self.from..].ends_with(b"0\r\n\r\n"),
            Body::UntilClose => true,
        }
    }

    /// Whether the body is here already, and nothing behind it.
    /// Reads nothing. True means that the connection is clean although the body was never used.
    pub fn is_all_here(&mut self) -> bool {
        let rest = &self.arrived[self.from..];
        let taken = self.body.take(rest);
        self.body.is_done() && taken.is_ok_and(|taken| taken == rest.len())
    }

    /// Reads more into `arrived`, in place of its first `taken` bytes; nothing: the body was delimited by the close that
    /// has come.
    ///
    /// # Errors
    /// An upstream that stalls, or that closes too early; a client that left while it waited.
    pub async fn read(&mut self, taken: usize, watch: ClientWatch<'_>) -> Result<(), Error> {
        self.from = 0;
        self.arrived.drain(..taken);
        let (arrived, timeout) = (std::mem::take(&mut self.arrived), self.timeout());
        let (result, buffer) = if arrived.is_empty() {
            self.refill.read(self.upstream, &self.exchange.shard.buffers, arrived, timeout).await
        } else {
            self.upstream.read_within(arrived, timeout).await
        };
        self.arrived = buffer;
        let late = result.as_ref().is_err_and(|error| Expiry::of(error).is_some());
        match result {
            _ if watch.end(late) => Err(left_waiting()),
            Ok(1..) => Ok(()),
            Err(error) => Err(upstream_stopped(&error)),
            Ok(_) => match self.body.end_of_input() {
                Ok(()) => Ok(()),
                Err(_) => Err(Error::upstream(Reason::UpstreamReset, Retry::Never, "closed within the body")),
            },
        }
    }

    /// Reads the whole body into `payload`, without framing. Returns whether the upstream sent exactly this response.
    ///
    /// # Errors
    /// A body that is malformed, too short or too large, an upstream that stalls, a client that left.
    pub async fn read_whole(
        &mut self,
        payload: &mut Vec<u8>,
        held: &mut HeldBytes,
        sink: &ResponseSink<'_>,
    ) -> Result<bool, Error> {
        loop {
            let before = payload.len();
            let taken =
                self.body.take_payload(&self.arrived[self.from..], |run| payload.extend_from_slice(run));
            let taken = taken.map_err(refused_body)?;
            held.add_of_response(payload.len() - before, self.exchange.shard.deadlines.now_ms())?;
            if self.body.is_done() {
                let ended_exactly = self.from + taken == self.arrived.len();
                self.exchange.shard.buffers.give_back(std::mem::take(&mut self.arrived));
                return Ok(ended_exactly);
            }
            self.read(self.from + taken, sink.watch_client(self.upstream)).await?;
        }
    }
}

/// A client that left while its upstream let it wait.
pub fn left_waiting() -> Error {
    Error::client(Reason::ClientClosed, "the client left while it waited")
}

/// An upstream that stopped within the body.
/// Never retried: the client may have a part of the response already.
pub fn upstream_stopped(error: &io::Error) -> Error {
    match Expiry::of(error) {
        Some(Expiry::Overdue) => {
            let detail = "the response body was not here when the route's timeout passed";
            Error::upstream(Reason::UpstreamTimeout, Retry::Never, detail)
        }
        Some(_) => Error::upstream(Reason::UpstreamTimeout, Retry::Never, "the response body stalled"),
        None => Error::upstream(Reason::UpstreamReset, Retry::Never, format!("within the body: {error}")),
    }
}

/// A body that breaks its framing, as the upstream's error.
pub fn refused_body(error: BodyError) -> Error {
    let detail = match error {
        BodyError::Bad(detail) => detail,
        BodyError::TooLarge => "the body is too large",
    };
    Error::upstream(Reason::UpstreamProtocol, Retry::Never, detail)
}
