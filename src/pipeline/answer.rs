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
    if error.source == FaultOrigin::Upstream || error.reason == Reason::NoTarget {
        fields.add(b"Proxy-Status", proxy_status(error).as_bytes());
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
        // What an upstream did is for the log; what the client did is for the client.
        detail: (error.source == FaultOrigin::Client)
            .then_some(&*error.detail)
            .filter(|detail| !detail.is_empty()),
    };
    let mut body = serde_json::to_vec(&document).expect("strings and a number always serialise");
    body.push(b'\n');
    body
}

/// `Proxy-Status` (RFC 9209, 2.3) of an error on the upstream's side.
fn proxy_status(error: &Error) -> String {
    let kind = match (error.reason, error.retry) {
        (Reason::UpstreamConnect, _) => "connection_refused",
        (Reason::UpstreamReset, _) => "connection_terminated",
        (Reason::UpstreamProtocol, _) => "http_protocol_error",
        (Reason::UpstreamTimeout, Retry::Safe) => "connection_timeout",
        (Reason::UpstreamTimeout, _) => "http_response_timeout",
        (Reason::NoTarget | Reason::CircuitOpen, _) => "destination_unavailable",
        _ => "proxy_internal_error",
    };
    format!("ringway; error={kind}")
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
        let timeout = |retry| proxy_status(&Error::upstream(Reason::UpstreamTimeout, retry, ""));
        assert_eq!(timeout(Retry::Safe), "ringway; error=connection_timeout");
        assert_eq!(timeout(Retry::Never), "ringway; error=http_response_timeout");
    }
}
