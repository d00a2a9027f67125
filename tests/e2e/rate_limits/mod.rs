//! Rate limits over real sockets: within one process and over several that share a Redis.

mod answers;
mod at_the_origin;
mod bounds;
mod counted;
mod lost_store;
mod slow_store;

use crate::support::{Gateway, Message};

/// A route that answers by itself and has limits of these lines.
fn limited(name: &str, limits: &[&str]) -> String {
    let limits: String = limits.iter().map(|lines| format!("[[route.rate_limit]]\n{lines}\n")).collect();
    format!("[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nrespond = {{ body = \"ok\" }}\n{limits}")
}

/// A request with these fields, over a connection of its own.
fn get(gateway: &Gateway, path: &str, fields: &str) -> Message {
    gateway.exchange(format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{fields}\r\n"))
}

/// How many of so many requests pass; the others are refused with 429.
fn passing(gateway: &Gateway, path: &str, fields: &str, requests: usize) -> usize {
    let statuses = (0..requests).map(|_| get(gateway, path, fields).status());
    statuses
        .filter(|status| {
            assert!(matches!(status, 200 | 429), "{status}");
            *status == 200
        })
        .count()
}
