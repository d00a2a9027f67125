//! Tests of routing, one file a subject, with short constructors of routes and requests.

mod cost;
mod edits;
mod matching;
mod oracle;
mod unreachable;

use std::sync::Arc;

use super::{Captures, Found, MatchInput, RouteTable};
use crate::plan::{Action, Condition, HostPattern, PathPattern, Respond, RoutePlan, Segment, Tail};

/// A request in owned parts.
#[derive(Clone, Debug)]
struct TestRequest {
    host: String,
    path: String,
    method: String,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

impl TestRequest {
    fn find(&self, table: &RouteTable, captures: &mut Captures) -> Found {
        self.with_request(|request| table.find(request, captures))
    }

    fn allowed(&self, table: &RouteTable) -> String {
        let mut out = Vec::new();
        self.with_request(|request| table.allowed(request, &mut out));
        String::from_utf8(out).expect("methods are text")
    }

    fn with_request<R>(&self, run: impl FnOnce(&MatchInput<'_, Lookup<'_>>) -> R) -> R {
        let query: Vec<String> = self.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let any = |name: &[u8], holds: &mut dyn FnMut(&[u8]) -> bool| {
            self.headers.iter().any(|(known, value)| known.as_bytes() == name && holds(value.as_bytes()))
        };
        run(&MatchInput {
            host: self.host.as_bytes(),
            path: self.path.as_bytes(),
            query: query.join("&").as_bytes(),
            method: self.method.as_bytes(),
            header: &any,
        })
    }
}

type Lookup<'a> = dyn Fn(&[u8], &mut dyn FnMut(&[u8]) -> bool) -> bool + 'a;

/// `GET` of "host/path".
fn get(url: &str) -> TestRequest {
    let (host, path) = url.split_at(url.find('/').unwrap_or(url.len()));
    let (method, path) = ("GET".into(), path.into());
    TestRequest { host: host.into(), path, method, headers: Vec::new(), query: Vec::new() }
}

fn pattern(text: &str) -> PathPattern {
    let mut pattern = PathPattern { text: text.into(), segments: Vec::new(), tail: Tail::Exact };
    for part in text[1..].split('/') {
        let capture = part.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        match capture.map(|name| (name, name.strip_prefix('*'))) {
            Some((_, Some(rest))) => pattern.tail = Tail::Capture(rest.into()),
            Some((name, None)) => pattern.segments.push(Segment::Capture(name.into())),
            None if part == "*" => pattern.tail = Tail::Any,
            None => pattern.segments.push(Segment::Literal(part.into())),
        }
    }
    pattern
}

fn hosts(given: &str) -> Vec<HostPattern> {
    let host = |text: &str| match text.strip_prefix("*.") {
        Some(suffix) => HostPattern::Wildcard(suffix.into()),
        None => HostPattern::Exact(text.into()),
    };
    given.split_whitespace().map(host).collect()
}

/// A route of these paths (separated by spaces) without conditions.
fn route(paths: &str) -> RoutePlan {
    RoutePlan {
        name: paths.into(),
        paths: paths.split(' ').map(pattern).collect(),
        action: Action::Respond(Respond { status: 200, body: Arc::new([]), content_type: None }),
        ..RoutePlan::default()
    }
}

impl RoutePlan {
    fn on(self, given: &str) -> RoutePlan {
        RoutePlan { hosts: hosts(given), ..self }
    }

    fn method(self, methods: &str) -> RoutePlan {
        RoutePlan { methods: methods.split(' ').map(Into::into).collect(), ..self }
    }

    fn header(mut self, name: &str, value: &str) -> RoutePlan {
        self.headers.push(condition(name, value));
        self
    }

    fn query(mut self, name: &str, value: &str) -> RoutePlan {
        self.query.push(condition(name, value));
        self
    }

    fn priority(self, priority: i64) -> RoutePlan {
        RoutePlan { priority, ..self }
    }
}

fn condition(name: &str, value: &str) -> Condition {
    Condition { name: name.into(), value: (value != "*").then(|| value.into()) }
}

fn table<const N: usize>(routes: [RoutePlan; N]) -> RouteTable {
    RouteTable::build(&routes.map(Arc::new))
}

fn found(table: &RouteTable, request: &TestRequest) -> Found {
    request.find(table, &mut Captures::default())
}

/// Which route each URL finds.
fn assert_finds(table: &RouteTable, expected: &[(&str, Option<usize>)]) {
    for (url, route) in expected {
        assert_eq!(found(table, &get(url)), route.map_or(Found::None, Found::Route), "{url}");
    }
}
