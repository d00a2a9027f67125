//! Tests that run scripts on transactions, with a host of their own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::auth::jwt::Claims;
use crate::base::memory::ThreadMemory;
pub(super) use crate::exchange::{Content, Transaction};
use crate::http::head::{self, HeadLimits};
use crate::http::path;
use crate::metrics::ScriptMetrics;
use crate::plan::{self, Action, HostHeader, OnError, PathEdit, Proxy, Respond, ScriptFile, ScriptSettings};

mod functions;
mod fuzz;
mod headers;
mod limits;
mod messages;
mod order;
mod problems;
mod sandbox;
mod time;

/// A host whose ids count up, and whose clock stands still or advances by a step at each reading.
struct TestHost {
    start: Instant,
    readings: Cell<u32>,
    step: Cell<Duration>,
    /// Time that has passed beside the steps.
    passed: Cell<Duration>,
    memory: ThreadMemory,
    /// The most bytes held at any reading of the clock since [`TestHost::watch`].
    max_held: Cell<i64>,
    ids: Cell<u64>,
    lines: RefCell<Vec<String>>,
    counters: RefCell<HashMap<String, i64>>,
}

impl Default for TestHost {
    fn default() -> TestHost {
        TestHost {
            start: Instant::now(),
            readings: Cell::default(),
            step: Cell::default(),
            passed: Cell::default(),
            memory: ThreadMemory::of_this_thread(),
            max_held: Cell::default(),
            ids: Cell::default(),
            lines: RefCell::default(),
            counters: RefCell::default(),
        }
    }
}

impl TestHost {
    /// Starts to measure the most memory held; returns what is held now.
    fn watch(&self) -> i64 {
        let held = self.memory.bytes();
        self.max_held.set(held);
        held
    }
}

impl ScriptHost for TestHost {
    fn unix_ms(&self) -> u64 {
        1_700_000_000_500
    }

    fn instant(&self) -> Instant {
        self.max_held.set(self.max_held.get().max(self.memory.bytes()));
        self.readings.set(self.readings.get() + 1);
        self.start + self.passed.get() + self.step.get() * self.readings.get()
    }

    fn cpu_time(&self) -> Duration {
        self.step.get() * self.readings.get()
    }

    fn uuid(&self, out: &mut Vec<u8>) {
        self.ids.set(self.ids.get() + 1);
        out.extend_from_slice(format!("00000000-0000-4000-8000-{:012}", self.ids.get()).as_bytes());
    }

    fn log(&self, line: &LogLine<'_>) {
        let id = String::from_utf8_lossy(line.request_id).into_owned();
        self.lines.borrow_mut().push(format!("{} {} {id}: {}", line.script, line.route, line.text));
    }

    fn add_to_counter(&self, route: &str, name: &str, n: i64) -> bool {
        assert!(name != "a broken one", "a native function that panics");
        assert!(matches!(route, "users" | ""), "{route}: neither the route nor a top level");
        let mut counters = self.counters.borrow_mut();
        let value = counters.entry(name.to_owned()).or_default();
        *value = value.wrapping_add(n);
        name != "one too many"
    }

    fn counter(&self, _: &str, name: &str) -> i64 {
        self.counters.borrow().get(name).copied().unwrap_or_default()
    }

    fn metrics(&self, _: &str) -> Rc<ScriptMetrics> {
        Rc::default()
    }

    fn env(&self, name: &str) -> Option<String> {
        (name == "GREETING").then(|| "hello".to_owned())
    }
}

/// A configuration's scripts, each a name and a text.
fn scripts(files: &[(&str, &str)]) -> ScriptSettings {
    let file =
        |(name, text): &(&str, &str)| Arc::new(ScriptFile { name: (*name).into(), text: (*text).into() });
    ScriptSettings {
        dir: "scripts".into(),
        max_operations: 20_000,
        max_time: Duration::from_secs(10),
        max_body: 64 * 1024,
        on_error: OnError::Fail,
        env: vec!["GREETING".into()],
        files: files.iter().map(file).collect(),
    }
}

/// A route with scripts, its engine and a transaction.
struct Fixture {
    host: Rc<TestHost>,
    engine: Engine,
    chain: Chain,
    transaction: Transaction,
    faults: RefCell<Vec<String>>,
}

impl Fixture {
    /// One script, `s.rhai`.
    fn of(text: &str) -> Fixture {
        Fixture::with(&scripts(&[("s.rhai", text)]), &["s.rhai"])
    }

    /// These of the configuration's scripts, on a request `GET /users/42?page=2` to `shop.example`.
    fn with(scripts: &ScriptSettings, names: &[&str]) -> Fixture {
        let host = Rc::new(TestHost::default());
        let engine = Engine::new(scripts, host.clone());
        let upstreams: Rc<[Arc<str>]> = ["users".into(), "canary".into()].into();
        let action = Action::Proxy(Proxy { upstream: 0, path: PathEdit::Keep, host: HostHeader::Upstream });
        let chain = Chain::build(&engine, scripts, &route(names, action), &upstreams)
            .unwrap_or_else(|f| panic!("{f}"));
        let mut transaction = Transaction::default();
        request(
            &mut transaction,
            "GET /users/42?page=2 HTTP/1.1\r\nHost: shop.example\r\nX-Tag: a\r\nx-tag: b\r\n\r\n",
        );
        Fixture {
            host,
            engine,
            chain: chain.expect("a route with scripts"),
            transaction,
            faults: RefCell::default(),
        }
    }

    fn request_hook(&mut self, hook: Hook) -> Result<HookOutcome, ScriptFault> {
        let on_fault =
            |_: &Transaction, fault: &ScriptFault| self.faults.borrow_mut().push(fault.to_string());
        self.chain.on_request(&self.engine, hook, &mut self.transaction, &on_fault)
    }

    fn response_hook(&mut self, hook: Hook) -> Result<HookOutcome, ScriptFault> {
        let on_fault =
            |_: &Transaction, fault: &ScriptFault| self.faults.borrow_mut().push(fault.to_string());
        self.chain.on_response(&self.engine, hook, &mut self.transaction, &on_fault)
    }

    /// Runs `on_request`, which must end well and without an answer.
    fn run(&mut self) {
        match self.request_hook(Hook::Request) {
            Ok(HookOutcome::Continue) => {}
            Ok(HookOutcome::Answer(_)) => panic!("an answer"),
            Err(fault) => panic!("{fault}"),
        }
    }

    /// What ends `on_request`.
    fn fault(&mut self) -> String {
        match self.request_hook(Hook::Request) {
            Ok(_) => panic!("no fault"),
            Err(fault) => fault.to_string(),
        }
    }

    /// The next request through the same engine.
    fn next(&mut self, head_text: &str) {
        self.transaction.begin();
        request(&mut self.transaction, head_text);
    }

    /// What the script has left in `req.ctx.got`, as JSON.
    fn got(&self) -> String {
        let ctx = self.transaction.edits.ctx.clone().flatten();
        let got = ctx.as_map_ref().expect("a script that uses ctx").get("got").cloned().unwrap_or_default();
        serde_json::to_string(&got).expect("plain data")
    }

    fn request_head(&self) -> String {
        written(&self.transaction.request.fields)
    }

    fn response_head(&self) -> String {
        written(&self.transaction.response.fields)
    }

    /// Makes this the response that has come.
    fn respond(&mut self, head_text: &str) {
        head::parse_response(head_text.as_bytes(), &mut self.transaction.response).expect("a good head");
    }
}

fn written(fields: &crate::http::fields::Fields) -> String {
    let mut out = Vec::new();
    fields.write_to(&mut out);
    String::from_utf8(out).expect("text")
}

/// The value of an expression in `on_request`, as JSON; or its error.
fn value_of(expression: &str) -> Result<String, String> {
    let mut fixture = Fixture::of(&format!("fn on_request(req) {{ req.ctx.got = {{ {expression} }}; }}"));
    match fixture.request_hook(Hook::Request) {
        Ok(_) => Ok(fixture.got()),
        Err(fault) => Err(fault.message),
    }
}

fn request(transaction: &mut Transaction, head_text: &str) {
    let limits = HeadLimits { bytes: 64 * 1024, count: 100 };
    head::parse_request(head_text.as_bytes(), &limits, &mut transaction.request).expect("a good head");
    transaction.id = b"id-1".to_vec();
    transaction.host = b"shop.example".to_vec();
    transaction.meta.client.ip = "192.0.2.7".parse().expect("an address");
    let normal = path::normalise(transaction.request.target(), head::Method::Get, &mut transaction.target);
    transaction.path_bytes = normal.expect("a good target").path_len;
}

fn route(names: &[&str], action: Action) -> plan::RoutePlan {
    plan::RoutePlan {
        name: "users".into(),
        action,
        scripts: names.iter().map(|name| (*name).into()).collect(),
        vars: vec![("brand".into(), "acme".into())],
        ..plan::RoutePlan::default()
    }
}

/// A route that answers by itself.
fn answering(names: &[&str]) -> plan::RoutePlan {
    route(names, Action::Respond(Respond { status: 200, body: [].into(), content_type: None }))
}
