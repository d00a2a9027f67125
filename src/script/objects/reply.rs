//! `respond`, `redirect` and `deny`: the replies that a hook may return.

use std::rc::Rc;

use rhai::{Dynamic, Engine, Map};

use super::headers::value_text;
use super::response::final_status;
use crate::http::fields::{FieldName, Fields};
use crate::http::hygiene;
use crate::script::call_stage::{ScriptResult, bytes_of, script_error};
use crate::script::functions::json;

/// A response in place of the upstream's.
#[derive(Clone, Debug)]
pub struct ScriptReply(pub(in crate::script) Rc<ScriptReplyBody>);

#[derive(Clone, Debug)]
pub enum ScriptReplyBody {
    /// The script's own response.
    Own { status: u16, fields: Fields, body: Vec<u8> },
    /// The gateway's problem document for `script_denied`, with this detail if there is one.
    Denied { detail: String },
}

pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<ScriptReply>("Reply");
    engine.register_fn("respond", |status: i64| own(status, &Dynamic::UNIT, None));
    engine.register_fn("respond", |status: i64, body: Dynamic| own(status, &body, None));
    engine.register_fn("respond", |status: i64, body: Dynamic, headers: Map| {
        own(status, &body, Some(&headers))
    });
    engine.register_fn("redirect", |url: &str| redirect(url, 302));
    engine.register_fn("redirect", redirect);
    engine.register_fn("deny", || ScriptReply(Rc::new(ScriptReplyBody::Denied { detail: String::new() })));
    engine.register_fn("deny", |detail: &str| {
        ScriptReply(Rc::new(ScriptReplyBody::Denied { detail: detail.to_owned() }))
    });
}

fn own(status: i64, body: &Dynamic, headers: Option<&Map>) -> ScriptResult<ScriptReply> {
    let status = final_status(status)?;
    let mut fields = Fields::default();
    let is_json = body.is_map() || body.is_array();
    let body = match () {
        () if body.is_unit() => Vec::new(),
        () if is_json => json::write(body)?,
        () => bytes_of(body, "`respond`")?,
    };
    if !body.is_empty() {
        let plain: &[u8] = if is_json { b"application/json" } else { b"text/plain; charset=utf-8" };
        fields.put(FieldName::ContentType, plain);
    }
    for (name, value) in headers.into_iter().flatten() {
        add(&mut fields, name, value)?;
    }
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        return Err(script_error(format!("a response with status {status} has no body")));
    }
    Ok(ScriptReply(Rc::new(ScriptReplyBody::Own { status, fields, body })))
}

fn add(fields: &mut Fields, name: &str, value: &Dynamic) -> ScriptResult<()> {
    let id = FieldName::of(name.as_bytes());
    let framing = matches!(id, FieldName::ContentLength | FieldName::Trailer) || hygiene::is_hop_by_hop(id);
    if framing || !hygiene::is_token(name.as_bytes()) {
        return Err(script_error(format!(
            "`respond` cannot set header {name:?}: no such name, or the gateway's own"
        )));
    }
    let mut values = Vec::new();
    match value.as_array_ref() {
        Ok(list) => values = list.iter().map(|value| value_text(name, value)).collect::<ScriptResult<_>>()?,
        Err(_) => values.push(value_text(name, value)?),
    }
    for value in &values {
        let value = value.trim_ascii().as_bytes();
        if !hygiene::is_field_value(value) {
            return Err(script_error(format!("the value for header {name:?} has a control character")));
        }
        // The type that was set for the body is only a default.
        if id == FieldName::ContentType { fields.put(id, value) } else { fields.add(name.as_bytes(), value) }
    }
    Ok(())
}

/// A redirect (RFC 9110, 15.4).
fn redirect(url: &str, status: i64) -> ScriptResult<ScriptReply> {
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Err(script_error(format!("{status} is no redirect: 301, 302, 303, 307 or 308")));
    }
    let mut fields = Fields::default();
    let is_url = !url.is_empty() && url.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    if !is_url {
        return Err(script_error(
            "`redirect` takes a URL, in which spaces and control characters are escaped",
        ));
    }
    fields.add(b"Location", url.as_bytes());
    Ok(ScriptReply(Rc::new(ScriptReplyBody::Own { status: final_status(status)?, fields, body: Vec::new() })))
}
