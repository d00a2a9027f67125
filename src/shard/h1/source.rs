//! A request body on its way in, as it comes over a client's connection.

use std::io;
use std::time::Duration;

use crate::base::error::{Error, Reason};
use crate::http::body::{BodyError, BodyReader};
use crate::net::expiry::Expiry;
use crate::net::{Refill, Socket};
use crate::shard::Shard;
use crate::shard::protocol::ResponseSink;
use crate::shard::request_log::RequestLog;

/// How much of a body that nobody wants is read, so that its client can go on using the connection. More would cost
/// more than another connection.
pub const MAX_DISCARDED_BYTES: u64 = 64 * 1024;

/// The body of the request that a connection is at.
pub struct WireBody<'a> {
    pub shard: &'a Shard,
    pub socket: &'a Socket,
    /// Between two reads.
    pub timeout: Duration,
    /// The client sends nothing before a 100 (Continue).
    pub awaits_continue: bool,
    /// What was read and not yet used. What belongs to the next request stays here.
    pub input: &'a mut Vec<u8>,
    pub body: &'a mut BodyReader,
}

impl WireBody<'_> {
    /// Whether all of the body was taken.
    pub fn is_done(&self) -> bool {
        self.body.is_done()
    }

    /// Appends what has arrived of the body, as it came, as far as `out` stays within `max_bytes`.
    ///
    /// # Errors
    /// A malformed or over-long body.
    pub fn take_arrived(
        &mut self,
        out: &mut Vec<u8>,
        max_bytes: usize,
        log: &RequestLog,
    ) -> Result<(), Error> {
        let room = max_bytes.saturating_sub(out.len());
        let arrived = &self.input[..self.input.len().min(room)];
        let taken = self.body.take(arrived).map_err(refused_body)?;
        out.extend_from_slice(&arrived[..taken]);
        self.input.drain(..taken);
        log.add_in(taken);
        if self.is_done() {
            self.shard.buffers.shrink(self.input);
        }
        Ok(())
    }

    /// Drops what has arrived of a body that nobody wants. Returns whether the rest, if there is more, can be read only
    /// to get to the next request: a client that waits for 100 (Continue) may send it or not.
    pub fn discard_arrived(&mut self) -> bool {
        let is_near = self.body.can_be_discarded(MAX_DISCARDED_BYTES) && !self.awaits_continue;
        match self.body.take(self.input) {
            Ok(taken) => {
                self.input.drain(..taken);
                is_near || self.body.is_done()
            }
            Err(_) => false,
        }
    }

    /// Reads the whole body and hands on its payload, without framing.
    ///
    /// # Errors
    /// A body that is malformed, over-long or late; whatever `payload` returns.
    pub async fn read_payload(
        &mut self,
        sink: &mut ResponseSink<'_>,
        log: &RequestLog,
        mut payload: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut refill = Refill::default();
        loop {
            let mut failed = None;
            let taken = self.body.take_payload(self.input, |run| {
                if failed.is_none() {
                    failed = payload(run).err();
                }
            });
            let taken = taken.map_err(refused_body)?;
            if let Some(error) = failed {
                return Err(error);
            }
            self.input.drain(..taken);
            log.add_in(taken);
            if self.body.is_done() {
                self.shard.buffers.shrink(self.input);
                return Ok(());
            }
            // No upstream has been asked yet, so it is for the gateway to say that the body may come (RFC 9110, 10.1.1).
            if std::mem::take(&mut self.awaits_continue) && self.input.is_empty() {
                sink.send_continue().await?;
            }
            self.read_next(&mut refill).await?;
        }
    }

    /// Reads more of the body into the input, holding no buffer while nothing comes.
    ///
    /// # Errors
    /// As [`WireBody::read_more`].
    pub async fn read_next(&mut self, refill: &mut Refill) -> Result<(), Error> {
        if !self.input.is_empty() {
            return self.read_more().await;
        }
        let spent = std::mem::take(self.input);
        let (result, input) = refill.read(self.socket, &self.shard.buffers, spent, self.timeout).await;
        *self.input = input;
        has_come(result)
    }

    /// Reads more of the body into the input.
    ///
    /// # Errors
    /// A client that stalls or leaves.
    pub async fn read_more(&mut self) -> Result<(), Error> {
        if self.input.capacity() == 0 {
            *self.input = self.shard.buffers.small();
        }
        let (result, input) = self.socket.read_within(std::mem::take(self.input), self.timeout).await;
        *self.input = input;
        has_come(result)
    }
}

/// More of the body, or why there is none.
fn has_come(read: io::Result<usize>) -> Result<(), Error> {
    match read {
        Ok(1..) => Ok(()),
        Ok(_) => Err(client_stopped(&io::ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(client_stopped(&error)),
    }
}

/// A client that does not send the rest of its body.
pub fn client_stopped(error: &io::Error) -> Error {
    let detail = match Expiry::of(error) {
        Some(Expiry::Stalled) => "the request body stalled",
        Some(Expiry::TooSlow) => "the request body came too slowly",
        Some(Expiry::Overdue) => "the request body was not here when the route's timeout passed",
        None => return Error::client(Reason::ClientClosed, "the client left during its body"),
    };
    Error::client(Reason::RequestTimeout, detail)
}

/// A request body that cannot go on, as the client's error.
pub fn refused_body(error: BodyError) -> Error {
    match error {
        BodyError::Bad(detail) => Error::client(Reason::BadRequest, detail),
        BodyError::TooLarge => Error::client(Reason::BodyTooLarge, "the body is over body_bytes"),
    }
}
