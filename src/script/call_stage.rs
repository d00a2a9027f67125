//! Where a running hook finds what it works on: objects such as `req` hold nothing themselves, so that reading a
//! property copies no message.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rhai::{Dynamic, EvalAltResult, ImmutableString, Position};

use super::budget::Budget;
use super::saved_captures::SavedCaptures;
use crate::exchange::Transaction;
use crate::metrics::ScriptMetrics;

/// What a native function returns.
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

    /// What the function is given.
    pub const fn parameters(self) -> &'static [&'static str] {
        match self {
            Hook::Request | Hook::RequestBody => &["req"],
            Hook::Response | Hook::ResponseBody | Hook::Log => &["req", "res"],
        }
    }

    /// The request has not been sent to its upstream yet.
    pub(super) const fn is_before_upstream(self) -> bool {
        matches!(self, Hook::Request | Hook::RequestBody)
    }
}

/// What scripts ask of the world around them. The gateway and the offline tests each have their own.
pub trait ScriptHost {
    /// Unix time in milliseconds.
    fn unix_ms(&self) -> u64;
    /// For the deadline of a call.
    fn instant(&self) -> Instant;
    /// Appends a new UUID.
    fn uuid(&self, out: &mut Vec<u8>);
    /// A line that a script writes.
    fn log(&self, line: &LogLine<'_>);
    /// Adds to a counter; false where no more counters are to be had.
    fn add_to_counter(&self, name: &str, n: i64) -> bool;
    fn counter(&self, name: &str) -> i64;
    /// Where a script's runs are counted.
    fn metrics(&self, script: &str) -> Rc<ScriptMetrics>;
    /// A variable of the process's environment.
    fn env(&self, name: &str) -> Option<String>;
}

/// What `log`, `print` and `debug` write.
pub struct LogLine<'a> {
    pub text: &'a str,
    pub script: &'a str,
    pub route: &'a str,
    pub request_id: &'a [u8],
}

/// What a script may know of its route.
pub struct RouteView {
    pub name: ImmutableString,
    /// The route's `vars`, a read-only map.
    pub vars: Dynamic,
    /// The route's own upstream; `None`: it answers by itself.
    pub upstream: Option<usize>,
    /// The names of all upstreams, by their index in the plan.
    pub upstreams: Rc<[Arc<str>]>,
}

/// The hook that runs, and what it runs on.
pub(super) struct CallStage {
    pub world: Rc<dyn ScriptHost>,
    pub budget: Rc<Budget>,
    pub captures: SavedCaptures,
    pub transaction: RefCell<Transaction>,
    pub route: RefCell<Option<Rc<RouteView>>>,
    pub script: RefCell<Arc<str>>,
    pub hook: Cell<Option<Hook>>,
    /// The names that `env` may read.
    pub env: Vec<Arc<str>>,
}

impl CallStage {
    pub fn new(world: Rc<dyn ScriptHost>, budget: Rc<Budget>, env: Vec<Arc<str>>) -> CallStage {
        CallStage {
            world,
            budget,
            captures: SavedCaptures::default(),
            transaction: RefCell::default(),
            route: RefCell::default(),
            script: RefCell::new("".into()),
            hook: Cell::new(None),
            env,
        }
    }

    /// Refuses what can only be done before the upstream was asked.
    pub fn before_upstream(&self, what: &str) -> ScriptResult<()> {
        match self.hook.get() {
            Some(hook) if hook.is_before_upstream() => Ok(()),
            _ => Err(thrown(format!("{what} cannot be set any more: the request has been sent"))),
        }
    }

    /// Refuses what can only be done between the response's head and its first byte to the client.
    pub fn before_client(&self, what: &str) -> ScriptResult<()> {
        match self.hook.get() {
            Some(Hook::Response | Hook::ResponseBody) => Ok(()),
            _ => Err(thrown(format!("{what} cannot be set any more: the response has been sent"))),
        }
    }

    /// The same text wherever a script asks for its line in the log.
    pub fn log(&self, text: &str) {
        let (transaction, route) = (self.transaction.borrow(), self.route.borrow());
        self.world.log(&LogLine {
            text,
            script: &self.script.borrow(),
            route: route.as_ref().map_or("", |route| &route.name),
            request_id: &transaction.id,
        });
    }
}

/// An error that a script's author reads.
pub(super) fn thrown(text: impl Into<String>) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(text.into().into(), Position::NONE).into()
}

/// Bytes as a script's string; what is no UTF-8 is replaced.
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

/// What a body, a digest or an encoding is made from: a string or a blob.
pub(super) fn bytes_of(value: &Dynamic, what: &str) -> ScriptResult<Vec<u8>> {
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(text.as_bytes().to_vec());
    }
    if let Ok(blob) = value.as_blob_ref() {
        return Ok(blob.to_vec());
    }
    Err(thrown(format!("{what} takes a string or a blob, not {}", value.type_name())))
}
