//! A route's scripts: request hooks in their order, response and log hooks in reverse.
//!
//! Like layers around the upstream: the script that sees a request first sees its response last.

use std::rc::Rc;
use std::sync::Arc;

use super::call_stage::{Hook, RouteView};
use super::engine::{Engine, vars_map};
use super::fault::ScriptFault;
use super::objects::{ScriptReply, ScriptReplyBody};
use super::program::Program;
use crate::exchange::{Content, Transaction};
use crate::http::head::ResponseHead;
use crate::plan::{self, Action, OnError};

/// A route's scripts, ready to run.
pub struct Chain {
    route: Rc<RouteView>,
    programs: Vec<Rc<Program>>,
    /// By hook, so that a request asks once whether there is anything to run or to buffer.
    has: [bool; Hook::ALL.len()],
    on_error: OnError,
}

/// The outcome of a chain of hooks.
pub enum HookOutcome {
    /// The exchange continues.
    Continue,
    /// A script has answered the request.
    Answer(ScriptAnswer),
}

/// A script's answer: its own response, or a denial that the gateway renders.
pub enum ScriptAnswer {
    /// The response is in the transaction, its body in `edits.response_body`.
    Own,
    /// 403 `script_denied`, with this detail for the client unless empty.
    Denied(String),
}

/// Called with each error as it happens.
pub type OnFault<'a> = &'a dyn Fn(&Transaction, &ScriptFault);

impl Chain {
    /// Compiles the route's scripts; `None`: it has none.
    ///
    /// # Errors
    /// The first script that does not compile. A configuration that passed [`check`](super::check()) has none.
    pub fn build(
        engine: &Engine,
        scripts: &plan::ScriptSettings,
        route: &plan::RoutePlan,
        upstreams: &Rc<[Arc<str>]>,
    ) -> Result<Option<Chain>, ScriptFault> {
        if route.scripts.is_empty() {
            return Ok(None);
        }
        let programs: Vec<_> =
            route.scripts.iter().map(|name| engine.program(name)).collect::<Result<_, _>>()?;
        let has = Hook::ALL.map(|hook| programs.iter().any(|program| program.has(hook)));
        let view = RouteView {
            name: (&*route.name).into(),
            vars: vars_map(route.vars.iter().map(|(name, value)| (&**name, &**value))),
            upstream: match &route.action {
                Action::Proxy(proxy) => Some(proxy.upstream),
                Action::Respond(_) | Action::Redirect(_) => None,
            },
            upstreams: upstreams.clone(),
        };
        Ok(Some(Chain { route: Rc::new(view), programs, has, on_error: scripts.on_error }))
    }

    /// Whether any of the scripts defines the hook.
    pub fn has(&self, hook: Hook) -> bool {
        self.has[hook as usize]
    }

    /// Runs `on_request` or `on_request_body` until one answers.
    ///
    /// # Errors
    /// A script's error, unless errors are ignored.
    pub fn on_request(
        &self,
        engine: &Engine,
        hook: Hook,
        transaction: &mut Transaction,
        on_fault: OnFault<'_>,
    ) -> Result<HookOutcome, ScriptFault> {
        for program in self.with(hook) {
            if let Some(reply) = self.run(engine, program, hook, transaction, on_fault)? {
                return Ok(HookOutcome::Answer(apply(reply, transaction)));
            }
        }
        Ok(HookOutcome::Continue)
    }

    /// Runs `on_response` or `on_response_body`, the last script's first. An answer replaces the response for the scripts
    /// before it; only a denial ends the chain.
    ///
    /// # Errors
    /// As [`Chain::on_request`].
    pub fn on_response(
        &self,
        engine: &Engine,
        hook: Hook,
        transaction: &mut Transaction,
        on_fault: OnFault<'_>,
    ) -> Result<HookOutcome, ScriptFault> {
        for program in self.with(hook).rev() {
            if let Some(reply) = self.run(engine, program, hook, transaction, on_fault)?
                && let denied @ ScriptAnswer::Denied(_) = apply(reply, transaction)
            {
                return Ok(HookOutcome::Answer(denied));
            }
        }
        Ok(HookOutcome::Continue)
    }

    /// Runs every `on_log`. Errors are reported and change nothing.
    pub fn on_log(&self, engine: &Engine, transaction: &mut Transaction, on_fault: OnFault<'_>) {
        for program in self.with(Hook::Log).rev() {
            if let Err(fault) = engine.run(program, Hook::Log, &self.route, transaction) {
                on_fault(transaction, &fault);
            }
        }
    }

    fn with(&self, hook: Hook) -> impl DoubleEndedIterator<Item = &Program> {
        self.programs.iter().map(|program| &**program).filter(move |program| program.has(hook))
    }

    fn run(
        &self,
        engine: &Engine,
        program: &Program,
        hook: Hook,
        transaction: &mut Transaction,
        on_fault: OnFault<'_>,
    ) -> Result<Option<ScriptReply>, ScriptFault> {
        let before = (self.on_error == OnError::Ignore).then(|| TransactionSnapshot::of(transaction));
        let result = engine.run(program, hook, &self.route, transaction);
        if let Err(fault) = &result {
            on_fault(transaction, fault);
            if let Some(before) = before {
                before.restore(transaction);
                return Ok(None);
            }
        }
        result
    }
}

/// Writes a reply into the transaction.
fn apply(reply: ScriptReply, transaction: &mut Transaction) -> ScriptAnswer {
    match Rc::unwrap_or_clone(reply.0) {
        ScriptReplyBody::Denied { detail } => ScriptAnswer::Denied(detail),
        ScriptReplyBody::Own { status, fields, body } => {
            transaction.response.clear();
            transaction.response.set_status(status);
            transaction.response.fields = fields;
            transaction.edits.response_body = Content { bytes: Some(body), changed: true };
            ScriptAnswer::Own
        }
    }
}

/// Everything that a hook can change, as it was before the hook.
/// Taken only where errors are ignored: a failed hook must then leave no half of its changes behind.
struct TransactionSnapshot {
    request: crate::http::fields::Fields,
    response: ResponseHead,
    edits: crate::exchange::Edits,
}

impl TransactionSnapshot {
    fn of(transaction: &Transaction) -> TransactionSnapshot {
        let mut edits = transaction.edits.clone();
        // A clone would share the map with the transaction and change with it.
        edits.ctx = edits.ctx.flatten_clone();
        TransactionSnapshot {
            request: transaction.request.fields.clone(),
            response: transaction.response.clone(),
            edits,
        }
    }

    fn restore(self, transaction: &mut Transaction) {
        transaction.request.fields = self.request;
        transaction.response = self.response;
        transaction.edits = self.edits;
        if !transaction.edits.ctx.is_unit() {
            transaction.edits.ctx = std::mem::take(&mut transaction.edits.ctx).into_shared();
        }
    }
}
