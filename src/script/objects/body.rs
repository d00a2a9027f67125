//! `body` and `json` of `req` and `res`.

use rhai::Dynamic;

use crate::exchange::Content;
use crate::http::fields::{FieldName, Fields};
use crate::script::budget::Budget;
use crate::script::call_stage::{ScriptResult, bytes_of, script_error, text_or_blob};
use crate::script::functions::json;

/// The body as a string or blob; `()`: there is none, or it is not buffered.
pub fn get(content: &Content) -> Dynamic {
    match content.bytes.as_deref() {
        None | Some([]) => Dynamic::UNIT,
        Some(bytes) => text_or_blob(bytes),
    }
}

pub fn set(content: &mut Content, value: &Dynamic) -> ScriptResult<()> {
    let bytes = match value.is_unit() {
        true => Vec::new(),
        false => bytes_of(value, "`body`")?,
    };
    *content = Content { bytes: Some(bytes), changed: true };
    Ok(())
}

/// The parsed body. Parsed at each reading, so that changes to the value have no effect unless assigned.
pub fn get_json(content: &Content, whose: &str, budget: &Budget) -> ScriptResult<Dynamic> {
    match content.bytes.as_deref() {
        None | Some([]) => Ok(Dynamic::UNIT),
        Some(bytes) => json::parse(bytes, budget)
            .map_err(|error| script_error(format!("the {whose} body is no JSON: {error}"))),
    }
}

pub fn set_json(content: &mut Content, fields: &mut Fields, value: &Dynamic) -> ScriptResult<()> {
    *content = Content { bytes: Some(json::write(value)?), changed: true };
    let content_type = fields.get(FieldName::ContentType).unwrap_or_default();
    if !is_json(content_type) {
        fields.put(FieldName::ContentType, b"application/json");
    }
    Ok(())
}

/// `application/json`, `text/json`, or a type whose suffix is `+json` (RFC 6839, 3.1).
fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let ends = |suffix: &[u8]| {
        essence.len() >= suffix.len() && essence[essence.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
    };
    ends(b"/json") || ends(b"+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_types_are_recognised_by_subtype_or_suffix() {
        for yes in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"] {
            assert!(is_json(yes.as_bytes()), "{yes}");
        }
        for no in ["", "text/plain", "application/jsonp", "json"] {
            assert!(!is_json(no.as_bytes()), "{no}");
        }
    }
}
