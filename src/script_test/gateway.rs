//! The gateway without a socket: a configuration's routes and their scripts, through which tests send requests.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::case::TestCase;
use super::host::{TestScriptHost, TestState};
use super::outcome::TestOutcome;
use super::run::Run;
use crate::base::suggest::closest;
use crate::exchange::Transaction;
use crate::pipeline::identity;
use crate::pipeline::limits::ConsumerRates;
use crate::pipeline::script::{NoticeKind, RouteScripts, ScriptNotice};
use crate::pipeline::steps::RouteContext;
use crate::plan::{Plan, RoutePlan};
use crate::script::{Chain, Engine, ScriptFault};

/// A configuration's routes and their scripts.
pub struct Gateway {
    plan: Plan,
    engine: Engine,
    owned_names: Vec<Arc<str>>,
    upstreams: Rc<[Arc<str>]>,
    pub state: Rc<TestState>,
}

impl Gateway {
    /// # Errors
    /// A script that does not compile.
    pub fn new(plan: Plan, world: Rc<TestScriptHost>) -> Result<Gateway, ScriptFault> {
        let state = world.state.clone();
        let engine = Engine::new(&plan.scripts, world);
        for name in plan.routes.iter().flat_map(|route| &route.scripts) {
            engine.program(name)?;
        }
        let upstreams = plan.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
        let owned_names = identity::owned_names(plan.jwts.iter().map(|jwt| &**jwt));
        Ok(Gateway { plan, engine, owned_names, upstreams, state })
    }

    /// Sends a request through a route.
    ///
    /// # Errors
    /// A request that the test's author did not mean: one that is malformed or goes to another route.
    pub fn send(&self, route: &str, test_case: &TestCase) -> Result<TestOutcome, String> {
        let route = self.route(route, test_case)?;
        let chain = Chain::build(&self.engine, &self.plan.scripts, &route, &self.upstreams);
        let chain = chain.map_err(|fault| fault.to_string())?;
        let (first_line, faults) = (self.state.lines(), RefCell::new(Vec::new()));
        let notify = |notice: &ScriptNotice<'_>| {
            if let NoticeKind::Failed(fault) = notice.kind {
                faults.borrow_mut().push(fault.to_string());
            }
            self.state.log_notice(notice);
        };
        let scripts = chain.as_ref().map(|chain| RouteScripts {
            engine: &self.engine,
            chain,
            plan: &self.plan.scripts,
            route: &route.name,
            notify: &notify,
        });
        let rates = ConsumerRates::of(&self.plan.consumers);
        let context =
            RouteContext { plan: &route, scripts, jwts: &self.plan.jwts, owned_names: &self.owned_names };
        let mut run = Run::begin(&self.plan, context, &rates, test_case, &self.state)?;
        let (body, reason) = run.complete(self.state.unix_s());
        let log = self.state.lines_from(first_line);
        let Transaction { response, .. } = run.transaction;
        let error = Some(faults.borrow().join("\n")).filter(|text| !text.is_empty());
        Ok(TestOutcome { response, body, sent: run.sent, reason, error, log })
    }

    /// The route of this name, with the test's `vars`.
    fn route(&self, name: &str, test_case: &TestCase) -> Result<RoutePlan, String> {
        let names = || self.plan.routes.iter().map(|route| &*route.name);
        let Some(route) = self.plan.routes.iter().find(|route| *route.name == *name) else {
            let hint = closest(name, names()).map(|near| format!(": did you mean {near:?}?"));
            return Err(format!("there is no route {name:?}{}", hint.unwrap_or_default()));
        };
        let mut route = RoutePlan::clone(route);
        for (name, value) in &test_case.vars {
            route.vars.retain(|(known, _)| **known != **name);
            route.vars.push((name.as_str().into(), value.as_str().into()));
        }
        Ok(route)
    }
}
