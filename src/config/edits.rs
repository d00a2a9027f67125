//! Fields: the edits of a route's requests and responses, and the conditions on them.
//!
//! Names and values are checked by the grammar of `http`, so an edit can never split a message or add a field.

use std::collections::HashMap;
use std::sync::Arc;

use super::problems::{Problems, TextSpan, ValueError, quoted};
use super::schema::not_supported_yet;
use super::section::{At, Section};
use crate::http::hygiene;
use crate::http::name::FieldName;
use crate::plan::{Condition, HeaderEdits};

/// `request_headers` or `response_headers`, present or switched off; all problems are reported.
pub(super) fn header_edits(edits: &Section<'_>, problems: &mut Problems) -> HeaderEdits {
    let remove = edits.parsed_list("remove", problems, |name| editable(name).map(|()| name.into()));
    HeaderEdits { remove, set: fields(edits, "set", problems), add: fields(edits, "add", problems) }
}

/// In the file's order, which is the order in which they are sent.
fn fields(edits: &Section<'_>, key: &str, problems: &mut Problems) -> Vec<(Arc<str>, Arc<str>)> {
    let entries = edits.text_map(key);
    report_same_names(&entries, problems);
    let mut fields = Vec::with_capacity(entries.len());
    for ((name, name_span), (value, value_span)) in entries {
        problems.accept(name_span, editable(name));
        fields.extend(problems.accept(value_span, field_value(value)).map(|value| (name.into(), value)));
    }
    fields
}

/// TOML keeps `X-A` and `x-a` apart, HTTP does not.
fn report_same_names(entries: &[(At<&str>, At<&str>)], problems: &mut Problems) {
    let mut seen: HashMap<String, TextSpan> = HashMap::new();
    for ((name, span), _) in entries {
        if let Some(first) = seen.insert(name.to_ascii_lowercase(), span.clone()) {
            problems
                .error(span.clone(), format!("{} is there twice: field names have no case", quoted(name)))
                .with_related(first, "first here")
                .with_hint("keep one of the two");
        }
    }
}

/// Whether a configuration may set or remove a field of this name.
pub(super) fn editable(name: &str) -> Result<(), ValueError> {
    field_name(name)?;
    let lower = name.to_ascii_lowercase();
    if lower == "host" {
        return Err(ValueError::new("`host` cannot be edited here", "use `host_header`"));
    }
    // Fields that belong to one connection or frame the message.
    let id = FieldName::of(name.as_bytes());
    if hygiene::is_hop_by_hop(id) || matches!(id, FieldName::ContentLength | FieldName::Trailer) {
        return Err(ValueError::new(
            format!("`{lower}` cannot be edited: the gateway writes it for each connection"),
            "leave it out",
        ));
    }
    Ok(())
}

/// A token (RFC 9110, 5.1).
fn field_name(name: &str) -> Result<(), ValueError> {
    if hygiene::is_token(name.as_bytes()) {
        return Ok(());
    }
    Err(ValueError::new(
        format!("{} is not a field name", quoted(name)),
        "letters, digits and `-`, without spaces or a colon",
    ))
}

/// A field value (RFC 9110, 5.5).
pub(super) fn field_value(value: &str) -> Result<Arc<str>, ValueError> {
    if hygiene::is_field_value(value.as_bytes()) {
        return Ok(value.into());
    }
    let (why, hint) = if value.bytes().all(hygiene::is_value_byte) {
        ("starts or ends with a blank, which is not part of a field value", "leave the blanks out")
    } else {
        ("has control characters, which no field value may have", "write it on one line")
    };
    Err(ValueError::new(format!("{} {why}", quoted(value)), hint))
}

/// `headers` of a route: all must hold.
pub(super) fn header_conditions(route: &Section<'_>, problems: &mut Problems) -> Vec<Condition> {
    let entries = route.text_map("headers");
    report_same_names(&entries, problems);
    let mut conditions = Vec::with_capacity(entries.len());
    for ((name, name_span), (value, value_span)) in entries {
        let lower = name.to_ascii_lowercase();
        let known = match &*lower {
            "host" => Err(ValueError::new("`host` is not matched here", "use the route's `host`")),
            _ => field_name(name),
        };
        problems.accept(name_span, known);
        let value = problems.accept(value_span, field_value(value).and_then(|value| condition_value(&value)));
        conditions.push(Condition { name: lower.into(), value: value.flatten() });
    }
    conditions
}

/// `query` of a route: all must hold. Names and values are compared decoded, so any text is one.
pub(super) fn query_conditions(route: &Section<'_>, problems: &mut Problems) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for ((name, span), (value, value_span)) in route.text_map("query") {
        if name.is_empty() {
            problems
                .error(span, "a query parameter without a name")
                .with_hint("write query = { beta = \"1\" }");
        }
        let value = problems.accept(value_span, condition_value(value));
        conditions.push(Condition { name: name.into(), value: value.flatten() });
    }
    conditions
}

/// `None`: any value, written `"*"`. Other patterns would be taken for plain text, so they are refused.
fn condition_value(value: &str) -> Result<Option<Arc<str>>, ValueError> {
    match value {
        "*" => Ok(None),
        _ if value.starts_with('~') => Err(not_supported_yet("a regular expression as a condition")),
        _ if value.ends_with('*') => Err(not_supported_yet("a prefix as a condition")),
        _ => Ok(Some(value.into())),
    }
}
