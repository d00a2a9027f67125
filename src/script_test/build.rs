//! Heads as they come over the wire, from what a test says of them.

use super::case::{TestCase, UpstreamAnswer};
use crate::base::error::{Error, Reason, Retry};
use crate::http::fields::FieldName;
use crate::http::{hygiene, write};
use crate::pipeline::script;
use crate::plan::{HostPattern, RoutePlan};

/// The head that a client would send.
///
/// # Errors
/// What no client can say.
pub fn of_request(case: &TestCase, route: &RoutePlan) -> Result<Vec<u8>, String> {
    if !hygiene::is_token(case.method.as_bytes()) {
        return Err(format!("`method` cannot be {:?}", case.method));
    }
    if !case.target.starts_with('/') || case.target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        let wrong = format!("`path` cannot be {:?}", case.target);
        return Err(format!("{wrong}: it begins with `/`, and spaces are escaped; see `url_encode`"));
    }
    let mut text = format!("{} {} HTTP/1.1\r\n", case.method, case.target).into_bytes();
    let has_host = case.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !has_host {
        write::field(&mut text, b"Host", usual_host(route).as_bytes());
    }
    write_fields(&mut text, &case.headers, (!case.body.is_empty()).then_some(case.body.len()))?;
    Ok(text)
}

/// The head that an upstream would send.
///
/// # Errors
/// `upstream_protocol`, as for any other head that is none.
pub fn of_response(answer: &UpstreamAnswer) -> Result<Vec<u8>, Error> {
    let mut text = format!("HTTP/1.1 {} \r\n", answer.status).into_bytes();
    let length = (!script::is_bodiless(answer.status)).then_some(answer.body.len());
    write_fields(&mut text, &answer.headers, length)
        .map_err(|text| Error::upstream(Reason::UpstreamProtocol, Retry::Never, text))?;
    Ok(text)
}

/// Writes fields and the end of a head; and the length of the body, unless they say how it comes.
fn write_fields(
    text: &mut Vec<u8>,
    headers: &[(String, String)],
    length: Option<usize>,
) -> Result<(), String> {
    let framing = |name: &str| {
        matches!(FieldName::of(name.as_bytes()), FieldName::ContentLength | FieldName::TransferEncoding)
    };
    for (name, value) in headers {
        if !hygiene::is_token(name.as_bytes()) || !hygiene::is_field_value(value.as_bytes()) {
            return Err(format!("there can be no header {name:?} with the value {value:?}"));
        }
        write::field(text, name.as_bytes(), value.as_bytes());
    }
    let is_said = headers.iter().any(|(name, _)| framing(name));
    if let Some(length) = length.filter(|_| !is_said) {
        write::field(text, b"Content-Length", length.to_string().as_bytes());
    }
    text.extend_from_slice(b"\r\n");
    Ok(())
}

/// The host that a request names if the test gives none: the first of the route.
fn usual_host(route: &RoutePlan) -> &str {
    let exact = route.hosts.iter().find_map(|host| match host {
        HostPattern::Exact(host) => Some(&**host),
        HostPattern::Wildcard(_) => None,
    });
    exact.unwrap_or("localhost")
}
