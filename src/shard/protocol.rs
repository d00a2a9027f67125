//! What a client's protocol gives to a request: where its body comes from, and where its response goes. Enums, so that
//! everything behind them stays monomorphic; another protocol is another variant.
//!
//! Everything above this file is the same for all protocols: steps, attempts and scripts see a `BodySource` and a
//! `ResponseSink`, never a client's socket.

use std::cell::Cell;

use super::Shard;
use super::h1::{WireBody, WireResponse};
use super::held::HeldBytes;
use super::proxy::attempt::Exchange;
use super::proxy::request_body::{self, UploadError};
use super::proxy::response_body::Incoming;
use super::request_log::RequestLog;
use crate::base::error::Error;
use crate::exchange::Transaction;
use crate::http::head::ResponseHead;
use crate::net::{ClientWatch, Socket};

/// A request body on its way in. Framing and trailers are part of it.
/// There is one buffer in flight: a body is read as fast as its upstream takes it.
pub enum BodySource<'a> {
    /// It comes over the client's HTTP/1 connection, and passes verbatim.
    Http1(WireBody<'a>),
    /// It is all here.
    Whole(WholeBody),
}

/// A request body that was read as a whole, or that a script has made.
pub struct WholeBody {
    /// The payload, without framing.
    pub bytes: Vec<u8>,
    /// The upstream has it all.
    pub is_sent: bool,
    /// Counts the body for as long as the exchange may need it.
    /// Never read: its `Drop` counts the bytes down.
    pub _held: Option<HeldBytes>,
}

impl BodySource<'_> {
    /// Whether nothing of the body is left to be sent.
    pub fn is_done(&self) -> bool {
        match self {
            BodySource::Http1(body) => body.is_done(),
            BodySource::Whole(body) => body.is_sent,
        }
    }

    /// The client's connection, while the body is still to come over it.
    pub fn client(&self) -> Option<&Socket> {
        match self {
            BodySource::Http1(body) => (!body.is_done()).then_some(body.socket),
            BodySource::Whole(_) => None,
        }
    }

    /// How much is still to come of a body with a length that its client sends unasked; 0 where nothing is, or where its
    /// end cannot be known.
    pub fn bytes_to_come(&self) -> u64 {
        match self {
            BodySource::Http1(body) if body.awaits_continue => 0,
            BodySource::Http1(body) => body.body.opaque_bytes(),
            BodySource::Whole(_) => 0,
        }
    }

    /// Appends what is here of the body behind a request head, as far as `out` stays within `max_bytes`: most requests
    /// are one write.
    ///
    /// # Errors
    /// A malformed or over-long body.
    pub fn take_arrived(
        &mut self,
        out: &mut Vec<u8>,
        max_bytes: usize,
        log: &RequestLog,
    ) -> Result<(), Error> {
        match self {
            // Nothing but the upstream's answer makes this client send.
            BodySource::Http1(body) if body.awaits_continue => Ok(()),
            BodySource::Http1(body) => body.take_arrived(out, max_bytes, log),
            BodySource::Whole(body) => {
                if out.len() + body.bytes.len() <= max_bytes {
                    out.extend_from_slice(&body.bytes);
                    body.is_sent = true;
                }
                Ok(())
            }
        }
    }

    /// Drops what is here of a body that nobody wants. Returns whether the connection can carry another request when the
    /// rest has been read, which is left for after the response.
    /// Reads nothing: the response must not wait for a client that still sends.
    pub fn discard_arrived(&mut self) -> bool {
        match self {
            BodySource::Http1(body) => body.discard_arrived(),
            BodySource::Whole(_) => true,
        }
    }

    /// Reads the whole body, of at most `max_body` bytes, and holds it. Counted from the first byte, so that many slow
    /// uploads cannot hold more than the shard's share, and give way to faster ones.
    ///
    /// # Errors
    /// A body that is malformed, over-long or late; `overloaded` where the shard holds too many.
    pub async fn read_held(
        &mut self,
        shard: &Shard,
        sink: &mut ResponseSink<'_>,
        log: &RequestLog,
        max_body: usize,
    ) -> Result<(Vec<u8>, HeldBytes), Error> {
        let deadlines = &shard.deadlines;
        let mut held = HeldBytes::new(&shard.held_bodies, max_body);
        if let Some(client) = self.client() {
            held = held.coming_from(client, deadlines.now_ms());
        }
        let mut bytes = Vec::new();
        let keep = |run: &[u8]| {
            held.add(run.len(), deadlines.now_ms())?;
            bytes.extend_from_slice(run);
            Ok(())
        };
        self.read_payload(sink, log, keep).await?;
        held.has_come();
        Ok((bytes, held))
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
        match self {
            BodySource::Http1(body) => body.read_payload(sink, log, payload).await,
            BodySource::Whole(body) => payload(&body.bytes),
        }
    }

    /// Sends the rest of the body to an upstream. `keep`: it may have to be sent once more.
    ///
    /// # Errors
    /// Which side ended it early.
    pub async fn upload(
        &mut self,
        exchange: &Exchange<'_>,
        upstream: &Socket,
        keep: bool,
        bytes_in: &Cell<usize>,
    ) -> Result<(), UploadError> {
        match self {
            BodySource::Http1(body) => request_body::upload(body, exchange, upstream, bytes_in).await,
            BodySource::Whole(body) => request_body::upload_whole(body, exchange, upstream, keep).await,
        }
    }

    /// Has a body that is all here be sent from its beginning once more.
    /// A body from a client's connection has no beginning to return to: what was taken of it is in the first write.
    pub fn rewind(&mut self) {
        if let BodySource::Whole(body) = self {
            body.is_sent = false;
        }
    }

    /// Whether all of the body is at hand for another attempt: in the first write, or held.
    /// Otherwise a second attempt would send a request with a hole in it.
    pub fn can_replay(&self) -> bool {
        match self {
            BodySource::Http1(body) => body.is_done(),
            BodySource::Whole(_) => true,
        }
    }
}

/// A response on its way out.
/// Final responses are sent once: by `respond`, `stream` or `switch_protocols`.
pub enum ResponseSink<'a> {
    Http1(WireResponse<'a>),
}

impl<'a> ResponseSink<'a> {
    /// Whether a response head is on its way to the client: no other answer can be given.
    pub fn head_sent(&self) -> bool {
        match self {
            ResponseSink::Http1(response) => response.head_sent,
        }
    }

    /// What follows on the connection cannot be trusted, or read: this response is its last.
    /// Cannot be undone for this response.
    pub fn end_connection(&mut self) {
        match self {
            ResponseSink::Http1(response) => response.keep_alive = false,
        }
    }

    /// The rest of the request's body is not wanted: a client that stops sending it, as it should, has not left.
    pub fn let_upload_end(&mut self) {
        self.end_connection();
        match self {
            ResponseSink::Http1(response) => response.socket.slot().set_deaf(),
        }
    }

    /// Whether the connection can carry another request after this response.
    pub fn keeps_connection(&self) -> bool {
        match self {
            ResponseSink::Http1(response) => response.keep_alive,
        }
    }

    /// Has the client send the body that it holds back.
    /// `100 Continue` (RFC 9110, 10.1.1), where the client waits for it; once per request.
    ///
    /// # Errors
    /// A client that left.
    pub async fn send_continue(&mut self) -> Result<(), Error> {
        match self {
            ResponseSink::Http1(response) => response.send_continue().await,
        }
    }

    /// The exchange with this client must be over at this time of the coarse clock, and the client must send and take its
    /// bodies at this rate, in bytes a second (0: any).
    pub fn begin_exchange(&self, until_ms: u64, min_rate: u64) {
        match self {
            ResponseSink::Http1(response) => response.socket.slot().begin_exchange(until_ms, min_rate),
        }
    }

    /// Neither holds any more: the exchange is over, or failed, and what the client is told of that is short.
    pub fn end_exchange(&self) {
        match self {
            ResponseSink::Http1(response) => response.socket.slot().end_exchange(),
        }
    }

    /// Passes on an interim response.
    /// A 1xx other than 101 (RFC 9110, 15.2). Any number may come before the final head.
    ///
    /// # Errors
    /// A client that left.
    pub async fn interim(&mut self, head: &mut ResponseHead, log: &mut RequestLog) -> Result<(), Error> {
        match self {
            ResponseSink::Http1(response) => response.interim(head, log).await,
        }
    }

    /// Sends a response whose body is all here, and whose head (in the transaction) is ready.
    ///
    /// # Errors
    /// A client that left.
    pub async fn respond(
        &mut self,
        transaction: &Transaction,
        body: &[u8],
        log: &mut RequestLog,
    ) -> Result<(), Error> {
        match self {
            ResponseSink::Http1(response) => response.respond(transaction, body, log).await,
        }
    }

    /// Sends a response whose body still comes. Returns whether the upstream has sent exactly this response.
    /// False where bytes follow that belong to no response: the connection to the upstream is then not used again.
    ///
    /// # Errors
    /// A body that is malformed or too short, an upstream that stalls, a client that left.
    pub async fn stream(
        &mut self,
        head: &ResponseHead,
        incoming: &mut Incoming<'_>,
        log: &mut RequestLog,
    ) -> Result<bool, Error> {
        match self {
            ResponseSink::Http1(response) => response.stream(head, incoming, log).await,
        }
    }

    /// Agrees to another protocol.
    ///
    /// # Errors
    /// A client that left.
    pub async fn switch_protocols(
        &mut self,
        head: &ResponseHead,
        protocol: &[u8],
        log: &mut RequestLog,
    ) -> Result<(), Error> {
        match self {
            ResponseSink::Http1(response) => response.switch_protocols(head, protocol, log).await,
        }
    }

    /// Has the tick look whether the client is still there, for as long as it waits for this upstream.
    pub fn watch_client(&self, upstream: &Socket) -> ClientWatch<'a> {
        match self {
            ResponseSink::Http1(response) => ClientWatch::begin(response.socket, upstream),
        }
    }

    /// Whether the client has left, as far as can be seen without reading from it.
    pub fn client_left(&self) -> bool {
        match self {
            ResponseSink::Http1(response) => response.socket.has_left(),
        }
    }
}
