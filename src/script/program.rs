//! A compiled script whose hooks can be called.

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
    /// Its functions, and the constants that its top level has defined.
    module: Shared<Module>,
    /// The position of each hook that it defines.
    hooks: [Option<Position>; Hook::ALL.len()],
    /// The engine's state between calls, resolved functions above all. Taken out for a call and put back when it
    /// succeeded, so that a failed call leaves nothing behind.
    state: Cell<Option<Box<CallState>>>,
}

struct CallState {
    global: GlobalRuntimeState,
    caches: Caches,
    scope: Scope<'static>,
}

/// Resolved functions kept between calls. A script that calls functions by computed names could add ever more.
/// Beyond it the state is dropped and the next call begins with a fresh one.
const MAX_RESOLVED: usize = 4096;

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

    /// The position of a hook's definition, if known.
    pub(super) fn place(&self, hook: Hook) -> Position {
        self.hooks[hook as usize].unwrap_or(Position::NONE)
    }

    /// Calls a hook that the script defines.
    pub(super) fn call(&self, engine: &rhai::Engine, hook: Hook) -> ScriptResult<Dynamic> {
        let mut state = self.state.take().unwrap_or_else(|| self.fresh(engine));
        let CallState { global, caches, scope } = &mut *state;
        // Imports within functions would add up over calls.
        global.num_modules_loaded = 0;
        let (mut request, mut response) = (Dynamic::from(RequestObject), Dynamic::from(ResponseObject));
        let mut arguments = [&mut request, &mut response];
        let arguments = &mut arguments[..hook.parameters().len()];
        let mut context = EvalContext::new(engine, global, caches, scope, None);
        let value = context.call_fn_raw(hook.name(), false, false, arguments)?;
        scope.clear();
        if caches.fn_resolution_cache_mut().dict.len() <= MAX_RESOLVED {
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
