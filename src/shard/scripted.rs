//! A route's scripts on the way in: hooks run, the body read for those that want it, and what they made put in place.

use std::cell::Cell;
use std::rc::Rc;

use super::connection::Connection;
use super::exchange;
use super::record::Record;
use super::request::Asked;
use super::scratch::Scratch;
use crate::base::error::{Error, Reason, Retry, Source};
use crate::config::plan;
use crate::http::coding::{self, NotDecoded};
use crate::http::fields::Name;
use crate::http::framing::Body;
use crate::http::head::Method;
use crate::policy::scripted;
use crate::script::{Answer, Chain, Content, Engine, Fault, Hook, Transaction, Verdict};

/// Bodies held for scripts on one shard, in multiples of `max_body`; beyond, a request that needs another is refused.
const MOST_BODIES: usize = 256;

/// The scripts of a route, and what they run in.
#[derive(Clone, Copy)]
pub struct Scripts<'a> {
    pub engine: &'a Engine,
    pub chain: &'a Chain,
    pub plan: &'a plan::Scripts,
    pub route: &'a str,
}

/// What request hooks have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Continue,
    /// The answer stands in the transaction.
    Answered,
}

impl Scripts<'_> {
    pub fn has(&self, hook: Hook) -> bool {
        self.chain.has(hook)
    }

    /// Runs a request hook of all scripts.
    ///
    /// # Errors
    /// A script that failed or denied.
    pub fn on_request(&self, hook: Hook, transaction: &mut Transaction) -> Result<Outcome, Error> {
        let id = transaction.id.clone();
        let run = self.chain.on_request(self.engine, hook, transaction, &|fault| self.report(&id, fault));
        match run.map_err(script_error)? {
            Verdict::Continue => Ok(Outcome::Continue),
            Verdict::Answer(Answer::Own) => Ok(Outcome::Answered),
            Verdict::Answer(Answer::Denied(detail)) => Err(denied(detail)),
        }
    }

    /// Runs a response hook of all scripts.
    ///
    /// # Errors
    /// A script that failed or denied.
    pub fn on_response(&self, hook: Hook, transaction: &mut Transaction) -> Result<(), Error> {
        let id = transaction.id.clone();
        let run = self.chain.on_response(self.engine, hook, transaction, &|fault| self.report(&id, fault));
        match run.map_err(script_error)? {
            Verdict::Answer(Answer::Denied(detail)) => Err(denied(detail)),
            Verdict::Answer(Answer::Own) | Verdict::Continue => Ok(()),
        }
    }

    /// Runs every `on_log`.
    pub fn on_log(&self, transaction: &mut Transaction) {
        let id = transaction.id.clone();
        self.chain.on_log(self.engine, transaction, &|fault| self.report(&id, fault));
    }

    fn report(&self, request_id: &[u8], fault: &Fault) {
        let request_id = String::from_utf8_lossy(request_id);
        let Fault { script, line, column, message } = fault;
        tracing::error!(script, line, column, %request_id, route = self.route, "{message}");
    }
}

fn script_error(fault: Fault) -> Error {
    Error::gateway(Reason::ScriptError, fault.to_string())
}

fn denied(detail: String) -> Error {
    Error::client(Reason::ScriptDenied, detail)
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
    let transaction = &mut scratch.transaction;
    if scripts.has(Hook::ResponseBody) {
        scripted::ask_for_plain(&mut transaction.request.fields);
    }
    if scripts.has(Hook::Request) && scripts.on_request(Hook::Request, transaction)? == Outcome::Answered {
        return Ok(Outcome::Answered);
    }
    if scripts.has(Hook::RequestBody) || transaction.edits.request_body.changed {
        return Box::pin(request_body(connection, transaction, record, scripts, asked)).await;
    }
    Ok(Outcome::Continue)
}

async fn request_body(
    connection: &mut Connection,
    transaction: &mut Transaction,
    record: &Record,
    scripts: Scripts<'_>,
    asked: &mut Asked,
) -> Result<Outcome, Error> {
    let is_hooked = scripts.has(Hook::RequestBody);
    if let Body::Length(bytes) = asked.body
        && is_hooked
        && bytes > scripts.plan.max_body as u64
    {
        return Err(too_large());
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
    let fields = &mut transaction.request.fields;
    let body = &mut transaction.edits.request_body;
    let mut coded = None;
    if !body.changed {
        *body = match coding::decode(fields, &wire, scripts.plan.max_body) {
            Ok(Some(content)) => {
                coded = Some(wire);
                Content::buffered(content)
            }
            // In a coding that is not known here, scripts see the bytes as they came.
            Ok(None) | Err(NotDecoded::Unknown(_)) => Content::buffered(wire),
            Err(NotDecoded::Corrupt) => {
                return Err(Error::client(Reason::BadRequest, "the body is not what Content-Encoding says"));
            }
            Err(NotDecoded::TooLarge) => return Err(too_large()),
        };
    }
    if is_hooked && scripts.on_request(Hook::RequestBody, transaction)? == Outcome::Answered {
        return Ok(Outcome::Answered);
    }
    let (fields, body) = (&mut transaction.request.fields, &mut transaction.edits.request_body);
    let whole = match body.take_changed() {
        Some(new) => {
            scripted::forget_bytes(fields);
            new
        }
        None => {
            let content = body.bytes.take();
            coded.or(content).unwrap_or_default()
        }
    };
    fields.remove_id(Name::Expect);
    if asked.body != Body::None || !whole.is_empty() {
        scripted::frame(fields, whole.len());
        asked.body = Body::Length(whole.len() as u64);
    }
    asked.whole_body = Some(Whole { bytes: whole, _held: held });
    Ok(Outcome::Continue)
}

/// Runs `on_response`. Returns whether the response then has to be sent as a whole: because a script has set its
/// body, or wants to see it.
///
/// # Errors
/// A script that failed or denied.
pub fn response(
    scripts: Scripts<'_>,
    transaction: &mut Transaction,
    method: Method,
    framing: Body,
) -> Result<bool, Error> {
    let before = transaction.response.status();
    scripts.on_response(Hook::Response, transaction)?;
    let after = transaction.response.status();
    // A status that has no body loses the one that comes; one that may have a body gets an empty one.
    let crossed = scripted::is_bodiless(before) != scripted::is_bodiless(after);
    if crossed && !transaction.edits.response_body.changed {
        transaction.edits.response_body = Content { bytes: Some(Vec::new()), changed: true };
    }
    if transaction.edits.response_body.changed {
        return Ok(true);
    }
    let wanted = scripts.has(Hook::ResponseBody) && scripted::may_be_whole(after);
    if wanted && method == Method::Head {
        // How long the body would be that GET gets from the hook, nobody knows (RFC 9110, 8.6).
        transaction.response.fields.remove_id(Name::ContentLength);
    }
    Ok(wanted && framing != Body::None)
}

/// Runs `on_response_body` on a body that is all here, or on the one that a script has set; returns what is sent,
/// for which the head is right then.
///
/// # Errors
/// A script that failed or denied, a body that is too large.
pub fn whole_response(
    scripts: Scripts<'_>,
    transaction: &mut Transaction,
    wire: Vec<u8>,
) -> Result<Vec<u8>, Error> {
    let mut coded = None;
    let mut hooked = scripts.has(Hook::ResponseBody) && scripted::may_be_whole(transaction.response.status());
    if !transaction.edits.response_body.changed {
        let decoded = coding::decode(&transaction.response.fields, &wire, scripts.plan.max_body);
        let content = match decoded {
            Ok(None) => wire,
            Ok(Some(content)) => {
                coded = Some(wire);
                content
            }
            Err(NotDecoded::TooLarge) => return Err(response_too_large()),
            Err(why) => {
                hooked = false;
                let request_id = String::from_utf8_lossy(&transaction.id);
                let route = scripts.route;
                tracing::warn!(%request_id, route, "on_response_body is passed by: content coding {why}");
                wire
            }
        };
        transaction.edits.response_body = Content::buffered(content);
    }
    if hooked {
        scripts.on_response(Hook::ResponseBody, transaction)?;
    }
    let Transaction { response, edits, .. } = transaction;
    let body = match edits.response_body.take_changed() {
        // What a 304 says is of the body that the client has.
        Some(body) if response.status() == 304 => body,
        Some(body) => {
            scripted::forget_bytes(&mut response.fields);
            body
        }
        None => {
            let content = edits.response_body.bytes.take();
            coded.or(content).unwrap_or_default()
        }
    };
    if scripted::is_bodiless(response.status()) {
        response.fields.remove_id(Name::ContentLength);
        return Ok(Vec::new());
    }
    scripted::frame(&mut response.fields, body.len());
    Ok(body)
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

fn too_large() -> Error {
    Error::client(Reason::BodyTooLarge, "the body is over [scripts] max_body")
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
            return Err(too_large());
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
            Source::Client => response_too_large(),
            Source::Upstream | Source::Gateway => error,
        })
    }
}

/// A response that no hook can have as a whole.
pub fn response_too_large() -> Error {
    let detail = "the response body is over [scripts] max_body";
    Error::upstream(Reason::UpstreamProtocol, Retry::Never, detail)
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.own);
    }
}
