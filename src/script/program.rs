//! One script, compiled and ready to be called.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use rhai::{AST, Caches, Dynamic, EvalContext, GlobalRuntimeState, Module, Position, Scope, Shared};

use super::call_stage::{Hook, ScriptResult};
use super::library::place_of;
use super::objects::{RequestObject, ResponseObject};
use crate::metrics::ScriptMetrics;
use crate::plan::ScriptFile;

/// A script of a route.
pub struct Program {
    pub name: Arc<str>,
    pub metrics: Rc<ScriptMetrics>,
    /// Its functions, with all that its top level has defined.
    module: Shared<Module>,
    /// Where each hook is defined that it has.
    hooks: [Option<Position>; Hook::ALL.len()],
    /// What the language keeps from call to call: found functions, above all. Taken out for a call and put back
    /// when it ended well, so that a call that failed leaves nothing behind.
    state: Cell<Option<Box<CallState>>>,
}

struct CallState {
    global: GlobalRuntimeState,
    caches: Caches,
    scope: Scope<'static>,
}

/// Functions found and kept; a script that calls functions by names it makes up could find ever more.
const MAX_FOUND: usize = 4096;

impl Program {
    pub(super) fn new(
        file: &ScriptFile,
        ast: &AST,
        module: Shared<Module>,
        metrics: Rc<ScriptMetrics>,
    ) -> Program {
        let defines = |hook: Hook| {
            let is_it = |name: &str, params: usize| name == hook.name() && params == hook.parameters().len();
            let found = ast.iter_functions().any(|f| is_it(f.name, f.params.len()));
            found.then(|| place_of(&file.text, hook.name()))
        };
        let hooks = Hook::ALL.map(defines);
        Program { name: file.name.clone(), metrics, module, hooks, state: Cell::new(None) }
    }

    pub fn has(&self, hook: Hook) -> bool {
        self.hooks[hook as usize].is_some()
    }

    /// Where a hook is defined, as far as it is known.
    pub(super) fn place(&self, hook: Hook) -> Position {
        self.hooks[hook as usize].unwrap_or(Position::NONE)
    }

    /// Calls a hook that it has.
    pub(super) fn call(&self, engine: &rhai::Engine, hook: Hook) -> ScriptResult<Dynamic> {
        let mut state = self.state.take().unwrap_or_else(|| self.fresh(engine));
        let CallState { global, caches, scope } = &mut *state;
        // Imports of functions would add up from call to call.
        global.num_modules_loaded = 0;
        let (mut request, mut response) = (Dynamic::from(RequestObject), Dynamic::from(ResponseObject));
        let mut arguments = [&mut request, &mut response];
        let arguments = &mut arguments[..hook.parameters().len()];
        let mut context = EvalContext::new(engine, global, caches, scope, None);
        let value = context.call_fn_raw(hook.name(), false, false, arguments)?;
        scope.clear();
        if caches.fn_resolution_cache_mut().dict.len() <= MAX_FOUND {
            self.state.set(Some(state));
        }
        Ok(value)
    }

    fn fresh(&self, engine: &rhai::Engine) -> Box<CallState> {
        let mut global = engine.new_global_runtime_state();
        global.lib.push(self.module.clone());
        global.source = Some((&*self.name).into());
        Box::new(CallState { global, caches: Caches::new(), scope: Scope::new() })
    }
}
