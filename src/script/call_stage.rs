//! The data of the running call. Objects such as `req` are empty handles that read and change the transaction here, so
//! that reading a property copies no message.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rhai::{Dynamic, EvalAltResult, ImmutableString, Position};

use super::budget::Budget;
use super::saved_captures::SavedCaptures;
use crate::exchange::Transaction;
use crate::metrics::ScriptMetrics;

/// The result of a native function.
pub(super) type ScriptResult<T> = Result<T, Box<EvalAltResult>>;

/// The functions that a script may define, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    Request,
    RequestBody,
    Response,
    ResponseBody,
    Log,
}

impl Hook {
    pub const ALL: [Hook; 5] =
        [Hook::Request, Hook::RequestBody, Hook::Response, Hook::ResponseBody, Hook::Log];

    /// The name of the function.
    pub const fn name(self) -> &'static str {
        match self {
            Hook::Request => "on_request",
            Hook::RequestBody => "on_request_body",
            Hook::Response => "on_response",
            Hook::ResponseBody => "on_response_body",
            Hook::Log => "on_log",
        }
    }

    /// The names of its parameters.
    pub const fn parameters(self) -> &'static [&'static str] {
        match self {
            Hook::Request | Hook::RequestBody => &["req"],
            Hook::Response | Hook::ResponseBody | Hook::Log => &["req", "res"],
        }
    }

    /// Whether the hook runs before the request is sent to the upstream.
    pub(super) const fn is_before_upstream(self) -> bool {
        matches!(self, Hook::Request | Hook::RequestBody)
    }
}

/// What scripts use beyond the transaction: clock, ids, log, counters, environment. The gateway and the offline tests each
/// implement it.
/// None of it may block: a call holds up all requests of its shard.
pub trait ScriptHost {
    /// Unix time in milliseconds.
    fn unix_ms(&self) -> u64;
    /// The monotonic clock, for the deadline of a call.
    fn instant(&self) -> Instant;
    /// The time that this thread ran, since any moment.
    fn cpu_time(&self) -> Duration;
    /// Appends a new UUID.
    fn uuid(&self, out: &mut Vec<u8>);
    /// Writes a script's log line.
    fn log(&self, line: &LogLine<'_>);
    /// Adds to a counter for a route; false: it is new, and the route has too many, or all have.
    fn add_to_counter(&self, route: &str, name: &str, n: i64) -> bool;
    /// The sum of a counter; 0: there is none.
    fn counter(&self, route: &str, name: &str) -> i64;
    /// The metrics of a script.
    fn metrics(&self, script: &str) -> Rc<ScriptMetrics>;
    /// An environment variable of the process.
    fn env(&self, name: &str) -> Option<String>;
}

/// A line written by `log`, `print` or `debug`.
pub struct LogLine<'a> {
    pub text: &'a str,
    pub script: &'a str,
    pub route: &'a str,
    pub request_id: &'a [u8],
}

/// The route as scripts see it.
pub struct RouteView {
    pub name: ImmutableString,
    /// The route's `vars`, a read-only map.
    pub vars: Dynamic,
    /// The route's upstream; `None`: its action is not `proxy`.
    pub upstream: Option<usize>,
    /// The names of all upstreams, by their index in the plan.
    pub upstreams: Rc<[Arc<str>]>,
}

/// The running hook and the data it works on.
pub(super) struct CallStage {
    pub host: Rc<dyn ScriptHost>,
    pub budget: Rc<Budget>,
    pub captures: SavedCaptures,
    pub transaction: RefCell<Transaction>,
    pub route: RefCell<Option<Rc<RouteView>>>,
    pub script: RefCell<Arc<str>>,
    pub hook: Cell<Option<Hook>>,
    /// The variables that `env` may read.
    pub env: Vec<Arc<str>>,
}

impl CallStage {
    pub fn new(host: Rc<dyn ScriptHost>, budget: Rc<Budget>, env: Vec<Arc<str>>) -> CallStage {
        CallStage {
            host,
            budget,
            captures: SavedCaptures::default(),
            transaction: RefCell::default(),
            route: RefCell::default(),
            script: RefCell::new("".into()),
            hook: Cell::new(None),
            env,
        }
    }

    /// Refuses a change that is possible only before the request is sent to the upstream.
    ///
    /// # Errors
    /// The hook runs too late for it. An edit without effect would be worse than an error.
    pub fn before_upstream(&self, what: &str) -> ScriptResult<()> {
        match self.hook.get() {
            Some(hook) if hook.is_before_upstream() => Ok(()),
            _ => Err(script_error(format!("{what} cannot be set any more: the request has been sent"))),
        }
    }

    /// Refuses a change that is possible only before the response is sent to the client.
    pub fn before_client(&self, what: &str) -> ScriptResult<()> {
        match self.hook.get() {
            Some(Hook::Response | Hook::ResponseBody) => Ok(()),
            _ => Err(script_error(format!("{what} cannot be set any more: the response has been sent"))),
        }
    }

    /// The name of the running hook's route; empty: no hook runs.
    pub fn route_name(&self) -> ImmutableString {
        self.route.borrow().as_ref().map(|route| route.name.clone()).unwrap_or_default()
    }

    /// Writes a log line of the running script.
    pub fn log(&self, text: &str) {
        let (transaction, route) = (self.transaction.borrow(), self.route.borrow());
        self.host.log(&LogLine {
            text,
            script: &self.script.borrow(),
            route: route.as_ref().map_or("", |route| &route.name),
            request_id: &transaction.id,
        });
    }
}

/// An error for the script's author.
pub(super) fn script_error(text: impl Into<String>) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(text.into().into(), Position::NONE).into()
}

/// Bytes as a script's string; invalid UTF-8 is replaced.
/// Fields may hold any bytes (RFC 9110, 5.5), strings of the language only UTF-8.
pub(super) fn text(bytes: &[u8]) -> ImmutableString {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes).as_ref().into(),
    }
}

/// Bytes as a string where they are UTF-8, else as a blob.
pub(super) fn text_or_blob(bytes: &[u8]) -> Dynamic {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => Dynamic::from_blob(bytes.to_vec()),
    }
}

/// The bytes of a string or a blob: the input of a body, digest or encoding.
pub(super) fn bytes_of(value: &Dynamic, what: &str) -> ScriptResult<Vec<u8>> {
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(text.as_bytes().to_vec());
    }
    if let Ok(blob) = value.as_blob_ref() {
        return Ok(blob.to_vec());
    }
    Err(script_error(format!("{what} takes a string or a blob, not {}", value.type_name())))
}
