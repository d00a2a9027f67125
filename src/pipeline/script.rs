//! A route's scripts at work on messages: their hooks run, and what they made of a head or a body is put in order, so
//! that what is sent is framed right and says nothing of bytes that are gone.
//!
//! A request's way: [`RouteScripts::on_head`], then, where the body is wanted, [`RouteScripts::on_body`]. A response's:
//! [`RouteScripts::on_response_head`], then, where it has to be sent as a whole, [`RouteScripts::on_response_body`]; or
//! [`RouteScripts::on_own`] for what the route itself answers. At the end, always: [`RouteScripts::on_log`].

use super::scripted;
use crate::base::error::{Error, Reason, Retry};
use crate::exchange::{Content, Transaction};
use crate::http::coding::{self, CodingError};
use crate::http::fields::FieldName;
use crate::http::framing::Body;
use crate::http::head::Method;
use crate::plan;
use crate::script::{Chain, Engine, Hook, HookOutcome, ScriptAnswer, ScriptFault};

/// The scripts of a route, and what they run in.
#[derive(Clone, Copy)]
pub struct RouteScripts<'a> {
    pub engine: &'a Engine,
    pub chain: &'a Chain,
    pub plan: &'a plan::ScriptSettings,
    pub route: &'a str,
    /// Told what belongs into the log.
    pub tell: &'a dyn Fn(&ScriptNotice<'_>),
}

/// Something that the script's author should know of a request.
pub struct ScriptNotice<'a> {
    pub route: &'a str,
    pub request_id: &'a [u8],
    pub what: NoticeKind<'a>,
}

pub enum NoticeKind<'a> {
    /// A script failed.
    Failed(&'a ScriptFault),
    /// A hook did not run, for this reason, which is no fault of anybody's.
    PassedBy(&'a str),
    /// `on_response_body` did not run, because nobody here can read the body.
    Unreadable(CodingError),
}

/// What a request's head has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterHead {
    /// The request goes on.
    Continue,
    /// It goes on once its body is here and [`RouteScripts::on_body`] has seen it.
    WantsBody,
    /// The answer stands in the transaction.
    Answered,
}

impl RouteScripts<'_> {
    pub fn has(&self, hook: Hook) -> bool {
        self.chain.has(hook)
    }

    /// Runs `on_request`.
    ///
    /// # Errors
    /// A script that failed or denied.
    pub fn on_head(&self, transaction: &mut Transaction) -> Result<AfterHead, Error> {
        if self.has(Hook::ResponseBody) {
            scripted::ask_for_plain(&mut transaction.request.fields);
        }
        if self.has(Hook::Request) && self.answers(Hook::Request, transaction)? {
            return Ok(AfterHead::Answered);
        }
        let wants_body = self.has(Hook::RequestBody) || transaction.edits.request_body.changed;
        Ok(if wants_body { AfterHead::WantsBody } else { AfterHead::Continue })
    }

    /// Runs `on_request_body` on a body that is all here. `wire`: as it came, without its framing; empty where a script
    /// has set another. Returns what is sent, for which the head is right then; `None`: the answer stands in the
    /// transaction. `framing`: how the body came, then how it goes on.
    ///
    /// # Errors
    /// A script that failed or denied; a body that is not what its head says, or too large.
    pub fn on_body(
        &self,
        transaction: &mut Transaction,
        framing: &mut Body,
        wire: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let fields = &mut transaction.request.fields;
        let body = &mut transaction.edits.request_body;
        let mut coded = None;
        if !body.changed {
            *body = match coding::decode(fields, &wire, self.plan.max_body) {
                Ok(Some(content)) => {
                    coded = Some(wire);
                    Content::buffered(content)
                }
                // In a coding that is not known here, scripts see the bytes as they came.
                Ok(None) | Err(CodingError::Unknown(_)) => Content::buffered(wire),
                Err(CodingError::Corrupt) => {
                    return Err(Error::client(
                        Reason::BadRequest,
                        "the body is not what Content-Encoding says",
                    ));
                }
                Err(CodingError::TooLarge) => return Err(too_large()),
            };
        }
        if self.has(Hook::RequestBody) && self.answers(Hook::RequestBody, transaction)? {
            return Ok(None);
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
        fields.remove_id(FieldName::Expect);
        if *framing != Body::None || !whole.is_empty() {
            scripted::frame(fields, whole.len());
            *framing = Body::Length(whole.len() as u64);
        }
        Ok(Some(whole))
    }

    /// Runs `on_response`. Returns whether the response then has to be sent as a whole: because a script has set its
    /// body, or wants to see it.
    ///
    /// # Errors
    /// A script that failed or denied.
    pub fn on_response_head(
        &self,
        transaction: &mut Transaction,
        method: Method,
        framing: Body,
    ) -> Result<bool, Error> {
        let before = transaction.response.status();
        self.replaces(Hook::Response, transaction)?;
        let after = transaction.response.status();
        // A status that has no body loses the one that comes; one that may have a body gets an empty one.
        let crossed = scripted::is_bodiless(before) != scripted::is_bodiless(after);
        if crossed && !transaction.edits.response_body.changed {
            transaction.edits.response_body = Content { bytes: Some(Vec::new()), changed: true };
        }
        if transaction.edits.response_body.changed {
            return Ok(true);
        }
        let wanted = self.has(Hook::ResponseBody);
        if wanted && after == 206 {
            self.tell(&transaction.id, NoticeKind::PassedBy("the response is a part of a body"));
        }
        if wanted && scripted::may_be_whole(after) && method == Method::Head {
            // How long the body would be that GET gets from the hook, nobody knows (RFC 9110, 8.6).
            transaction.response.fields.remove_id(FieldName::ContentLength);
        }
        Ok(wanted && scripted::may_be_whole(after) && framing != Body::None)
    }

    /// Runs `on_response_body` on a body that is all here, or on the one that a script has set; returns what is sent,
    /// for which the head is right then.
    ///
    /// # Errors
    /// A script that failed or denied, a body that is too large.
    pub fn on_response_body(&self, transaction: &mut Transaction, wire: Vec<u8>) -> Result<Vec<u8>, Error> {
        let mut coded = None;
        let mut hooked =
            self.has(Hook::ResponseBody) && scripted::may_be_whole(transaction.response.status());
        if !transaction.edits.response_body.changed {
            let content = match coding::decode(&transaction.response.fields, &wire, self.plan.max_body) {
                Ok(None) => wire,
                Ok(Some(content)) => {
                    coded = Some(wire);
                    content
                }
                Err(CodingError::TooLarge) => return Err(response_too_large()),
                Err(why) => {
                    hooked = false;
                    self.tell(&transaction.id, NoticeKind::Unreadable(why));
                    wire
                }
            };
            transaction.edits.response_body = Content::buffered(content);
        }
        if hooked {
            self.replaces(Hook::ResponseBody, transaction)?;
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
            response.fields.remove_id(FieldName::ContentLength);
            return Ok(Vec::new());
        }
        scripted::frame(&mut response.fields, body.len());
        Ok(body)
    }

    /// Runs the response hooks on what the route itself answers, `body` being its body. Returns the body that a script
    /// has set instead, if one has.
    ///
    /// # Errors
    /// A script that failed or denied.
    pub fn on_own(&self, transaction: &mut Transaction, body: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.replaces(Hook::Response, transaction)?;
        let response_body = &mut transaction.edits.response_body;
        if !response_body.changed {
            *response_body = Content::buffered(body.to_vec());
        }
        let (status, method) = (transaction.response.status(), transaction.request.method());
        if scripted::may_be_whole(status) && method != Method::Head {
            self.replaces(Hook::ResponseBody, transaction)?;
        }
        let changed = transaction.edits.response_body.take_changed();
        if changed.is_some() {
            scripted::forget_bytes(&mut transaction.response.fields);
        }
        Ok(changed)
    }

    /// Runs every `on_log`.
    pub fn on_log(&self, transaction: &mut Transaction) {
        self.chain
            .on_log(self.engine, transaction, &|at, fault| self.tell(&at.id, NoticeKind::Failed(fault)));
    }

    /// Runs a request hook of all scripts; says whether one answers.
    fn answers(&self, hook: Hook, transaction: &mut Transaction) -> Result<bool, Error> {
        let on_fault = |at: &Transaction, fault: &ScriptFault| self.tell(&at.id, NoticeKind::Failed(fault));
        outcome(self.chain.on_request(self.engine, hook, transaction, &on_fault))
    }

    /// Runs a response hook of all scripts. One that answers has replaced the response.
    fn replaces(&self, hook: Hook, transaction: &mut Transaction) -> Result<(), Error> {
        let on_fault = |at: &Transaction, fault: &ScriptFault| self.tell(&at.id, NoticeKind::Failed(fault));
        outcome(self.chain.on_response(self.engine, hook, transaction, &on_fault)).map(|_| ())
    }

    fn tell(&self, request_id: &[u8], what: NoticeKind<'_>) {
        (self.tell)(&ScriptNotice { route: self.route, request_id, what });
    }
}

fn outcome(run: Result<HookOutcome, ScriptFault>) -> Result<bool, Error> {
    match run {
        Ok(HookOutcome::Continue) => Ok(false),
        Ok(HookOutcome::Answer(ScriptAnswer::Own)) => Ok(true),
        Ok(HookOutcome::Answer(ScriptAnswer::Denied(detail))) => {
            Err(Error::client(Reason::ScriptDenied, detail))
        }
        Err(fault) => Err(Error::gateway(Reason::ScriptError, fault.to_string())),
    }
}

/// A request body that no hook can have as a whole.
pub fn too_large() -> Error {
    Error::client(Reason::BodyTooLarge, "the body is over [scripts] max_body")
}

/// A response body that no hook can have as a whole.
pub fn response_too_large() -> Error {
    let detail = "the response body is over [scripts] max_body";
    Error::upstream(Reason::UpstreamProtocol, Retry::Never, detail)
}
