//! The admin listener's responses: built by control or by `decide`, turned into bytes here.

use serde::Serialize;
use serde_json::{Value, json};

/// A whole response of the admin listener.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminResponse {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// What its status asks for besides: the `Allow` of a 405, the `WWW-Authenticate` of a 401.
    pub field: Option<(&'static str, &'static str)>,
}

impl AdminResponse {
    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> AdminResponse {
        AdminResponse::new(status, "text/plain; charset=utf-8", body.into().into_bytes())
    }

    /// JSON on one line, for programs.
    pub fn json(status: u16, body: &impl Serialize) -> AdminResponse {
        AdminResponse::new(status, "application/json", line(serde_json::to_vec(body)))
    }

    /// Indented JSON with status 200, for people too.
    pub fn page(body: &impl Serialize) -> AdminResponse {
        AdminResponse::new(200, "application/json", line(serde_json::to_vec_pretty(body)))
    }

    /// The Prometheus text exposition format.
    pub fn metrics(page: impl Into<Vec<u8>>) -> AdminResponse {
        AdminResponse::new(200, crate::metrics::CONTENT_TYPE, page.into())
    }

    /// `application/problem+json` (RFC 9457). `reason` is stable; `error` is for people.
    pub fn problem(status: u16, reason: &str, error: &str) -> AdminResponse {
        AdminResponse::problem_with(status, reason, error, json!({}))
    }

    /// The same with further members, which must be those of a JSON object.
    pub fn problem_with(status: u16, reason: &str, error: &str, more: Value) -> AdminResponse {
        let problem =
            ProblemBody { r#type: "about:blank", title: title(status), status, error, reason, more };
        AdminResponse { content_type: "application/problem+json", ..AdminResponse::json(status, &problem) }
    }

    fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> AdminResponse {
        AdminResponse { status, content_type, body, field: None }
    }

    /// The bytes of the response. `with_body` is false for HEAD, whose response has only the body's length.
    pub fn to_bytes(&self, with_body: bool, keep_open: bool) -> Vec<u8> {
        let AdminResponse { status, content_type, body, field } = self;
        let mut head = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
            title(*status),
            body.len()
        );
        if let Some((name, value)) = field {
            head += &format!("{name}: {value}\r\n");
        }
        head += if keep_open { "\r\n" } else { "Connection: close\r\n\r\n" };
        let mut bytes = head.into_bytes();
        if with_body {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

/// The members of a problem, in the order in which they are documented.
#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    error: &'a str,
    reason: &'a str,
    #[serde(flatten)]
    more: Value,
}

/// With a line feed at the end, for terminals.
fn line(json: serde_json::Result<Vec<u8>>) -> Vec<u8> {
    let mut json = json.expect("the keys are strings, and nothing here fails by itself");
    json.push(b'\n');
    json
}

/// The reason phrases of what this listener sends.
fn title(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_members_of_rfc_9457_and_its_own() {
        let response =
            AdminResponse::problem_with(422, "invalid_config", "It is wrong", json!({ "problems": ["a"] }));
        let body: Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(response.content_type, "application/problem+json");
        assert_eq!(
            body,
            json!({
                "type": "about:blank", "title": "Unprocessable Content", "status": 422,
                "reason": "invalid_config", "error": "It is wrong", "problems": ["a"],
            })
        );
    }

    #[test]
    fn a_head_request_learns_the_length_of_the_body_it_does_not_get() {
        let bytes = AdminResponse::text(200, "ok\n").to_bytes(false, true);
        let text = String::from_utf8(bytes).expect("ASCII");
        assert!(text.contains("\r\nContent-Length: 3\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n"), "{text}");
    }

    #[test]
    fn only_the_last_response_of_a_connection_says_close() {
        let text =
            |open| String::from_utf8(AdminResponse::text(200, "").to_bytes(true, open)).expect("ASCII");
        assert!(text(false).contains("Connection: close"));
        assert!(!text(true).contains("Connection"));
    }
}
