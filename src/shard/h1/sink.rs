//! A response on its way out, over a client's connection.

use std::io;
use std::time::Duration;

use super::relay::{Framing, Relay};
use crate::base::error::{Error, Reason};
use crate::exchange::Transaction;
use crate::http::fields::FieldName;
use crate::http::head::{Method, ResponseHead, Version};
use crate::http::write;
use crate::net::Socket;
use crate::net::expiry::Expiry;
use crate::pipeline::{response_head, script};
use crate::shard::Shard;
use crate::shard::proxy::response_body::Incoming;
use crate::shard::request_log::RequestLog;

/// The response to the request that a connection is at.
pub struct WireResponse<'a> {
    pub shard: &'a Shard,
    pub socket: &'a Socket,
    /// The client's.
    pub version: Version,
    /// How long the client may take nothing.
    pub timeout: Duration,
    /// The connection can carry another request after this response, as far as is known yet.
    pub keep_alive: bool,
    /// The response head is on its way to the client: no other answer can be given.
    pub head_sent: bool,
}

impl WireResponse<'_> {
    /// Has the client send the body that it holds back (RFC 9110, 15.2.1).
    ///
    /// # Errors
    /// A client that left.
    pub async fn send_continue(&mut self) -> Result<(), Error> {
        let text = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
        self.socket.write_all(text, self.timeout).await.result.map_err(client_left)
    }

    /// Passes on a 1xx (RFC 9110, 15.2), except to HTTP/1.0 clients, who know none.
    ///
    /// # Errors
    /// A client that left.
    pub async fn interim(&mut self, head: &mut ResponseHead, log: &mut RequestLog) -> Result<(), Error> {
        if self.version == Version::Http10 {
            return Ok(());
        }
        response_head::clean(&mut head.fields);
        head.fields.remove_id(FieldName::ContentLength);
        let mut out = self.shard.buffers.small();
        write::status_line(&mut out, head.status(), head.reason());
        head.fields.write_to(&mut out);
        out.extend_from_slice(b"\r\n");
        // Should this write be cut short, no other answer may follow it.
        self.head_sent = true;
        self.send(out, log).await?;
        self.head_sent = false;
        Ok(())
    }

    /// Sends a response whose body is all here, and whose head is ready.
    ///
    /// # Errors
    /// A client that left.
    pub async fn respond(
        &mut self,
        transaction: &Transaction,
        body: &[u8],
        log: &mut RequestLog,
    ) -> Result<(), Error> {
        let head = &transaction.response;
        let mut out = self.shard.buffers.small();
        self.write_head(head, Framing::AsStated, &mut out);
        if !script::is_bodiless(head.status()) && transaction.request.method() != Method::Head {
            out.extend_from_slice(body);
        }
        self.head_sent = true;
        self.send(out, log).await
    }

    /// Sends a response with the body that an upstream sends. Returns whether the upstream has sent exactly this
    /// response: more makes its connection unfit for use.
    ///
    /// # Errors
    /// A body that is malformed or too short, an upstream that stalls, a client that left.
    pub async fn stream(
        &mut self,
        head: &ResponseHead,
        incoming: &mut Incoming<'_>,
        log: &mut RequestLog,
    ) -> Result<bool, Error> {
        let framing = Framing::of(incoming.framing, self.version);
        self.keep_alive &= framing != Framing::UntilClose;
        let mut out = self.shard.buffers.small();
        self.write_head(head, framing, &mut out);
        let relay = Relay { shard: self.shard, client: self.socket, client_timeout: self.timeout, framing };
        // Should what has arrived be malformed, the client can still get another answer.
        let taken = relay.encode(incoming, &mut out)?;
        self.head_sent = true;
        relay.run(incoming, taken, out, log).await
    }

    /// Agrees to another protocol (RFC 9110, 15.2.2).
    ///
    /// # Errors
    /// A client that left.
    pub async fn switch_protocols(
        &mut self,
        head: &ResponseHead,
        protocol: &[u8],
        log: &mut RequestLog,
    ) -> Result<(), Error> {
        let mut out = self.shard.buffers.small();
        write::status_line(&mut out, 101, head.reason());
        head.fields.write_to(&mut out);
        write::field(&mut out, b"Connection", b"Upgrade");
        write::field(&mut out, b"Upgrade", protocol);
        out.extend_from_slice(b"\r\n");
        self.head_sent = true;
        self.send(out, log).await
    }

    fn write_head(&mut self, head: &ResponseHead, framing: Framing, out: &mut Vec<u8>) {
        self.keep_alive &= !self.shard.draining.get();
        write::status_line(out, head.status(), head.reason());
        head.fields.write_to(out);
        if matches!(framing, Framing::Chunked | Framing::Rechunked) {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        // `Connection`, where it says something that the version does not.
        match (self.keep_alive, self.version) {
            (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
            (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (true, Version::Http11) => {}
        }
        out.extend_from_slice(b"\r\n");
    }

    async fn send(&self, out: Vec<u8>, log: &mut RequestLog) -> Result<(), Error> {
        let written = self.socket.write_all(out, self.timeout).await;
        log.bytes_out += written.sent_bytes as u64;
        self.shard.buffers.give_back(written.buffer);
        written.result.map_err(client_left)
    }
}

/// A client that could not be written to.
pub fn client_left(error: io::Error) -> Error {
    let detail = match Expiry::of(&error) {
        Some(Expiry::Stalled) => "the client took nothing for too long",
        Some(Expiry::TooSlow) => "the client took the response slower than min_rate",
        Some(Expiry::Overdue) => "the client had not taken the response when the route's timeout passed",
        None => return Error::client(Reason::ClientClosed, "the client left during the response"),
    };
    Error::client(Reason::RequestTimeout, detail)
}
