//! A route's scripts on the way in: the body read for those that want it, and bodies held counted.

use std::cell::Cell;

use super::connection::Connection;
use super::exchange;
use super::record::Record;
use super::request::Asked;
use super::scratch::Scratch;
use crate::base::error::{Error, Reason, Source};
use crate::policy::hooks::{self, AfterHead, Scripts, Told, What};
use crate::script::{Fault, Hook};

/// Bodies held for scripts on one shard, in multiples of `max_body`; beyond, a request that needs another is refused.
const MOST_BODIES: usize = 256;

/// What request hooks have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Continue,
    /// The answer stands in the transaction.
    Answered,
}

/// Writes what a script's author should know into the log.
pub fn log(told: &Told<'_>) {
    let (route, request_id) = (told.route, String::from_utf8_lossy(told.request_id));
    match told.what {
        What::Failed(Fault { script, line, column, message }) => {
            tracing::error!(script, line, column, %request_id, route, "{message}");
        }
        What::PassedBy(why) => {
            tracing::debug!(%request_id, route, "on_response_body is passed by: {why}");
        }
        What::Unreadable(ref why) => {
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
    scratch: &mut Scratch,
    record: &Record,
    scripts: Scripts<'_>,
    asked: &mut Asked,
) -> Result<Outcome, Error> {
    match scripts.on_head(&mut scratch.transaction)? {
        AfterHead::Continue => Ok(Outcome::Continue),
        AfterHead::Answered => Ok(Outcome::Answered),
        AfterHead::WantsBody => Box::pin(request_body(connection, scratch, record, scripts, asked)).await,
    }
}

async fn request_body(
    connection: &mut Connection,
    scratch: &mut Scratch,
    record: &Record,
    scripts: Scripts<'_>,
    asked: &mut Asked,
) -> Result<Outcome, Error> {
    let mut wire = Vec::new();
    let shard = connection.shard.clone();
    let mut held = Held::new(&shard.held_bytes, scripts.plan.max_body);
    if scripts.has(Hook::RequestBody) {
        read_body(connection, record, asked, |run| {
            held.add(run.len())?;
            wire.extend_from_slice(run);
            Ok(())
        })
        .await?;
    } else {
        read_body(connection, record, asked, |_| Ok(())).await?;
    }
    asked.whole_body = scripts.on_body(&mut scratch.transaction, &mut asked.body, wire)?;
    Ok(if asked.whole_body.is_some() { Outcome::Continue } else { Outcome::Answered })
}

/// Reads the whole request body and hands on its payload, without framing.
async fn read_body(
    connection: &mut Connection,
    record: &Record,
    asked: &Asked,
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
            .map_err(exchange::body_refusal)?;
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
            written.result.map_err(super::response::client_left)?;
        }
        connection.read_more(limits.body_timeout).await?;
    }
}

/// Bytes of bodies that are held for scripts, given back when it goes.
pub struct Held<'a> {
    all: &'a Cell<usize>,
    own: usize,
    max_body: usize,
}

impl<'a> Held<'a> {
    pub fn new(all: &'a Cell<usize>, max_body: usize) -> Held<'a> {
        Held { all, own: 0, max_body }
    }

    /// Counts more of a body.
    ///
    /// # Errors
    /// One that is over `max_body`, as the client's; `overloaded` where all together are too many.
    pub fn add(&mut self, bytes: usize) -> Result<(), Error> {
        self.own += bytes;
        self.all.set(self.all.get() + bytes);
        if self.own > self.max_body {
            return Err(hooks::too_large());
        }
        if self.all.get() > self.max_body.saturating_mul(MOST_BODIES) {
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
            Source::Client => hooks::response_too_large(),
            Source::Upstream | Source::Gateway => error,
        })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.own);
    }
}
