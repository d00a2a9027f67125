//! Scripts end to end: what clients and origins see on the wire of a route that has some.

mod answers;
mod check;
mod counters;
mod failures;
mod held;
mod hostile;
mod metrics;
mod reload;
mod request;
mod request_body;
mod response_body;
mod rewritten;
mod sequences;
mod streaming;
mod test_command;

use crate::support::{Builder, Gateway, Message, Origin, proxy_with};

const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";

/// A gateway to be, with this text as `scripts/a.rhai`.
fn with_script(text: &str) -> Builder {
    Gateway::builder().file("scripts/a.rhai", text)
}

/// Everything goes to the origin by way of `a.rhai`; `more` are further keys of the route.
fn route_to(origin: &Origin, more: &str) -> String {
    proxy_with(&[&origin.url()], "", &format!("scripts = [\"a.rhai\"]\n{more}"))
}

/// A running gateway that sends everything to the origin by way of this script.
fn scripted(origin: &Origin, script: &str) -> Gateway {
    with_script(script).start(&route_to(origin, ""))
}

/// A `POST /` with this body and further field lines, each with its line end.
fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len())
}

/// Answers every request with a 200 whose body is the request's body.
fn mirror() -> Origin {
    Origin::new(|peer| {
        while let Some(request) = peer.request() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
            peer.send([head.as_bytes(), &request.body].concat());
        }
    })
}

/// The problem document's `reason`.
fn reason(answer: &Message) -> String {
    answer.json()["reason"].as_str().unwrap_or_default().to_owned()
}
