//! What scripts cost: an empty hook, a header policy, regular expressions, digests, a JSON body wrapped.
//! `cargo bench --bench script`.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ringway::base::cpu_time::cpu_time_of_thread;
use ringway::exchange::{Content, Transaction};
use ringway::http::head::{self, HeadLimits, RESPONSE_LIMITS};
use ringway::metrics::ScriptMetrics;
use ringway::plan::{self, Action, HostHeader, OnError, PathEdit, Proxy, ScriptFile, ScriptSettings};
use ringway::script::{Chain, Engine, Hook, LogLine, ScriptFault, ScriptHost};

const REQUEST: &[u8] =
    b"GET /users/42?page=2 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5.0\r\n\
    Accept: */*\r\nX-Api-Version: 2\r\nCookie: session=0123456789abcdef\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\n";

const EMPTY: &str = "fn on_request(req) {}";
const FIVE_STATEMENTS: &str = r#"
fn on_request(req) {
    let headers = req.headers;
    headers["x-tenant"] = "acme";
    headers["x-edge"] = headers["x-api-version"] ?? "1";
    headers.remove("cookie");
}
fn on_response(req, res) {
    let headers = res.headers;
    headers["x-served-by"] = "edge";
    headers.remove("server");
}
"#;
const REGEX_MATCH: &str = r#"
fn on_request(req) {
    regex_match(req.path, "^/users/[0-9]+(/[a-z]+)?$")
}
"#;
const REGEX_REPLACE: &str = r#"
fn on_request(req) {
    regex_replace(req.path, "[0-9]+", "N")
}
"#;
const SHA256: &str = r#"
fn on_request(req) {
    sha256(req.path)
}
"#;
const HMAC_SHA256: &str = r#"
fn on_request(req) {
    hmac_sha256("0123456789abcdef0123456789abcdef", req.path)
}
"#;
const ENVELOPE: &str = r#"
fn on_response_body(req, res) {
    res.json = #{ requestId: req.id, timestamp: now_rfc3339(), data: res.json };
}
"#;

/// A host that costs nothing.
struct NoHost;

impl ScriptHost for NoHost {
    fn unix_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn cpu_time(&self) -> Duration {
        cpu_time_of_thread()
    }

    fn uuid(&self, _: &mut Vec<u8>) {}

    fn log(&self, _: &LogLine<'_>) {}

    fn add_to_counter(&self, _: &str, _: &str, _: i64) -> bool {
        true
    }

    fn counter(&self, _: &str, _: &str) -> i64 {
        0
    }

    fn metrics(&self, _: &str) -> Rc<ScriptMetrics> {
        Rc::default()
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }
}

/// A route with one script.
fn chain(text: &str) -> (Engine, Chain) {
    let scripts = ScriptSettings {
        dir: "scripts".into(),
        max_operations: 20_000,
        max_time: Duration::from_millis(50),
        max_body: 1 << 20,
        on_error: OnError::Fail,
        env: Vec::new(),
        files: vec![Arc::new(ScriptFile { name: "bench.rhai".into(), text: text.into() })],
    };
    let route = plan::RoutePlan {
        name: "bench".into(),
        action: Action::Proxy(Proxy { upstream: 0, path: PathEdit::Keep, host: HostHeader::Upstream }),
        scripts: vec!["bench.rhai".into()],
        ..plan::RoutePlan::default()
    };
    let engine = Engine::new(&scripts, Rc::new(NoHost));
    let chain = Chain::build(&engine, &scripts, &route, &["origin".into()].into()).expect("it compiles");
    (engine, chain.expect("it has a script"))
}

fn read_heads(transaction: &mut Transaction) {
    let limits = HeadLimits { bytes: RESPONSE_LIMITS.bytes, count: 96 };
    head::parse_request(REQUEST, &limits, &mut transaction.request).expect("a good head");
    head::parse_response(RESPONSE, &mut transaction.response).expect("a good head");
}

/// Both hooks of a header policy; `no script`, the parsing of the heads alone, is to be subtracted.
fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("headers");
    let mut transaction = Transaction::default();
    group.bench_function("no script", |b| b.iter(|| read_heads(black_box(&mut transaction))));
    for (name, text) in [("empty hook", EMPTY), ("five statements", FIVE_STATEMENTS)] {
        let (engine, chain) = chain(text);
        let fine = |_: &Transaction, fault: &ScriptFault| panic!("{fault}");
        group.bench_function(name, |b| {
            b.iter(|| {
                read_heads(&mut transaction);
                let request = chain.on_request(&engine, Hook::Request, &mut transaction, &fine);
                let response = chain.on_response(&engine, Hook::Response, &mut transaction, &fine);
                black_box((request.is_ok(), response.is_ok()))
            })
        });
    }
    group.finish();
}

/// One call of a native function; `path alone`, the call without the function, is to be subtracted.
fn functions(c: &mut Criterion) {
    let mut group = c.benchmark_group("functions");
    let mut transaction = Transaction::default();
    read_heads(&mut transaction);
    transaction.edits.path = Some(b"/users/42".to_vec());
    for (name, text) in [
        ("path alone", "fn on_request(req) { req.path }"),
        ("regex_match", REGEX_MATCH),
        ("regex_replace", REGEX_REPLACE),
        ("sha256", SHA256),
        ("hmac_sha256", HMAC_SHA256),
    ] {
        let (engine, chain) = chain(text);
        let fine = |_: &Transaction, fault: &ScriptFault| panic!("{fault}");
        group.bench_function(name, |b| {
            b.iter(|| chain.on_request(&engine, Hook::Request, &mut transaction, &fine).is_ok())
        });
    }
    group.finish();
}

/// A JSON body of at least that many bytes: a list of users.
fn json(bytes: usize) -> Vec<u8> {
    let user =
        r#"{"id":1234567,"name":"Ada Lovelace","email":"ada@example.com","tags":["a","b"],"active":true}"#;
    let users = vec![user; bytes.div_ceil(user.len() + 1)];
    format!("[{}]", users.join(",")).into_bytes()
}

fn envelope(c: &mut Criterion) {
    let mut group = c.benchmark_group("envelope");
    let (engine, chain) = chain(ENVELOPE);
    let fine = |_: &Transaction, fault: &ScriptFault| panic!("{fault}");
    for (name, bytes) in [("1 KiB", 1 << 10), ("64 KiB", 64 << 10)] {
        let body = json(bytes);
        group.bench_function(name, |b| {
            let prepared = || {
                let mut transaction = Transaction::default();
                read_heads(&mut transaction);
                transaction.edits.response_body = Content::buffered(body.clone());
                transaction
            };
            b.iter_batched(
                prepared,
                |mut transaction| {
                    let run = chain.on_response(&engine, Hook::ResponseBody, &mut transaction, &fine);
                    assert!(run.is_ok());
                    transaction
                },
                BatchSize::SmallInput,
            )
        });
    }
    group.finish();
}

criterion_group!(benches, headers, functions, envelope);
criterion_main!(benches);
