//! Fields: the edits of a route's requests and responses, and the conditions on them.

use std::collections::HashMap;
use std::sync::Arc;

use super::problems::{Fault, Problems, Span, quoted};
use super::section::{At, Section};
use crate::plan::{Condition, HeaderEdits};

/// Fields that belong to one connection or frame the message: the gateway writes them itself.
const OWN_FIELDS: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A token (RFC 9110, 5.6.2): what field names and methods are made of.
pub(super) fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// `request_headers` or `response_headers`, present or switched off; all problems are reported.
pub(super) fn header_edits(edits: &Section<'_>, problems: &mut Problems) -> HeaderEdits {
    let mut remove: Vec<Arc<str>> = Vec::new();
    for (name, span) in edits.texts("remove") {
        match editable(name) {
            Ok(()) => remove.push(name.into()),
            Err(fault) => problems.fault(span, fault),
        }
    }
    HeaderEdits { remove, set: fields(edits, "set", problems), add: fields(edits, "add", problems) }
}

fn fields(edits: &Section<'_>, key: &str, problems: &mut Problems) -> Vec<(Arc<str>, Arc<str>)> {
    let entries = edits.text_map(key);
    report_same_names(&entries, problems);
    let mut fields = Vec::with_capacity(entries.len());
    for ((name, name_span), (value, value_span)) in entries {
        if let Err(fault) = editable(name) {
            problems.fault(name_span, fault);
        }
        match field_value(value) {
            Ok(()) => fields.push((name.into(), value.into())),
            Err(fault) => problems.fault(value_span, fault),
        }
    }
    fields
}

/// TOML keeps `X-A` and `x-a` apart, HTTP does not.
fn report_same_names(entries: &[(At<&str>, At<&str>)], problems: &mut Problems) {
    let mut seen: HashMap<String, Span> = HashMap::new();
    for ((name, span), _) in entries {
        if let Some(first) = seen.insert(name.to_ascii_lowercase(), span.clone()) {
            problems
                .error(span.clone(), format!("{} is there twice: field names have no case", quoted(name)))
                .with_related(first, "first here")
                .with_hint("keep one of the two");
        }
    }
}

/// A field that a user's configuration may choose the value of.
pub(super) fn editable(name: &str) -> Result<(), Fault> {
    field_name(name)?;
    let lower = name.to_ascii_lowercase();
    if lower == "host" {
        return Err(Fault::new("`host` cannot be edited here", "use `host_header`"));
    }
    if OWN_FIELDS.contains(&&*lower) {
        return Err(Fault::new(
            format!("`{lower}` cannot be edited: the gateway writes it for each connection"),
            "leave it out",
        ));
    }
    Ok(())
}

fn field_name(name: &str) -> Result<(), Fault> {
    if is_token(name) {
        return Ok(());
    }
    Err(Fault::new(
        format!("{} is not a field name", quoted(name)),
        "letters, digits and `-`, without spaces or a colon",
    ))
}

/// RFC 9110, 5.5: no control characters but tab, no blanks at the ends.
pub(super) fn field_value(value: &str) -> Result<(), Fault> {
    let fault = |why, hint| Err(Fault::new(format!("{} {why}", quoted(value)), hint));
    if value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
        return fault("has control characters, which no field value may have", "write it on one line");
    }
    if value.trim_matches([' ', '\t']).len() != value.len() {
        return fault(
            "starts or ends with a blank, which is not part of a field value",
            "leave the blanks out",
        );
    }
    Ok(())
}

/// `headers` of a route: all must hold.
pub(super) fn header_conditions(route: &Section<'_>, problems: &mut Problems) -> Vec<Condition> {
    let entries = route.text_map("headers");
    report_same_names(&entries, problems);
    let mut conditions = Vec::with_capacity(entries.len());
    for ((name, name_span), (value, value_span)) in entries {
        let lower = name.to_ascii_lowercase();
        if let Err(fault) = field_name(name) {
            problems.fault(name_span, fault);
        } else if lower == "host" {
            problems.fault(name_span, Fault::new("`host` is not matched here", "use the route's `host`"));
        }
        if let Err(fault) = field_value(value) {
            problems.fault(value_span, fault);
        }
        conditions.push(Condition { name: lower.into(), value: condition_value(value) });
    }
    conditions
}

/// `query` of a route: all must hold. Names and values are compared decoded, so any text is one.
pub(super) fn query_conditions(route: &Section<'_>, problems: &mut Problems) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for ((name, span), (value, _)) in route.text_map("query") {
        if name.is_empty() {
            problems
                .error(span, "a query parameter without a name")
                .with_hint("write query = { beta = \"1\" }");
        }
        conditions.push(Condition { name: name.into(), value: condition_value(value) });
    }
    conditions
}

fn condition_value(value: &str) -> Option<Arc<str>> {
    (value != "*").then(|| value.into())
}
