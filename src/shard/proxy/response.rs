//! The response of an upstream: interim heads passed on, the final one checked and put through the way out, then its
//! body.
//!
//! A head is parsed into the turn's transaction, so the steps and scripts of the way out see it there.

use std::cell::Cell;
use std::time::Instant;

use super::attempt::{Exchange, Upload};
use super::endpoint_choice::ChosenRetry;
use super::response_body::{Incoming, left_waiting};
use super::retry::FailedAttempt;
use crate::balance;
use crate::base::error::{Error, Reason, Retry};
use crate::http::body::BodyReader;
use crate::http::framing::{self, Body};
use crate::http::head::{self, HeadError, HeadScanner, RESPONSE_LIMITS};
use crate::net::deadline::Direction;
use crate::net::{Refill, Socket};
use crate::pipeline::script::BodyHandling;
use crate::pipeline::{response_head, steps};
use crate::script::Hook;
use crate::shard::held::HeldBytes;
use crate::shard::protocol::ResponseSink;
use crate::shard::turn::{RequestBuffers, Turn};
use crate::upstream::InFlight;

/// How the response ended, when it ended well.
pub enum ResponseEnd {
    Complete {
        /// The upstream connection can serve again.
        reusable: bool,
    },
    /// Another endpoint is to answer; the client has seen nothing of this response.
    Retry {
        next: ChosenRetry,
        /// The upstream connection can serve again.
        reusable: bool,
    },
    /// Both agreed on another protocol; `first` is what the upstream has sent of it already.
    Upgraded { first: Vec<u8> },
}

/// Reads and passes on one response.
/// Runs beside the upload and shares its state by cells; both are polled by one task.
pub struct Responder<'a> {
    pub exchange: &'a Exchange<'a>,
    pub upstream: &'a Socket,
    pub in_flight: &'a InFlight<'a>,
    /// When the attempt began.
    pub began: Instant,
    /// While the request body is on its way the upstream need not answer yet.
    pub upload: &'a Cell<Upload>,
    /// The final head has arrived.
    pub answered: Cell<bool>,
    /// The whole request is at hand for another attempt.
    pub can_replay: bool,
    /// What was sent first of the request, for as long as it may have to be sent once more.
    pub sent: Cell<Vec<u8>>,
}

/// A head in a buffer: how long it is, and the buffer with what follows.
struct ArrivedHead {
    head_bytes: usize,
    buffer: Vec<u8>,
}

impl Responder<'_> {
    /// No more of the request will be sent: from here the answer is waited for, `response_timeout` at the most. A head
    /// that is here already has ended this wait, and its body has waits of its own.
    pub fn await_head(&self) {
        if !self.answered.get() {
            self.upstream.slot().arm(Direction::Read, self.exchange.upstream.plan.response_timeout);
        }
    }

    /// Passes on one response, interim ones before it included.
    ///
    /// # Errors
    /// The upstream's faults, and a client that left.
    pub async fn run(&self, turn: &mut Turn, sink: &mut ResponseSink<'_>) -> Result<ResponseEnd, Error> {
        // While the body is on its way, this can take long.
        let mut buffer = match self.upload.get() {
            Upload::Sending => Vec::new(),
            _ => self.exchange.shard.buffers.small(),
        };
        loop {
            let mut arrived = self.read_head(buffer, sink).await?;
            let head = &mut turn.buffers.transaction.response;
            head::parse_response(&arrived.buffer[..arrived.head_bytes], head).map_err(refused_head)?;
            match head.status() {
                101 => return Box::pin(self.upgrade(turn, sink, arrived)).await,
                100..=199 => {
                    arrived.buffer.drain(..arrived.head_bytes);
                    Box::pin(sink.interim(head, &mut turn.log)).await?;
                    buffer = arrived.buffer;
                }
                _ => {
                    self.answered.set(true);
                    self.upstream.slot().disarm(Direction::Read);
                    return self.respond(turn, sink, arrived).await;
                }
            }
        }
    }

    /// Reads until `buffer` begins with a whole head. Without room in it, none is held until something comes.
    async fn read_head(&self, mut buffer: Vec<u8>, sink: &ResponseSink<'_>) -> Result<ArrivedHead, Error> {
        let mut scanner = HeadScanner::default();
        loop {
            if let Some(head_bytes) = scanner.scan(&buffer, &RESPONSE_LIMITS).map_err(refused_head)? {
                return Ok(ArrivedHead { head_bytes, buffer });
            }
            let nothing_came = buffer.is_empty();
            let watch = sink.watch_client(self.upstream);
            if buffer.capacity() == 0 {
                // What is wrong with the socket, the read will say.
                let _ = self.upstream.readable().await;
                buffer = self.exchange.shard.buffers.small();
            } else if buffer.len() == buffer.capacity() {
                buffer.reserve(RESPONSE_LIMITS.bytes);
            }
            // The deadline stays as it is over all reads of the head.
            let (result, filled) = self.upstream.read(buffer).await;
            buffer = filled;
            // A request that it does not take in time is as late as an answer that does not come.
            let slot = self.upstream.slot();
            let late = slot.fired(Direction::Read) || slot.fired(Direction::Write);
            let client_left = watch.end(late);
            if matches!(result, Ok(1..)) && !late {
                continue;
            }
            return Err(match result {
                _ if client_left => left_waiting(),
                _ if late => {
                    Error::upstream(Reason::UpstreamTimeout, Retry::IfSetUp, "no response head in time")
                }
                _ if nothing_came => {
                    Error::upstream(Reason::UpstreamReset, Retry::IfIdempotent, "closed before a response")
                }
                _ => {
                    Error::upstream(Reason::UpstreamReset, Retry::IfSetUp, "closed within the response head")
                }
            });
        }
    }

    /// Passes on the final response.
    async fn respond(
        &self,
        turn: &mut Turn,
        sink: &mut ResponseSink<'_>,
        arrived: ArrivedHead,
    ) -> Result<ResponseEnd, Error> {
        let RequestBuffers { transaction, limit_report, .. } = &mut *turn.buffers;
        let head = &transaction.response;
        let framing = framing::response_body(head, transaction.request.method()).map_err(refused_head)?;
        let reusable = framing::wants_keep_alive(head.version(), &head.fields) && framing != Body::UntilClose;
        turn.log.upstream_time = Some(self.began.elapsed());
        turn.log.status = head.status();
        self.in_flight.responded(head.status(), self.exchange.shard.deadlines.now_ms());
        let mut incoming = Incoming {
            exchange: self.exchange,
            upstream: self.upstream,
            framing,
            body: BodyReader::new(framing, u64::MAX, RESPONSE_LIMITS.bytes),
            refill: Refill::after(&arrived.buffer),
            arrived: arrived.buffer,
            from: arrived.head_bytes,
        };
        if let Some(next) = self.other_instead(&transaction.id, head.status()) {
            let reusable = reusable && incoming.is_all_here();
            return Ok(ResponseEnd::Retry { next, reusable });
        }
        // An answer can be long, and the request is not sent again after one.
        self.exchange.shard.buffers.give_back(self.sent.take());
        let handling = steps::response_arrived(self.exchange.route, transaction, framing)?;
        if self.upload.get() != Upload::Complete && transaction.response.status() >= 300 {
            self.upload.set(Upload::Unwanted);
            sink.let_upload_end();
        }
        if handling == BodyHandling::Whole {
            let ended_exactly = Box::pin(self.respond_whole(turn, sink, &mut incoming)).await?;
            return Ok(ResponseEnd::Complete { reusable: reusable && ended_exactly });
        }
        turn.log.status = transaction.response.status();
        steps::finish_response(Some(self.exchange.route.plan), transaction, limit_report);
        if incoming.may_last() {
            let reads_heads = self.exchange.route.scripts.is_some_and(|scripts| scripts.has(Hook::Log));
            turn.buffers.free_request(reads_heads);
        }
        let head = &turn.buffers.transaction.response;
        let ended_exactly = sink.stream(head, &mut incoming, &mut turn.log).await?;
        Ok(ResponseEnd::Complete { reusable: reusable && ended_exactly })
    }

    /// Whether another endpoint is to answer in place of one that gave this status, and which.
    fn other_instead(&self, request_id: &[u8], status: u16) -> Option<ChosenRetry> {
        let (exchange, deadlines) = (self.exchange, &self.exchange.shard.deadlines);
        if exchange.upstream.plan.retry.on_status.is_empty() {
            return None;
        }
        let failed = FailedAttempt {
            connected: true,
            reused: false,
            can_replay: self.can_replay,
            is_repeatable: exchange.is_repeatable,
            is_unanswered: true,
            time_left: deadlines.left_until(exchange.until_ms),
            endpoints_tried: exchange.choice.endpoints_tried(),
            draw: balance::hash_key(request_id),
        };
        exchange.choice.instead_of_status(self.in_flight.endpoint(), status, failed, deadlines.now_ms())
    }

    /// Has scripts see the whole body, or takes the one that they have set, and sends that. Returns whether the
    /// upstream has sent exactly this response.
    async fn respond_whole(
        &self,
        turn: &mut Turn,
        sink: &mut ResponseSink<'_>,
        incoming: &mut Incoming<'_>,
    ) -> Result<bool, Error> {
        let shard = self.exchange.shard;
        let mut held = HeldBytes::new(&shard.held_bodies, turn.live.plan.scripts.max_body);
        let mut payload = Vec::new();
        let RequestBuffers { transaction, limit_report, .. } = &mut *turn.buffers;
        let ended_exactly = if transaction.edits.response_body.changed {
            incoming.is_all_here()
        } else {
            incoming.read_whole(&mut payload, &mut held, sink).await?
        };
        let body = steps::response_body(self.exchange.route, transaction, payload)?;
        turn.log.status = transaction.response.status();
        // It is all sent at once: an upload that has not ended by now is cut.
        if self.upload.get() != Upload::Complete {
            self.upload.set(Upload::Unwanted);
            sink.let_upload_end();
        }
        steps::finish_whole(
            Some(self.exchange.route.plan),
            transaction,
            limit_report,
            body.len(),
            shard.unix_s(),
        );
        sink.respond(transaction, &body, &mut turn.log).await?;
        Ok(ended_exactly)
    }

    /// A 101 (RFC 9110, 15.2.2): right only where the client asked, and with its request complete.
    ///
    /// # Errors
    /// `upstream_protocol` for an unsolicited 101: its bytes would otherwise reach a client that reads them as HTTP.
    async fn upgrade(
        &self,
        turn: &mut Turn,
        sink: &mut ResponseSink<'_>,
        mut arrived: ArrivedHead,
    ) -> Result<ResponseEnd, Error> {
        let RequestBuffers { transaction, limit_report, .. } = &mut *turn.buffers;
        let protocol = transaction.response.fields.find(b"upgrade").map(<[u8]>::to_vec);
        let is_offered = |protocol: &Vec<u8>| {
            let mut offered = framing::elements(transaction.meta.offered_upgrade());
            self.upload.get() == Upload::Complete && offered.any(|one| one.eq_ignore_ascii_case(protocol))
        };
        let Some(protocol) = protocol.filter(is_offered) else {
            let detail = "101 that nobody asked for";
            return Err(Error::upstream(Reason::UpstreamProtocol, Retry::Never, detail));
        };
        self.in_flight.responded(101, self.exchange.shard.deadlines.now_ms());
        self.upstream.slot().disarm(Direction::Read);
        response_head::clean(&mut transaction.response.fields);
        steps::finish_response(Some(self.exchange.route.plan), transaction, limit_report);
        turn.log.status = 101;
        sink.switch_protocols(&transaction.response, &protocol, &mut turn.log).await?;
        arrived.buffer.drain(..arrived.head_bytes);
        Ok(ResponseEnd::Upgraded { first: arrived.buffer })
    }
}

/// A head that breaks the grammar, as the upstream's error.
fn refused_head(error: HeadError) -> Error {
    Error::upstream(Reason::UpstreamProtocol, Retry::Never, error.to_string())
}
