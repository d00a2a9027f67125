//! A route's scripts at work on messages: their hooks run, and what they made of a head or a body is put in order, so
//! that what is sent is framed right and says nothing of bytes that are gone.
//!
//! A request's way: [`RouteScripts::on_request`]. A response's: [`RouteScripts::on_response_head`], then, where it has to be sent as a whole, [`RouteScripts::on_response_body`]; or
//! [`RouteScripts::on_own`] for what the route itself answers. At the end, always: [`RouteScripts::on_log`].

use super::steps::StepHost;
use crate::base::error::{Error, Reason, Retry};
use crate::exchange::{Content, Transaction};
use crate::http::coding::{self, CodingError};
use crate::http::fields::{FieldName, Fields};
use crate::http::framing::Body;
use crate::http::head::Method;
use crate::http::write;
use crate::plan::{self, OnError};
use crate::script::{Chain, Engine, Hook, HookOutcome, ScriptAnswer, ScriptFault};

/// The scripts of a route, and what they run in.
#[derive(Clone, Copy)]
pub struct RouteScripts<'a> {
    pub engine: &'a Engine,
    pub chain: &'a Chain,
    pub plan: &'a plan::ScriptSettings,
    pub route: &'a str,
    /// Called with what belongs into the log.
    pub notify: &'a dyn Fn(&ScriptNotice<'_>),
}

/// Something that the script's author should know of a request.
pub struct ScriptNotice<'a> {
    pub route: &'a str,
    pub request_id: &'a [u8],
    pub kind: NoticeKind<'a>,
}

pub enum NoticeKind<'a> {
    /// A script failed.
    Failed(&'a ScriptFault),
    /// A hook did not run, for this reason, which is no fault of anybody's.
    PassedBy(&'a str),
    /// A body hook did not run, because nobody here can read the body, and errors are ignored.
    Unreadable(Hook, CodingError),
}

/// How a response body goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyHandling {
    /// As it comes.
    Stream,
    /// As a whole: a script wants to see it, or has set another.
    Whole,
}

impl RouteScripts<'_> {
    pub fn has(&self, hook: Hook) -> bool {
        self.chain.has(hook)
    }

    /// Runs `on_request`, then, where a script wants the body or has set another, `on_request_body` on what `host` reads.
    /// Returns the body of the answer, if one of them answers; its head then stands in the transaction.
    ///
    /// # Errors
    /// A script that failed or denied; a body that is too large, malformed or late.
    pub async fn on_request<H: StepHost>(
        &self,
        transaction: &mut Transaction,
        host: &mut H,
    ) -> Result<Option<Vec<u8>>, Error> {
        if self.has(Hook::ResponseBody) {
            ask_for_plain(&mut transaction.request.fields);
        }
        if self.has(Hook::Request) && self.answers(Hook::Request, transaction)? {
            return Ok(Some(answer_body(transaction)));
        }
        if self.has(Hook::RequestBody) || transaction.edits.request_body.changed {
            return Box::pin(self.on_whole_request(transaction, host)).await;
        }
        Ok(None)
    }

    async fn on_whole_request<H: StepHost>(
        &self,
        transaction: &mut Transaction,
        host: &mut H,
    ) -> Result<Option<Vec<u8>>, Error> {
        let max_bytes = self.has(Hook::RequestBody).then_some(self.plan.max_body);
        if let (Body::Length(bytes), Some(max_bytes)) = (transaction.meta.body, max_bytes)
            && bytes > max_bytes as u64
        {
            return Err(too_large());
        }
        let body = host.read_body(max_bytes).await?;
        match self.on_request_body(transaction, body)? {
            Some(body) => host.replace_body(body),
            None => return Ok(Some(answer_body(transaction))),
        }
        Ok(None)
    }

    /// Runs `on_request_body` on a body that is all here. `wire`: as it came, without its framing; empty where a script
    /// has set another. Returns what is sent, for which head and `meta.body` are right then; `None`: the answer stands
    /// in the transaction.
    ///
    /// # Errors
    /// A script that failed or denied; a body that is not what its head says, in an unknown coding, or too large.
    fn on_request_body(
        &self,
        transaction: &mut Transaction,
        wire: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let fields = &mut transaction.request.fields;
        let body = &mut transaction.edits.request_body;
        let mut coded = None;
        let mut hooked = self.has(Hook::RequestBody);
        if !body.changed {
            *body = match decoded(fields, &wire, self.plan.max_body) {
                Ok(Some(content)) => {
                    coded = Some(wire);
                    Content::buffered(content)
                }
                Ok(None) => Content::buffered(wire),
                Err(CodingError::TooLarge) => return Err(too_large()),
                Err(why) if self.plan.on_error == OnError::Fail => {
                    let detail = format!("the body cannot be read: content coding {why}");
                    return Err(Error::client(Reason::BadRequest, detail));
                }
                Err(why) => {
                    hooked = false;
                    self.notify(&transaction.id, NoticeKind::Unreadable(Hook::RequestBody, why));
                    Content::buffered(wire)
                }
            };
        }
        if hooked && self.answers(Hook::RequestBody, transaction)? {
            return Ok(None);
        }
        let (fields, body) = (&mut transaction.request.fields, &mut transaction.edits.request_body);
        let whole = match body.take_changed() {
            Some(new) => {
                forget_bytes(fields);
                new
            }
            None => {
                let content = body.bytes.take();
                coded.or(content).unwrap_or_default()
            }
        };
        fields.remove_id(FieldName::Expect);
        if transaction.meta.body != Body::None || !whole.is_empty() {
            frame(fields, whole.len());
            transaction.meta.body = Body::Length(whole.len() as u64);
        }
        Ok(Some(whole))
    }

    /// Runs `on_response`. Says whether the response then has to be sent as a whole. `framing`: how its body arrives.
    ///
    /// # Errors
    /// A script that failed or denied.
    pub fn on_response_head(
        &self,
        transaction: &mut Transaction,
        framing: Body,
    ) -> Result<BodyHandling, Error> {
        let before = transaction.response.status();
        self.replaces(Hook::Response, transaction)?;
        let after = transaction.response.status();
        // A status that has no body loses the one that comes; one that may have a body gets an empty one.
        let crossed = is_bodiless(before) != is_bodiless(after);
        if crossed && !transaction.edits.response_body.changed {
            transaction.edits.response_body = Content { bytes: Some(Vec::new()), changed: true };
        }
        if transaction.edits.response_body.changed {
            return Ok(BodyHandling::Whole);
        }
        let wanted = self.has(Hook::ResponseBody);
        if wanted && after == 206 {
            self.notify(&transaction.id, NoticeKind::PassedBy("the response is a part of a body"));
        }
        if wanted && may_be_whole(after) && transaction.request.method() == Method::Head {
            // How long the body would be that GET gets from the hook, nobody knows (RFC 9110, 8.6).
            transaction.response.fields.remove_id(FieldName::ContentLength);
        }
        let is_whole = wanted && may_be_whole(after) && framing != Body::None;
        Ok(if is_whole { BodyHandling::Whole } else { BodyHandling::Stream })
    }

    /// Runs `on_response_body` on a body that is all here, or on the one that a script has set; returns what is sent,
    /// for which the head is right then.
    ///
    /// # Errors
    /// A script that failed or denied; a body that is not what its head says, in an unknown coding, or too large.
    pub fn on_response_body(&self, transaction: &mut Transaction, wire: Vec<u8>) -> Result<Vec<u8>, Error> {
        let mut coded = None;
        let mut hooked = self.has(Hook::ResponseBody) && may_be_whole(transaction.response.status());
        if !transaction.edits.response_body.changed {
            let content = match decoded(&transaction.response.fields, &wire, self.plan.max_body) {
                Ok(None) => wire,
                Ok(Some(content)) => {
                    coded = Some(wire);
                    content
                }
                Err(CodingError::TooLarge) => return Err(response_too_large()),
                // What a script would have taken out of it must not get to the client.
                Err(why) if self.plan.on_error == OnError::Fail => {
                    let detail = format!("the response body cannot be read by scripts: content coding {why}");
                    return Err(Error::upstream(Reason::UpstreamProtocol, Retry::Never, detail));
                }
                Err(why) => {
                    hooked = false;
                    self.notify(&transaction.id, NoticeKind::Unreadable(Hook::ResponseBody, why));
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
                forget_bytes(&mut response.fields);
                body
            }
            None => {
                let content = edits.response_body.bytes.take();
                coded.or(content).unwrap_or_default()
            }
        };
        if is_bodiless(response.status()) {
            response.fields.remove_id(FieldName::ContentLength);
            return Ok(Vec::new());
        }
        frame(&mut response.fields, body.len());
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
        if may_be_whole(status) && method != Method::Head {
            self.replaces(Hook::ResponseBody, transaction)?;
        }
        let changed = transaction.edits.response_body.take_changed();
        if changed.is_some() {
            forget_bytes(&mut transaction.response.fields);
        }
        Ok(changed)
    }

    /// Runs every `on_log`.
    pub fn on_log(&self, transaction: &mut Transaction) {
        self.chain
            .on_log(self.engine, transaction, &|at, fault| self.notify(&at.id, NoticeKind::Failed(fault)));
    }

    /// Runs a request hook of all scripts; says whether one answers.
    fn answers(&self, hook: Hook, transaction: &mut Transaction) -> Result<bool, Error> {
        let on_fault = |at: &Transaction, fault: &ScriptFault| self.notify(&at.id, NoticeKind::Failed(fault));
        outcome(self.chain.on_request(self.engine, hook, transaction, &on_fault))
    }

    /// Runs a response hook of all scripts. One that answers has replaced the response.
    fn replaces(&self, hook: Hook, transaction: &mut Transaction) -> Result<(), Error> {
        let on_fault = |at: &Transaction, fault: &ScriptFault| self.notify(&at.id, NoticeKind::Failed(fault));
        outcome(self.chain.on_response(self.engine, hook, transaction, &on_fault)).map(|_| ())
    }

    fn notify(&self, request_id: &[u8], kind: NoticeKind<'_>) {
        (self.notify)(&ScriptNotice { route: self.route, request_id, kind });
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

/// The body of the answer that a request hook has given.
fn answer_body(transaction: &mut Transaction) -> Vec<u8> {
    transaction.edits.response_body.take_changed().unwrap_or_default()
}

/// The content of a body, if it has a coding. Where there is nothing, there is nothing to decode.
fn decoded(fields: &Fields, wire: &[u8], max_bytes: usize) -> Result<Option<Vec<u8>>, CodingError> {
    if wire.is_empty() { Ok(None) } else { coding::decode(fields, wire, max_bytes) }
}

/// A request body that no hook can have as a whole.
pub fn too_large() -> Error {
    Error::client(Reason::BodyTooLarge, "the body is over [scripts] max_body")
}

/// A response body that no hook can have as a whole. The bound is the gateway's own.
pub fn response_too_large() -> Error {
    let detail = "the response body is over [scripts] max_body";
    Error::gateway(Reason::UpstreamProtocol, detail)
}

/// Fields that speak of the very bytes of a body (RFC 9110, 8.3 to 8.8 and 14; RFC 9530; RFC 1864).
const OF_THE_BYTES: [&[u8]; 8] = [
    b"etag",
    b"content-encoding",
    b"content-range",
    b"accept-ranges",
    b"content-md5",
    b"digest",
    b"content-digest",
    b"repr-digest",
];

/// Has the upstream send the whole body without a coding, so that a hook can read it.
pub fn ask_for_plain(request: &mut Fields) {
    request.remove_id(FieldName::AcceptEncoding);
    request.remove(b"range");
    request.remove(b"if-range");
}

/// After a script has set the body: what the head says of other bytes goes.
pub fn forget_bytes(fields: &mut Fields) {
    OF_THE_BYTES.iter().for_each(|name| fields.remove(name));
}

/// A head whose body is all here now: its length replaces every other framing.
pub fn frame(fields: &mut Fields, body_bytes: usize) {
    fields.remove_id(FieldName::TransferEncoding);
    fields.remove_id(FieldName::Trailer);
    let mut length = Vec::new();
    write::decimal(&mut length, body_bytes as u64);
    fields.put(FieldName::ContentLength, &length);
}

/// Whether responses with this status have no body (RFC 9110, 6.4.1).
pub fn is_bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// Whether responses with this status have a body, and all of it.
pub fn may_be_whole(status: u16) -> bool {
    !is_bodiless(status) && !matches!(status, 205 | 206)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write_to(&mut out);
        String::from_utf8(out).expect("only text went in")
    }

    #[test]
    fn a_changed_body_loses_what_was_true_of_the_old_bytes_alone() {
        let mut fields = Fields::default();
        for name in
            ["ETag", "Content-Type", "Content-Encoding", "Accept-Ranges", "Repr-Digest", "Last-Modified"]
        {
            fields.add(name.as_bytes(), b"x");
        }
        forget_bytes(&mut fields);
        assert_eq!(text(&fields), "Content-Type: x\r\nLast-Modified: x\r\n");
    }

    #[test]
    fn a_body_that_is_here_is_framed_by_its_length_alone() {
        let mut fields = Fields::default();
        for (name, value) in [("Transfer-Encoding", "chunked"), ("Trailer", "x"), ("Content-Length", "9")] {
            fields.add(name.as_bytes(), value.as_bytes());
        }
        frame(&mut fields, 12);
        assert_eq!(text(&fields), "Content-Length: 12\r\n");
    }
}
