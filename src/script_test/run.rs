//! One request of a test, on the way that it goes on a shard too: the same steps, with the answer that the test has for
//! it in place of an upstream.

use std::fmt::Display;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::build;
use super::case::TestCase;
use super::host::TestState;
use super::outcome::SentRequest;
use super::step_host::TestStepHost;
use crate::auth::jwt::Claims;
use crate::base::error::{Error, Reason, Retry};
use crate::exchange::{Peer, Transaction};
use crate::http::framing::{self, Body};
use crate::http::head::{self, HeadLimits, Method};
use crate::limit::LimitReport;
use crate::pipeline::answer;
use crate::pipeline::limits::ConsumerRates;
use crate::pipeline::receive::receive;
use crate::pipeline::request_head::UpstreamRequestHead;
use crate::pipeline::script::{self, BodyHandling};
use crate::pipeline::steps::{self, Decision, RouteContext};
use crate::plan::{Plan, Proxy, RoutePlan};
use crate::route::{self, Found, RouteTable};
use crate::script::Hook;

/// One request on its way.
pub struct Run<'a> {
    plan: &'a Plan,
    route: RouteContext<'a>,
    test_case: &'a TestCase,
    pub transaction: Transaction,
    limit_report: LimitReport,
    host: TestStepHost<'a>,
    pub sent: Option<SentRequest>,
}

impl<'a> Run<'a> {
    /// All that is known before the route's steps run.
    pub fn begin(
        plan: &'a Plan,
        route: RouteContext<'a>,
        rates: &'a ConsumerRates,
        test_case: &'a TestCase,
        state: &'a TestState,
    ) -> Result<Run<'a>, String> {
        let mut transaction = Transaction::default();
        let limits = &plan.server.limits;
        let limits = HeadLimits { bytes: limits.header_bytes, count: limits.header_count };
        let wrong = |error: &dyn Display| format!("the gateway would refuse this request: {error}");
        let head_text = build::of_request(test_case, route.plan)?;
        head::parse_request(&head_text, &limits, &mut transaction.request).map_err(|error| wrong(&error))?;
        let Transaction { request, meta, .. } = &mut transaction;
        meta.body = framing::request_body(request).map_err(|error| wrong(&error))?;
        meta.upgrade.extend_from_slice(framing::upgrade(request).unwrap_or_default());
        let new_id = |out: &mut Vec<u8>| out.extend_from_slice(&state.request_id());
        receive(&mut transaction, &Peer::new(test_case.client_ip), &plan.server, new_id)
            .map_err(|error| wrong(&error.detail))?;
        capture(route.plan, &mut transaction)?;
        // Scripts of routes without `auth` see what the test gives, too.
        transaction.consumer = test_case.consumer.clone().map(Arc::new);
        transaction.claims = test_case.claims.clone().map(|map| Rc::new(Claims { map, exp_s: 0, bytes: 0 }));
        let host = TestStepHost { state, route: route.plan, rates, test_case, body: test_case.body.clone() };
        let limit_report = LimitReport::default();
        Ok(Run { plan, route, test_case, transaction, limit_report, host, sent: None })
    }

    /// Goes the whole way; the answer's head then stands in the transaction.
    pub fn complete(&mut self, unix_s: u64) -> (Vec<u8>, Option<Reason>) {
        let (body, reason) = match self.respond() {
            Ok((body, is_own)) => (self.finish(body, is_own, unix_s), None),
            Err(error) => {
                let body = answer::problem(&mut self.transaction, &error);
                (self.finish(body, true, unix_s), Some(error.reason))
            }
        };
        if let Some(scripts) = self.route.scripts
            && scripts.has(Hook::Log)
        {
            // The response of the test is what was sent, whatever `on_log` does.
            let response = self.transaction.response.clone();
            scripts.on_log(&mut self.transaction);
            self.transaction.response = response;
        }
        let is_head = self.transaction.request.method() == Method::Head;
        (if is_head { Vec::new() } else { body }, reason)
    }

    /// The response's body, and whether the gateway has made the response or has it as a whole.
    fn respond(&mut self) -> Result<(Vec<u8>, bool), Error> {
        let (route, transaction) = (&self.route, &mut self.transaction);
        let steps = steps::request(route, transaction, &mut self.limit_report, &mut self.host);
        match ready(steps)? {
            Decision::Answer(body) => Ok((body.into_owned(), true)),
            Decision::Forward(proxy) => {
                self.forward(proxy);
                self.upstream_response()
            }
        }
    }

    /// The way out of a response. Only one that is here as a whole is framed and dated by the gateway.
    fn finish(&mut self, body: Vec<u8>, is_whole: bool, unix_s: u64) -> Vec<u8> {
        let (route, transaction) = (Some(self.route.plan), &mut self.transaction);
        if !is_whole {
            steps::finish_response(route, transaction, &self.limit_report);
            return body;
        }
        steps::finish_whole(route, transaction, &self.limit_report, body.len(), unix_s);
        if script::is_bodiless(transaction.response.status()) { Vec::new() } else { body }
    }

    /// Notes what the upstream gets.
    fn forward(&mut self, proxy: &Proxy) {
        let Run { transaction, plan, route, .. } = self;
        let upstream = &plan.upstreams[transaction.edits.upstream.unwrap_or(proxy.upstream)];
        let mut head = UpstreamRequestHead::default();
        head.prepare(transaction, route.plan, proxy);
        let authority = upstream.targets.first().map_or("", |target| &*target.authority);
        head.set_host(proxy, &transaction.meta.host, authority);
        self.sent = Some(SentRequest {
            method: transaction.request.method_bytes().to_vec(),
            target: head.target,
            fields: head.fields,
            body: std::mem::take(&mut self.host.body),
            upstream: upstream.name.clone(),
        });
    }

    /// Takes the upstream's answer on its way back. Returns its body, and whether it goes on as a whole.
    fn upstream_response(&mut self) -> Result<(Vec<u8>, bool), Error> {
        let refused = |error: head::HeadError| {
            Error::upstream(Reason::UpstreamProtocol, Retry::Never, error.to_string())
        };
        let answer = &self.test_case.upstream;
        let method = self.transaction.request.method();
        let response = &mut self.transaction.response;
        head::parse_response(&build::of_response(answer)?, response).map_err(refused)?;
        let framing = framing::response_body(response, method).map_err(refused)?;
        let body = if framing == Body::None { Vec::new() } else { answer.body.clone() };
        let transaction = &mut self.transaction;
        match steps::response_arrived(&self.route, transaction, framing)? {
            BodyHandling::Stream => Ok((body, false)),
            BodyHandling::Whole => {
                if !transaction.edits.response_body.changed && body.len() > self.plan.scripts.max_body {
                    return Err(script::response_too_large());
                }
                steps::response_body(&self.route, transaction, body).map(|body| (body, true))
            }
        }
    }
}

/// The output of a future that never waits: nothing here does.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("a test has all that its steps ask for"),
    }
}

/// Has the route's own paths capture what they do of the request's. The test names the route, so that its other
/// conditions are taken to hold.
fn capture(route: &RoutePlan, transaction: &mut Transaction) -> Result<(), String> {
    let by_path_alone =
        RoutePlan { hosts: vec![], methods: vec![], headers: vec![], query: vec![], ..route.clone() };
    let table = RouteTable::build(&[Arc::new(by_path_alone)]);
    let Transaction { target, path_bytes, captures, .. } = transaction;
    let path = &target[..*path_bytes];
    let no_field = |_: &[u8], _: &mut dyn FnMut(&[u8]) -> bool| false;
    let input = route::MatchInput { host: b"", path, query: b"", method: b"", header: &no_field };
    match table.find(&input, captures) {
        Found::Route(_) => Ok(()),
        Found::None | Found::MethodNotAllowed => {
            let paths: Vec<&str> = route.paths.iter().map(|path| &*path.text).collect();
            let path = String::from_utf8_lossy(path);
            Err(format!("{path:?} is no path of route {:?}: it has {}", route.name, paths.join(", ")))
        }
    }
}
