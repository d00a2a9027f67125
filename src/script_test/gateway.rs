//! The gateway without a socket: a request goes the way that it goes on a shard, past the same policies and in the
//! same order, and meets the answer that the test has for it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::build;
use super::case::{Answer, TestCase};
use super::outcome::{SentRequest, TestOutcome};
use super::world::{State, World};
use crate::auth::jwt::Claims;
use crate::base::error::{Error, Reason, Retry};
use crate::base::time::imf_fixdate;
use crate::config::closest;
use crate::exchange::Transaction;
use crate::http::fields::FieldName;
use crate::http::framing::{self, Body};
use crate::http::head::{self, HeadLimits, Method};
use crate::http::{host, path};
use crate::pipeline::client::Client;
use crate::pipeline::forward::{self, Forward};
use crate::pipeline::script::{self, AfterHead, NoticeKind, RouteScripts, ScriptNotice};
use crate::pipeline::{answer, cors, identity, request_head, response_head, scripted};
use crate::plan::{Action, Plan, Proxy, RoutePlan};
use crate::route::{self, Found, RouteTable};
use crate::script::{Chain, Engine, Hook, ScriptFault};

/// A configuration's routes and their scripts.
pub struct Gateway {
    plan: Plan,
    engine: Engine,
    upstreams: Rc<[Arc<str>]>,
    pub state: Rc<State>,
}

/// One request on its way.
struct Exchange<'a> {
    plan: &'a Plan,
    route: &'a RoutePlan,
    scripts: Option<RouteScripts<'a>>,
    asked: &'a TestCase,
    client: Client,
    client_host: Vec<u8>,
    transaction: Transaction,
    sent: Option<SentRequest>,
}

impl Gateway {
    /// # Errors
    /// A script that does not compile.
    pub fn new(plan: Plan, world: Rc<World>) -> Result<Gateway, ScriptFault> {
        let state = world.state.clone();
        let engine = Engine::new(&plan.scripts, world);
        for name in plan.routes.iter().flat_map(|route| &route.scripts) {
            engine.program(name)?;
        }
        let upstreams = plan.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
        Ok(Gateway { plan, engine, upstreams, state })
    }

    /// Sends a request through a route.
    ///
    /// # Errors
    /// A request that the test's author did not mean: one that is malformed or goes to another route.
    pub fn send(&self, route: &str, asked: &TestCase) -> Result<TestOutcome, String> {
        let route = self.route(route, asked)?;
        let chain = Chain::build(&self.engine, &self.plan.scripts, &route, &self.upstreams);
        let chain = chain.map_err(|fault| fault.to_string())?;
        let (first_line, faults) = (self.state.lines(), RefCell::new(Vec::new()));
        let tell = |told: &ScriptNotice<'_>| {
            if let NoticeKind::Failed(fault) = told.what {
                faults.borrow_mut().push(fault.to_string());
            }
            self.state.tell(told);
        };
        let scripts = chain.as_ref().map(|chain| RouteScripts {
            engine: &self.engine,
            chain,
            plan: &self.plan.scripts,
            route: &route.name,
            tell: &tell,
        });
        let mut exchange = Exchange::begin(&self.plan, &route, scripts, asked)?;
        exchange.transaction.id = self.state.request_id(&exchange.transaction.id);
        let (body, reason) = exchange.run(self.state.unix_s());
        let log = self.state.lines_from(first_line);
        let Transaction { response, .. } = exchange.transaction;
        let error = Some(faults.borrow().join("\n")).filter(|text| !text.is_empty());
        Ok(TestOutcome { response, body, sent: exchange.sent, reason, error, log })
    }

    /// The route of this name, with the test's `vars`.
    fn route(&self, name: &str, asked: &TestCase) -> Result<RoutePlan, String> {
        let names = || self.plan.routes.iter().map(|route| &*route.name);
        let Some(route) = self.plan.routes.iter().find(|route| *route.name == *name) else {
            let hint = closest(name, names()).map(|near| format!(": did you mean {near:?}?"));
            return Err(format!("there is no route {name:?}{}", hint.unwrap_or_default()));
        };
        let mut route = RoutePlan::clone(route);
        for (name, value) in &asked.vars {
            route.vars.retain(|(known, _)| **known != **name);
            route.vars.push((name.as_str().into(), value.as_str().into()));
        }
        Ok(route)
    }
}

impl<'a> Exchange<'a> {
    /// Framing, host, path, captures: all that is known before any script runs.
    fn begin(
        plan: &'a Plan,
        route: &'a RoutePlan,
        scripts: Option<RouteScripts<'a>>,
        asked: &'a TestCase,
    ) -> Result<Exchange<'a>, String> {
        let mut transaction = Transaction::default();
        let limits = &plan.server.limits;
        let limits = HeadLimits { bytes: limits.header_bytes, count: limits.header_count };
        let wrong = |error: head::HeadError| format!("the gateway would refuse this request: {error}");
        let head_text = build::of_request(asked, route)?;
        head::parse_request(&head_text, &limits, &mut transaction.request).map_err(wrong)?;
        let fields = &transaction.request.fields;
        let client = Client::of(asked.client_ip, fields, &plan.server.trusted_proxies);
        transaction.id.extend_from_slice(client.request_id(fields).unwrap_or_default());
        let client_host = fields.get(FieldName::Host).unwrap_or_default().to_vec();
        host::request_host(&transaction.request, &mut transaction.host).map_err(wrong)?;
        let method = transaction.request.method();
        let target = asked.target.as_bytes();
        let normal = path::normalise(target, method, &mut transaction.target).map_err(wrong)?;
        transaction.path_bytes = normal.path_len;
        capture(route, &mut transaction)?;
        transaction.client_ip = client.ip;
        cors::note_origin(route, &mut transaction);
        transaction.consumer = asked.consumer.clone().map(Arc::new);
        transaction.claims = asked.claims.clone().map(|map| Rc::new(Claims { map, exp_s: 0, bytes: 0 }));
        Ok(Exchange { plan, route, scripts, asked, client, client_host, transaction, sent: None })
    }

    /// Goes the whole way; the answer's head then stands in the transaction.
    fn run(&mut self, unix_s: u64) -> (Vec<u8>, Option<Reason>) {
        let (body, reason) = match self.way(unix_s) {
            Ok(body) => (body, None),
            Err(error) => {
                let body = answer::problem(&mut self.transaction, &error, b"");
                (self.finish(body, unix_s), Some(error.reason))
            }
        };
        if let Some(scripts) = self.scripts
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

    fn way(&mut self, unix_s: u64) -> Result<Vec<u8>, Error> {
        let request = &self.transaction.request;
        let mut framing = framing::request_body(request)
            .map_err(|error| Error::client(Reason::BadRequest, error.to_string()))?;
        let upgrade = framing::upgrade(request).map(<[u8]>::to_vec);
        let mut body = self.asked.body.clone();
        let owned = identity::owned_names(self.plan.jwts.iter().map(|jwt| &**jwt));
        request_head::clean(&mut self.transaction.request.fields, self.client, &owned);
        if let Some(scripts) = self.scripts {
            let Some(goes_on) = request_hooks(scripts, &mut self.transaction, &mut framing, body)? else {
                let body = self.transaction.edits.response_body.take_changed().unwrap_or_default();
                response_head::prepare(&mut self.transaction, self.route);
                return Ok(self.finish(body, unix_s));
            };
            body = goes_on;
        }
        match &self.route.action {
            Action::Respond(respond) => {
                answer::respond(&mut self.transaction, respond);
                self.own(&respond.body, unix_s)
            }
            Action::Redirect(redirect) => {
                answer::redirect(&mut self.transaction, redirect, &mut Vec::new());
                self.own(b"", unix_s)
            }
            Action::Proxy(proxy) => self.proxy(proxy, framing, body, upgrade.as_deref()),
        }
    }

    /// A response of the route's own, which its scripts may change.
    fn own(&mut self, body: &[u8], unix_s: u64) -> Result<Vec<u8>, Error> {
        let changed = match self.scripts {
            Some(scripts) => scripts.on_own(&mut self.transaction, body)?,
            None => None,
        };
        response_head::prepare(&mut self.transaction, self.route);
        Ok(self.finish(changed.unwrap_or_else(|| body.to_vec()), unix_s))
    }

    /// What every answer of the gateway's own has.
    fn finish(&mut self, body: Vec<u8>, unix_s: u64) -> Vec<u8> {
        let response = &mut self.transaction.response;
        response.fields.add(b"Date", &imf_fixdate(unix_s));
        if scripted::is_bodiless(response.status()) {
            return Vec::new();
        }
        scripted::frame(&mut response.fields, body.len());
        body
    }

    fn proxy(
        &mut self,
        proxy: &Proxy,
        framing: Body,
        body: Vec<u8>,
        upgrade: Option<&[u8]>,
    ) -> Result<Vec<u8>, Error> {
        let upstream = self.transaction.edits.upstream.unwrap_or(proxy.upstream);
        let upstream = &self.plan.upstreams[upstream];
        let forward = Forward {
            client: self.client,
            peer: &self.asked.client_ip.to_canonical().to_string(),
            client_host: &self.client_host,
            body: framing,
            upgrade,
            authority: upstream.targets.first().map_or("", |target| &*target.authority),
        };
        let mut target = Vec::new();
        forward::prepare(&mut self.transaction, self.route, proxy, &forward, &mut target);
        let request = &self.transaction.request;
        self.sent = Some(SentRequest {
            method: request.method_bytes().to_vec(),
            target,
            fields: request.fields.clone(),
            body,
            upstream: upstream.name.clone(),
        });
        self.response(&self.asked.upstream)
    }

    /// Takes the upstream's answer on its way back.
    fn response(&mut self, came: &Answer) -> Result<Vec<u8>, Error> {
        let refusal = |error: head::HeadError| {
            Error::upstream(Reason::UpstreamProtocol, Retry::Never, error.to_string())
        };
        let method = self.transaction.request.method();
        let response = &mut self.transaction.response;
        head::parse_response(&build::of_response(came)?, response).map_err(refusal)?;
        let framing = framing::response_body(response, method).map_err(refusal)?;
        response_head::clean(&mut response.fields);
        let wire = if framing == Body::None { Vec::new() } else { came.body.clone() };
        let body = match self.scripts {
            Some(scripts) if scripts.on_response_head(&mut self.transaction, method, framing)? => {
                if !self.transaction.edits.response_body.changed && wire.len() > scripts.plan.max_body {
                    return Err(script::response_too_large());
                }
                scripts.on_response_body(&mut self.transaction, wire)?
            }
            _ => wire,
        };
        response_head::prepare(&mut self.transaction, self.route);
        let response = &mut self.transaction.response;
        if response.status() == 204 {
            response.fields.remove_id(FieldName::ContentLength);
        }
        Ok(body)
    }
}

/// Runs `on_request` and `on_request_body`. Returns the body as it goes on; `None`: a script has answered.
fn request_hooks(
    scripts: RouteScripts<'_>,
    transaction: &mut Transaction,
    framing: &mut Body,
    body: Vec<u8>,
) -> Result<Option<Vec<u8>>, Error> {
    match scripts.on_head(transaction)? {
        AfterHead::Answered => Ok(None),
        AfterHead::Continue => Ok(Some(body)),
        AfterHead::WantsBody if scripts.has(Hook::RequestBody) && body.len() > scripts.plan.max_body => {
            Err(script::too_large())
        }
        AfterHead::WantsBody => scripts.on_body(transaction, framing, body),
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
    let asked = route::MatchInput { host: b"", path, query: b"", method: b"", header: &no_field };
    match table.find(&asked, captures) {
        Found::Route(_) => Ok(()),
        Found::None | Found::MethodNotAllowed => {
            let paths: Vec<&str> = route.paths.iter().map(|path| &*path.text).collect();
            let path = String::from_utf8_lossy(path);
            Err(format!("{path:?} is no path of route {:?}: it has {}", route.name, paths.join(", ")))
        }
    }
}
