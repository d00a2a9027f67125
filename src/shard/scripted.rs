//! A route's scripts on the way in: the body read for those that want it, and bodies held counted.

use std::cell::Cell;
use std::rc::Rc;

use super::buffers::RequestBuffers;
use super::h1::connection::Connection;
use super::proxy::attempt;
use super::request::RequestMeta;
use super::request_log::RequestLog;
use crate::base::error::{Error, FaultOrigin, Reason};
use crate::http::framing::Body;
use crate::pipeline::script::{self, AfterHead, NoticeKind, RouteScripts, ScriptNotice};
use crate::script::{Hook, ScriptFault};

/// Bodies held for scripts on one shard, in multiples of `max_body`; beyond, a request that needs another is refused.
const MAX_BODIES: usize = 256;

/// What request hooks have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Continue,
    /// The answer stands in the transaction.
    Answered,
}

/// Writes what a script's author should know into the log.
pub fn log(told: &ScriptNotice<'_>) {
    let (route, request_id) = (told.route, String::from_utf8_lossy(told.request_id));
    match told.what {
        NoticeKind::Failed(ScriptFault { script, line, column, message }) => {
            tracing::error!(script, line, column, %request_id, route, "{message}");
        }
        NoticeKind::PassedBy(why) => {
            tracing::debug!(%request_id, route, "on_response_body is passed by: {why}");
        }
        NoticeKind::Unreadable(ref why) => {
            tracing::warn!(%request_id, route, "on_response_body is passed by: content coding {why}");
        }
    }
}

/// Runs `on_request`, then, where a script wants the body, reads it and runs `on_request_body`.
///
/// # Errors
/// A script that failed or denied; a body that is too large, malformed or late.
pub async fn request(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &RequestLog,
    scripts: RouteScripts<'_>,
    asked: &mut RequestMeta,
) -> Result<Outcome, Error> {
    match scripts.on_head(&mut buffers.transaction)? {
        AfterHead::Continue => Ok(Outcome::Continue),
        AfterHead::Answered => Ok(Outcome::Answered),
        AfterHead::WantsBody => Box::pin(request_body(connection, buffers, record, scripts, asked)).await,
    }
}

async fn request_body(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &RequestLog,
    scripts: RouteScripts<'_>,
    asked: &mut RequestMeta,
) -> Result<Outcome, Error> {
    let is_hooked = scripts.has(Hook::RequestBody);
    if let Body::Length(bytes) = asked.body
        && is_hooked
        && bytes > scripts.plan.max_body as u64
    {
        return Err(script::too_large());
    }
    let mut wire = Vec::new();
    let mut held = Held::new(&connection.shard.held_bytes, scripts.plan.max_body);
    if is_hooked {
        read_body(connection, record, asked, |run| {
            held.add(run.len())?;
            wire.extend_from_slice(run);
            Ok(())
        })
        .await?;
    } else {
        read_body(connection, record, asked, |_| Ok(())).await?;
    }
    let bytes = scripts.on_body(&mut buffers.transaction, &mut asked.body, wire)?;
    asked.whole_body = bytes.map(|bytes| Whole { bytes, _held: held });
    Ok(if asked.whole_body.is_some() { Outcome::Continue } else { Outcome::Answered })
}

/// Reads the whole request body and hands on its payload, without framing.
async fn read_body(
    connection: &mut Connection,
    record: &RequestLog,
    asked: &RequestMeta,
    mut payload: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let limits = &record.live.plan.server.limits;
    let mut waits = asked.expects_continue;
    loop {
        let mut failed = None;
        let Connection { body, input, .. } = &mut *connection;
        let taken = body
            .take_payload(input, |run| {
                if failed.is_none() {
                    failed = payload(run).err();
                }
            })
            .map_err(attempt::body_refusal)?;
        if let Some(error) = failed {
            return Err(error);
        }
        connection.consume(taken);
        record.add_in(taken);
        if connection.body.is_done() {
            return Ok(());
        }
        // The upstream is not asked yet, so it is for the gateway to say that the body may come (RFC 9110, 10.1.1).
        if std::mem::take(&mut waits) && connection.input.is_empty() {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
            let written = connection.socket.write_all(go_on, limits.body_timeout).await;
            written.result.map_err(super::proxy::response::client_left)?;
        }
        connection.read_more(limits.body_timeout).await?;
    }
}

/// A request body that was read as a whole.
pub struct Whole {
    pub bytes: Vec<u8>,
    /// It counts for as long as the exchange may need it.
    _held: Held,
}

/// Bytes of bodies that are held for scripts, given back when it goes.
pub struct Held {
    /// Those of the whole shard.
    all: Rc<Cell<usize>>,
    own: usize,
    max_body: usize,
}

impl Held {
    pub fn new(all: &Rc<Cell<usize>>, max_body: usize) -> Held {
        Held { all: all.clone(), own: 0, max_body }
    }

    /// Counts more of a body.
    ///
    /// # Errors
    /// One that is over `max_body`, as the client's; `overloaded` where all together are too many.
    pub fn add(&mut self, bytes: usize) -> Result<(), Error> {
        self.own += bytes;
        self.all.set(self.all.get() + bytes);
        if self.own > self.max_body {
            return Err(script::too_large());
        }
        if self.all.get() > self.max_body.saturating_mul(MAX_BODIES) {
            return Err(Error::gateway(Reason::Overloaded, "too many bodies are held for scripts"));
        }
        Ok(())
    }

    /// The same for a response, whose size is its upstream's doing.
    ///
    /// # Errors
    /// As [`Held::add`].
    pub fn add_of_response(&mut self, bytes: usize) -> Result<(), Error> {
        self.add(bytes).map_err(|error| match error.source {
            FaultOrigin::Client => script::response_too_large(),
            FaultOrigin::Upstream | FaultOrigin::Gateway => error,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.own);
    }
}
