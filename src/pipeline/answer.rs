//! Answers that the gateway makes itself: problems (RFC 9457), `respond`, `redirect`. The one place that turns an
//! error into a response.

use std::borrow::Cow;

use crate::base::error::{Error, FaultOrigin, Reason, Retry};
use crate::exchange::Transaction;
use crate::http::fields::Fields;
use crate::http::head::ResponseHead;
use crate::http::write;
use crate::plan::{Redirect, Respond};
use crate::route::edit;

/// Makes the response a route's `respond`, but for its body.
pub fn respond(transaction: &mut Transaction, respond: &Respond) {
    let fields = begin(&mut transaction.response, respond.status);
    if let Some(content_type) = &respond.content_type {
        fields.add(b"Content-Type", content_type.as_bytes());
    }
}

/// Makes the response a route's `redirect`.
pub fn redirect(transaction: &mut Transaction, redirect: &Redirect) {
    let mut location = Vec::new();
    edit::expand(&redirect.to, transaction.path(), &transaction.captures, &mut location);
    if !location.contains(&b'?') {
        transaction.write_query(&mut location);
    }
    begin(&mut transaction.response, redirect.status).add(b"Location", &location);
}

/// Makes the response an error's problem document, and returns its body.
pub fn problem(transaction: &mut Transaction, error: &Error) -> Vec<u8> {
    let Transaction { response, id, .. } = transaction;
    let fields = begin(response, error.reason.status());
    fields.add(b"Content-Type", b"application/problem+json");
    if let Some(kind) = proxy_error(error) {
        fields.add(b"Proxy-Status", format!("ringway; error={kind}").as_bytes());
    }
    error.fields.iter().for_each(|(name, value)| fields.add(name.as_bytes(), value.as_bytes()));
    if let Some(seconds) = error.retry_after_s {
        fields.add(b"Retry-After", seconds.to_string().as_bytes());
    }
    document(error, id)
}

/// Makes `response` an empty one with this status.
fn begin(response: &mut ResponseHead, status: u16) -> &mut Fields {
    response.clear();
    response.set_status(status);
    &mut response.fields
}

/// The problem document (RFC 9457).
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct ProblemDocument<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    error: &'static str,
    reason: &'static str,
    request_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

fn document(error: &Error, request_id: &[u8]) -> Vec<u8> {
    let status = error.reason.status();
    let document = ProblemDocument {
        r#type: "about:blank",
        title: write::reason_phrase(status),
        status,
        error: error.reason.error(),
        reason: error.reason.as_str(),
        request_id: String::from_utf8_lossy(request_id),
        retry_after: error.retry_after_s,
        detail: error.tells_detail.then_some(&*error.detail).filter(|detail| !detail.is_empty()),
    };
    let mut body = serde_json::to_vec(&document).expect("strings and a number always serialise");
    body.push(b'\n');
    body
}

/// The type of a proxy error (RFC 9209, 2.3) for `Proxy-Status`, where there was no usable response of an upstream.
fn proxy_error(error: &Error) -> Option<&'static str> {
    Some(match (error.reason, error.retry, error.source) {
        (Reason::UpstreamConnect, ..) => "connection_refused",
        (Reason::UpstreamReset, ..) => "connection_terminated",
        // It was in order, and over a bound of the gateway.
        (Reason::UpstreamProtocol, _, FaultOrigin::Gateway) => "http_response_body_size",
        (Reason::UpstreamProtocol, ..) => "http_protocol_error",
        (Reason::UpstreamTimeout, Retry::Safe, _) => "connection_timeout",
        (Reason::UpstreamTimeout, ..) => "http_response_timeout",
        (Reason::NoTarget | Reason::CircuitOpen, ..) => "destination_unavailable",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_the_reason_and_keeps_upstream_details_to_itself() {
        let error = Error::upstream(Reason::UpstreamReset, Retry::Never, "10.0.0.7 closed");
        let said: serde_json::Value = serde_json::from_slice(&document(&error, b"id-1")).expect("valid JSON");
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Bad Gateway", "status": 502, "error": "Bad gateway",
            "reason": "upstream_reset", "requestId": "id-1",
        });
        assert_eq!(said, expected);
    }

    #[test]
    fn a_problem_says_when_a_new_try_has_a_chance() {
        let error = Error { retry_after_s: Some(12), ..Error::client(Reason::RateLimited, "") };
        let mut transaction = Transaction::default();
        let body = problem(&mut transaction, &error);
        let said: serde_json::Value = serde_json::from_slice(&body).expect("valid JSON");
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Too Many Requests", "status": 429, "error": "Rate limit exceeded",
            "reason": "rate_limited", "requestId": "", "retryAfter": 12,
        });
        assert_eq!(said, expected);
        assert_eq!(transaction.response.fields.find(b"retry-after"), Some(&b"12"[..]));
    }

    #[test]
    fn proxy_status_tells_a_connect_timeout_from_a_slow_answer() {
        let timeout = |retry| proxy_error(&Error::upstream(Reason::UpstreamTimeout, retry, ""));
        assert_eq!(timeout(Retry::Safe), Some("connection_timeout"));
        assert_eq!(timeout(Retry::Never), Some("http_response_timeout"));
        assert_eq!(proxy_error(&Error::gateway(Reason::Overloaded, "")), None);
    }

    #[test]
    fn a_response_over_a_bound_of_the_gateway_is_not_the_upstreams_fault() {
        let error = crate::pipeline::script::response_too_large();
        assert_eq!(error.source, FaultOrigin::Gateway);
        assert_eq!(proxy_error(&error), Some("http_response_body_size"));
    }

    #[test]
    fn a_detail_that_would_help_a_stranger_is_the_clients_fault_and_not_told() {
        let told = |error: &Error| String::from_utf8_lossy(&document(error, b"id-1")).contains("exp is 3");
        let error = Error::client(Reason::InvalidToken, "exp is 3");
        assert!(told(&error) && !told(&error.clone().untold()));
        assert_eq!(error.untold().source, FaultOrigin::Client);
    }
}
