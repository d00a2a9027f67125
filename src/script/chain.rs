//! A route's scripts: request hooks in their order, response and log hooks in reverse.
//!
//! Like layers around the upstream: the script that sees a request first sees its response last.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::call_stage::{Hook, RouteView};
use super::engine::{Engine, vars_map};
use super::fault::ScriptFault;
use super::objects::{ScriptReply, ScriptReplyBody};
use super::pause::{OverrunPause, SlowPause};
use super::program::Program;
use crate::exchange::{Content, Transaction};
use crate::http::head::ResponseHead;
use crate::plan::{self, Action, OnError};

/// A route's scripts, ready to run.
pub struct Chain {
    route: Rc<RouteView>,
    links: Vec<ChainLink>,
    slow: Cell<SlowPause>,
    /// By hook, so that a request asks once whether there is anything to run or to buffer.
    has: [bool; Hook::ALL.len()],
    on_error: OnError,
}

/// One script of the route.
struct ChainLink {
    program: Rc<Program>,
    /// By hook.
    overruns: [Cell<OverrunPause>; Hook::ALL.len()],
    /// Whether the last call was refused because of a pause, by hook.
    is_paused: [Cell<bool>; Hook::ALL.len()],
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
        let link = |name| {
            let program = engine.program(name)?;
            Ok(ChainLink { program, overruns: Default::default(), is_paused: Default::default() })
        };
        let links: Vec<_> = route.scripts.iter().map(link).collect::<Result<_, ScriptFault>>()?;
        let has = Hook::ALL.map(|hook| links.iter().any(|link| link.program.has(hook)));
        let view = RouteView {
            name: (&*route.name).into(),
            vars: vars_map(route.vars.iter().map(|(name, value)| (&**name, &**value))),
            upstream: match &route.action {
                Action::Proxy(proxy) => Some(proxy.upstream),
                Action::Respond(_) | Action::Redirect(_) => None,
            },
            upstreams: upstreams.clone(),
        };
        Ok(Some(Chain {
            route: Rc::new(view),
            links,
            slow: Cell::default(),
            has,
            on_error: scripts.on_error,
        }))
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
        for link in self.with(hook) {
            if let Some(reply) = self.run(engine, link, hook, transaction, on_fault)? {
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
        for link in self.with(hook).rev() {
            if let Some(reply) = self.run(engine, link, hook, transaction, on_fault)?
                && let denied @ ScriptAnswer::Denied(_) = apply(reply, transaction)
            {
                return Ok(HookOutcome::Answer(denied));
            }
        }
        Ok(HookOutcome::Continue)
    }

    /// Runs every `on_log`. Errors are reported and change nothing.
    pub fn on_log(&self, engine: &Engine, transaction: &mut Transaction, on_fault: OnFault<'_>) {
        for link in self.with(Hook::Log).rev() {
            if self.refusal(engine, link, Hook::Log, transaction, on_fault).is_some() {
                continue;
            }
            if let Err(fault) = self.call(engine, link, Hook::Log, transaction) {
                on_fault(transaction, &fault);
            }
        }
    }

    fn with(&self, hook: Hook) -> impl DoubleEndedIterator<Item = &ChainLink> {
        self.links.iter().filter(move |link| link.program.has(hook))
    }

    fn run(
        &self,
        engine: &Engine,
        link: &ChainLink,
        hook: Hook,
        transaction: &mut Transaction,
        on_fault: OnFault<'_>,
    ) -> Result<Option<ScriptReply>, ScriptFault> {
        if let Some(refusal) = self.refusal(engine, link, hook, transaction, on_fault) {
            return if self.on_error == OnError::Ignore { Ok(None) } else { Err(refusal) };
        }
        let before = (self.on_error == OnError::Ignore).then(|| TransactionSnapshot::of(transaction));
        let result = self.call(engine, link, hook, transaction);
        if let Err(fault) = &result {
            on_fault(transaction, fault);
            if let Some(before) = before {
                before.restore(transaction);
                return Ok(None);
            }
        }
        result
    }

    /// Runs a hook and notes the time it took.
    fn call(
        &self,
        engine: &Engine,
        link: &ChainLink,
        hook: Hook,
        transaction: &mut Transaction,
    ) -> Result<Option<ScriptReply>, ScriptFault> {
        let (result, time) = engine.run(&link.program, hook, &self.route, transaction);
        let overruns = &link.overruns[hook as usize];
        let (mut overrun, mut slow) = (overruns.get(), self.slow.get());
        overrun.note(time);
        slow.note(time, engine.max_time());
        overruns.set(overrun);
        self.slow.set(slow);
        result
    }

    /// Why a hook is not run, if it is paused. Reported only when the pause begins.
    fn refusal(
        &self,
        engine: &Engine,
        link: &ChainLink,
        hook: Hook,
        transaction: &Transaction,
        on_fault: OnFault<'_>,
    ) -> Option<ScriptFault> {
        let (overrun, slow) = (link.overruns[hook as usize].get(), self.slow.get());
        if !overrun.is_possible() && !slow.is_possible() {
            link.is_paused[hook as usize].set(false);
            return None;
        }
        let now = engine.now();
        let why = if overrun.is_paused(now) {
            "the hook is paused for a second: it used up its time (max_time) again and again"
        } else if slow.is_paused(now) {
            "the route's hooks are paused: those that take long (a quarter of max_time) took more than a quarter of the \
             shard's time"
        } else {
            link.is_paused[hook as usize].set(false);
            return None;
        };
        let program = &link.program;
        program.metrics.paused(&self.route.name);
        let refusal = ScriptFault::at(&program.name, program.place(hook), why);
        if !link.is_paused[hook as usize].replace(true) {
            on_fault(transaction, &refusal);
        }
        Some(refusal)
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
