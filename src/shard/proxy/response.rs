//! The response of an upstream: interim heads passed on, the final one checked and rewritten, then its body.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use crate::base::error::{Error, Reason, Retry};
use crate::exchange::Transaction;
use crate::http::body::BodyReader;
use crate::http::fields::FieldName;
use crate::http::framing::{self, Body};
use crate::http::head::{self, HeadError, HeadScanner, Method, RESPONSE_LIMITS, ResponseHead, Version};
use crate::http::write;
use crate::limit::LimitReport;
use crate::net::Socket;
use crate::net::deadline::Direction;
use crate::pipeline::response_head;
use crate::pipeline::script::RouteScripts;
use crate::plan::ServerLimits;
use crate::shard::answer::{self, write_connection};
use crate::shard::proxy::attempt::Exchange;
use crate::shard::proxy::response_body::{self, Mode, Relay};
use crate::shard::request_log::RequestLog;
use crate::shard::scripted::Held;

/// How the response ended, when it ended well.
pub enum End {
    Complete {
        /// The upstream connection can serve again.
        reusable: bool,
        /// The client connection can.
        keep_alive: bool,
    },
    /// Both agreed on another protocol; `first` is what the upstream has sent of it already.
    Upgraded { first: Vec<u8> },
}

/// Everything that reading and passing on one response needs.
pub struct Responder<'a> {
    pub exchange: &'a Exchange<'a>,
    pub client: &'a Socket,
    pub upstream: &'a Socket,
    /// When the attempt began.
    pub began: Instant,
    pub limits: &'a ServerLimits,
    /// Where the request stands with the rate limits that it met.
    pub told: &'a LimitReport,
    pub method: Method,
    /// The client's.
    pub version: Version,
    /// The request body is still on its way: the upstream need not answer yet.
    pub pumping: &'a Cell<bool>,
    /// The final head has arrived.
    pub answered: Cell<bool>,
    /// And it tells the client, whose request body is not all here, that the rest is not wanted.
    pub refused: Cell<bool>,
}

/// A response whose final head has come.
struct Came {
    body: BodyReader,
    /// The upstream connection can serve again, if the body ends as it should.
    reusable: bool,
    /// The client connection can, as far as is known yet.
    keep_alive: bool,
    /// The body begins at `from`.
    arrived: Vec<u8>,
    from: usize,
}

impl Came {
    /// Whether the body is here already, and nothing behind it.
    fn is_all_here(&mut self) -> bool {
        let rest = &self.arrived[self.from..];
        let taken = self.body.take(rest);
        self.body.is_done() && taken.is_ok_and(|taken| taken == rest.len())
    }
}

/// A head in a buffer: how long it is, and the buffer with what follows.
struct Arrived {
    head_bytes: usize,
    buffer: Vec<u8>,
}

impl Responder<'_> {
    /// The request is with the upstream: from here its answer is waited for, `response_timeout` at the most.
    pub fn request_sent(&self) {
        self.pumping.set(false);
        self.await_head();
    }

    /// No more of the request will be sent. A head that is here already has ended this wait, and its body
    /// has waits of its own.
    pub fn await_head(&self) {
        if !self.answered.get() {
            let timeout = self.exchange.within(self.exchange.upstream.plan.response_timeout);
            self.upstream.slot().arm(Direction::Read, timeout);
        }
    }

    /// Passes on one response, interim ones before it included.
    ///
    /// # Errors
    /// The upstream's faults, and a client that left.
    pub async fn run(&self, transaction: &mut Transaction, record: &mut RequestLog) -> Result<End, Error> {
        if self.pumping.get() && self.exchange.until.is_some() {
            self.upstream.slot().arm(Direction::Read, self.exchange.within(Duration::MAX));
        }
        let mut buffer = self.exchange.shard.buffers.small();
        loop {
            let Arrived { head_bytes, buffer: mut arrived } = self.read_head(buffer).await?;
            let head = &mut transaction.response;
            head::parse_response(&arrived[..head_bytes], head).map_err(refusal)?;
            match head.status() {
                101 => return Box::pin(self.upgrade(transaction, head_bytes, arrived, record)).await,
                100..=199 => {
                    arrived.drain(..head_bytes);
                    Box::pin(self.interim(head, record)).await?;
                    buffer = arrived;
                }
                _ => {
                    self.answered.set(true);
                    self.upstream.slot().disarm(Direction::Read);
                    return self.finally(transaction, head_bytes, arrived, record).await;
                }
            }
        }
    }

    /// Reads until `buffer` begins with a whole head.
    async fn read_head(&self, mut buffer: Vec<u8>) -> Result<Arrived, Error> {
        let mut scanner = HeadScanner::default();
        loop {
            if let Some(head_bytes) = scanner.scan(&buffer, &RESPONSE_LIMITS).map_err(refusal)? {
                return Ok(Arrived { head_bytes, buffer });
            }
            if buffer.len() == buffer.capacity() {
                buffer.reserve(RESPONSE_LIMITS.bytes);
            }
            let nothing_came = buffer.is_empty();
            let waiting = Waiting::new(self.client, self.upstream);
            // The deadline stays as it is over all reads of the head.
            let (result, back) = self.upstream.read(buffer).await;
            let left = waiting.end();
            buffer = back;
            // A request that it does not take in time is as late as an answer that does not come.
            let slot = self.upstream.slot();
            let late = slot.fired(Direction::Read) || slot.fired(Direction::Write);
            if matches!(result, Ok(1..)) && !late {
                continue;
            }
            return Err(match result {
                _ if left => Error::client(Reason::ClientClosed, "the client left while it waited"),
                _ if late => {
                    Error::upstream(Reason::UpstreamTimeout, Retry::Never, "no response head in time")
                }
                _ if nothing_came => {
                    Error::upstream(Reason::UpstreamReset, Retry::IfIdempotent, "closed before a response")
                }
                _ => Error::upstream(Reason::UpstreamReset, Retry::Never, "closed within the response head"),
            });
        }
    }

    /// Passes on a 1xx (RFC 9110, 15.2), except to HTTP/1.0 clients, who know none.
    async fn interim(&self, head: &mut ResponseHead, record: &mut RequestLog) -> Result<(), Error> {
        if self.version == Version::Http10 {
            return Ok(());
        }
        response_head::clean(&mut head.fields);
        head.fields.remove_id(FieldName::ContentLength);
        let mut out = self.exchange.shard.buffers.small();
        write::status_line(&mut out, head.status(), head.reason());
        head.fields.write_to(&mut out);
        out.extend_from_slice(b"\r\n");
        // Should this write be cut short, no other answer may follow it.
        record.head_sent = true;
        self.send(out, record).await?;
        record.head_sent = false;
        Ok(())
    }

    /// The final response.
    async fn finally(
        &self,
        transaction: &mut Transaction,
        head_bytes: usize,
        arrived: Vec<u8>,
        record: &mut RequestLog,
    ) -> Result<End, Error> {
        let head = &mut transaction.response;
        let framing = framing::response_body(head, self.method).map_err(refusal)?;
        let mut came = Came {
            body: BodyReader::new(framing, u64::MAX, RESPONSE_LIMITS.bytes),
            reusable: framing::wants_keep_alive(head.version(), &head.fields) && framing != Body::UntilClose,
            keep_alive: record.keep_alive && !self.exchange.shard.draining.get(),
            arrived,
            from: head_bytes,
        };
        record.upstream_time = Some(self.began.elapsed());
        record.status = head.status();
        if let Some(target) = &record.target {
            target.metrics.request(head.status());
        }
        response_head::clean(&mut head.fields);
        let whole_for = match self.exchange.scripts {
            Some(scripts) if scripts.on_response_head(transaction, self.method, framing)? => Some(scripts),
            _ => None,
        };
        let early_refusal = self.pumping.get() && transaction.response.status() >= 300;
        self.refused.set(early_refusal);
        came.keep_alive &= !early_refusal;
        if let Some(scripts) = whole_for {
            return Box::pin(self.whole(scripts, transaction, came, record)).await;
        }
        self.stream(transaction, framing, came, record).await
    }

    /// Passes the body on as it comes.
    async fn stream(
        &self,
        transaction: &mut Transaction,
        framing: Body,
        came: Came,
        record: &mut RequestLog,
    ) -> Result<End, Error> {
        let mode = Mode::of(framing, self.version);
        let keep_alive = came.keep_alive && mode != Mode::UntilClose;
        record.status = transaction.response.status();
        let mut out = self.exchange.shard.buffers.small();
        self.write_head(transaction, mode, keep_alive, &mut out);
        let mut relay = Relay {
            exchange: self.exchange,
            upstream: self.upstream,
            client: self.client,
            client_timeout: self.limits.body_timeout,
            mode,
            body: came.body,
        };
        let ended_exactly = relay.run(out, came.arrived, came.from, record).await?;
        Ok(End::Complete { reusable: came.reusable && ended_exactly, keep_alive })
    }

    /// Has scripts see the whole body, or takes the one that they set, and sends that.
    async fn whole(
        &self,
        scripts: RouteScripts<'_>,
        transaction: &mut Transaction,
        mut came: Came,
        record: &mut RequestLog,
    ) -> Result<End, Error> {
        let mut held = Held::new(&self.exchange.shard.held_bytes, scripts.plan.max_body);
        let mut wire = Vec::new();
        let ended_exactly = if transaction.edits.response_body.changed {
            came.is_all_here()
        } else {
            self.collect(&mut came, &mut wire, &mut held).await?
        };
        let body = scripts.on_response_body(transaction, wire)?;
        record.status = transaction.response.status();
        answer::add_date(&mut transaction.response.fields, self.exchange.shard);
        // It is all sent at once: an upload that has not ended by now is cut.
        self.refused.set(self.pumping.get());
        let keep_alive = came.keep_alive && !self.pumping.get();
        let mut out = self.exchange.shard.buffers.small();
        self.write_head(transaction, Mode::Length, keep_alive, &mut out);
        if self.method != Method::Head {
            out.extend_from_slice(&body);
        }
        record.head_sent = true;
        self.send(out, record).await?;
        Ok(End::Complete { reusable: came.reusable && ended_exactly, keep_alive })
    }

    /// Reads the whole body. Returns whether the upstream sent exactly this response.
    async fn collect(&self, came: &mut Came, wire: &mut Vec<u8>, held: &mut Held) -> Result<bool, Error> {
        let idle_timeout = || self.exchange.within(self.exchange.upstream.plan.idle_timeout);
        loop {
            let before = wire.len();
            let taken = came.body.take_payload(&came.arrived[came.from..], |run| wire.extend_from_slice(run));
            let taken = taken.map_err(response_body::refusal)?;
            held.add_of_response(wire.len() - before)?;
            if came.body.is_done() {
                let ended_exactly = came.from + taken == came.arrived.len();
                self.exchange.shard.buffers.give_back(std::mem::take(&mut came.arrived));
                return Ok(ended_exactly);
            }
            came.from = 0;
            came.arrived.clear();
            let room = std::mem::take(&mut came.arrived);
            let waiting = Waiting::new(self.client, self.upstream);
            let read = response_body::read_body(self.upstream, &mut came.body, room, idle_timeout()).await;
            if waiting.end() {
                return Err(Error::client(Reason::ClientClosed, "the client left while it waited"));
            }
            came.arrived = read?;
        }
    }

    fn write_head(&self, transaction: &mut Transaction, mode: Mode, keep_alive: bool, out: &mut Vec<u8>) {
        self.told.write_to(&mut transaction.response.fields);
        response_head::prepare(transaction, self.exchange.route);
        let head = &mut transaction.response;
        if head.status() == 204 {
            head.fields.remove_id(FieldName::ContentLength);
        }
        write::status_line(out, head.status(), head.reason());
        head.fields.write_to(out);
        if matches!(mode, Mode::Chunked | Mode::Rechunk) {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        write_connection(out, keep_alive, self.version);
        out.extend_from_slice(b"\r\n");
    }

    /// A 101 (RFC 9110, 15.2.2): right only where the client asked, and with its request complete.
    async fn upgrade(
        &self,
        transaction: &mut Transaction,
        head_bytes: usize,
        mut arrived: Vec<u8>,
        record: &mut RequestLog,
    ) -> Result<End, Error> {
        let protocol = transaction.response.fields.find(b"upgrade").map(<[u8]>::to_vec);
        let (true, false, Some(protocol)) = (self.exchange.upgrade, self.pumping.get(), protocol) else {
            let detail = "101 that nobody asked for";
            return Err(Error::upstream(Reason::UpstreamProtocol, Retry::Never, detail));
        };
        self.upstream.slot().disarm(Direction::Read);
        response_head::clean(&mut transaction.response.fields);
        self.told.write_to(&mut transaction.response.fields);
        response_head::prepare(transaction, self.exchange.route);
        let head = &mut transaction.response;
        head.fields.remove_id(FieldName::ContentLength);
        let mut out = self.exchange.shard.buffers.small();
        write::status_line(&mut out, 101, head.reason());
        head.fields.write_to(&mut out);
        write::field(&mut out, b"Connection", b"Upgrade");
        write::field(&mut out, b"Upgrade", &protocol);
        out.extend_from_slice(b"\r\n");
        record.status = 101;
        record.head_sent = true;
        self.send(out, record).await?;
        arrived.drain(..head_bytes);
        Ok(End::Upgraded { first: arrived })
    }

    async fn send(&self, out: Vec<u8>, record: &mut RequestLog) -> Result<(), Error> {
        let written = self.client.write_all(out, self.limits.body_timeout).await;
        record.bytes_out += written.sent_bytes as u64;
        self.exchange.shard.buffers.give_back(written.buffer);
        written.result.map_err(client_left)
    }
}

/// A client that could not be written to.
pub fn client_left(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            Error::client(Reason::ClientClosed, "the client took nothing for too long")
        }
        _ => Error::client(Reason::ClientClosed, "the client left during the response"),
    }
}

/// A head or body that breaks the grammar, as the upstream's error.
pub fn refusal(error: HeadError) -> Error {
    Error::upstream(Reason::UpstreamProtocol, Retry::Never, error.to_string())
}

/// Has the tick look whether the client is still there, for as long as it waits.
struct Waiting<'a>(&'a Socket);

impl Waiting<'_> {
    fn new<'a>(client: &'a Socket, upstream: &Socket) -> Waiting<'a> {
        client.slot().wait_on(upstream.slot());
        Waiting(client)
    }

    /// Whether the client left.
    fn end(self) -> bool {
        self.0.slot().stop_waiting()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.slot().stop_waiting();
    }
}
