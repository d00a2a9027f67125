//! A shard's script engine: the language with the gateway's objects and functions, and the programs compiled so far.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rhai::packages::{Package, StandardPackage};
use rhai::{Dynamic, EvalAltResult, Module, OptimizationLevel, Position, Scope, Shared};

use super::budget::{Budget, CallLimits};
use super::call_stage::{CallStage, Hook, RouteView, ScriptHost, ScriptResult, script_error};
use super::depth;
use super::fault::ScriptFault;
use super::functions;
use super::library::{Library, Resolver, VARS};
use super::objects::{self, ScriptReply};
use super::pause::CallTime;
use super::program::Program;
use crate::exchange::Transaction;
use crate::plan;

/// A script engine of one thread, like everything it holds.
/// Kept over reloads that leave the scripts as they are, with the counters of its programs.
pub struct Engine {
    rhai: rhai::Engine,
    stage: Rc<CallStage>,
    library: Shared<Library>,
    programs: RefCell<HashMap<Arc<str>, Rc<Program>>>,
}

impl Engine {
    /// An engine for a configuration's scripts; nothing is compiled yet.
    pub fn new(scripts: &plan::ScriptSettings, host: Rc<dyn ScriptHost>) -> Engine {
        let limits = CallLimits {
            operations: scripts.max_operations,
            time: scripts.max_time,
            body_bytes: scripts.max_body,
        };
        let budget = Rc::new(Budget::new(limits, host.clone()));
        let stage = Rc::new(CallStage::new(host, budget.clone(), scripts.env.clone()));
        let library = Shared::new(Library::new(&scripts.files));
        let mut rhai = language();
        budget.install(&mut rhai);
        objects::register(&mut rhai, &stage);
        functions::register(&mut rhai, &stage);
        rhai.set_module_resolver(Resolver { library: library.clone(), stage: stage.clone() });
        watch_variables(&mut rhai, &stage);
        Engine { rhai, stage, library, programs: RefCell::default() }
    }

    /// The program of that name; compiled, and its top level evaluated, at first use.
    ///
    /// # Errors
    /// The first problem found; [`super::check`] finds all.
    pub fn program(&self, name: &Arc<str>) -> Result<Rc<Program>, ScriptFault> {
        if let Some(program) = self.programs.borrow().get(name) {
            return Ok(program.clone());
        }
        let file = self.library.file(name).ok_or_else(|| ScriptFault {
            script: name.to_string(),
            line: 0,
            column: 0,
            message: "there is no such file".to_owned(),
        })?;
        let ast = Library::compile(&self.rhai, file).map_err(|error| ScriptFault::of_parser(name, &error))?;
        self.stage.captures.expect(&ast);
        // Without a time limit: a shard that waits for its core must not refuse what `check` has accepted.
        self.stage.budget.start_call(None);
        let module = Module::eval_ast_as_new(Scope::new(), &ast, &self.rhai);
        let module = module.map_err(|error| ScriptFault::of_run(name, error))?;
        let metrics = self.stage.host.metrics(name);
        let program = Rc::new(Program::new(file, &ast, module.into(), metrics));
        self.programs.borrow_mut().insert(name.clone(), program.clone());
        Ok(program)
    }

    /// Runs one hook of one program on a transaction; says how long that took.
    ///
    /// An error of the script may be the result. The transaction then keeps the changes made before it.
    pub(super) fn run(
        &self,
        program: &Program,
        hook: Hook,
        route: &Rc<RouteView>,
        transaction: &mut Transaction,
    ) -> (Result<Option<ScriptReply>, ScriptFault>, CallTime) {
        let stage = &*self.stage;
        let started = stage.host.instant();
        // Moved in for the call and out after it: handles need no lifetime, and nothing is copied.
        std::mem::swap(&mut *stage.transaction.borrow_mut(), transaction);
        stage.hook.set(Some(hook));
        self.set_script(program, route);
        stage.budget.start_call(Some(started));
        let mut result = program.call(&self.rhai, hook);
        std::mem::swap(&mut *stage.transaction.borrow_mut(), transaction);
        stage.hook.set(None);
        if !stage.captures.release(&transaction.edits.ctx) {
            transaction.edits.ctx = Dynamic::UNIT;
            result = result
                .and(Err(script_error("`req.ctx` cannot keep a closure with the variables of this call")));
        }
        let ended = stage.host.instant();
        let took = ended.saturating_duration_since(started);
        program.metrics.hook(hook as usize).ran(stage.budget.operations(), took);
        let (used, is_over) = (stage.budget.used_time(ended), stage.budget.is_time_over());
        let result = match result {
            Ok(value) => Ok(value.try_cast::<ScriptReply>()),
            Err(error) => {
                program.metrics.failed(&route.name);
                Err(ScriptFault::of_run(&program.name, error).or_at(&program.name, program.place(hook)))
            }
        };
        (result, CallTime { ended, used, is_over })
    }

    pub(super) fn now(&self) -> Instant {
        self.stage.host.instant()
    }

    pub(super) fn max_time(&self) -> Duration {
        self.stage.budget.max_time()
    }

    /// Sets the script and the route of the call.
    fn set_script(&self, program: &Program, route: &Rc<RouteView>) {
        let mut script = self.stage.script.borrow_mut();
        if !Arc::ptr_eq(&script, &program.name) {
            *script = program.name.clone();
        }
        let mut now = self.stage.route.borrow_mut();
        if !now.as_ref().is_some_and(|now| Rc::ptr_eq(now, route)) {
            *now = Some(route.clone());
        }
    }

    /// Adds functions to the language of this engine's scripts.
    pub fn extend(&mut self, add: impl FnOnce(&mut rhai::Engine)) {
        add(&mut self.rhai);
    }

    /// Starts a call without a request, of a test function.
    pub(super) fn start_test_call(&self, file: Arc<str>) {
        *self.stage.script.borrow_mut() = file;
        self.stage.budget.start_call(Some(self.stage.host.instant()));
    }

    pub(super) fn rhai(&self) -> &rhai::Engine {
        &self.rhai
    }

    pub(super) fn library(&self) -> &Library {
        &self.library
    }
}

/// The language without the gateway's objects and functions.
fn language() -> rhai::Engine {
    let mut rhai = rhai::Engine::new_raw();
    StandardPackage::new().register_into_engine(&mut rhai);
    rhai.set_optimization_level(OptimizationLevel::Simple);
    rhai.set_strict_variables(true);
    // Data must never become code.
    rhai.disable_symbol("eval");
    rhai
}

/// Hooks into every variable read: provides `vars` in every function, checks how deep values nest, and saves captured
/// variables.
fn watch_variables(rhai: &mut rhai::Engine, stage: &Rc<CallStage>) {
    let on = stage.clone();
    #[expect(
        deprecated,
        reason = "not deprecated but marked as volatile: the version is pinned by Cargo.lock"
    )]
    rhai.on_var(move |name, index, context| {
        if on.budget.is_depth_due() && !depth::is_bounded(&context) {
            // Scripts cannot catch a termination.
            let why = "a value is nested too deep, or a closure can be reached from itself";
            return Err(EvalAltResult::ErrorTerminated(why.into(), Position::NONE).into());
        }
        if on.captures.possible.get() {
            on.captures.note(on.hook.get().is_some(), index, name, &context);
        }
        // Arguments and local variables have an index.
        if index != 0 || name != VARS { Ok(None) } else { vars(&on).map(Some) }
    });
}

/// # Errors
/// Outside of a hook, where there is no route.
fn vars(stage: &CallStage) -> ScriptResult<Dynamic> {
    let route = stage.route.borrow();
    match (stage.hook.get(), route.as_ref()) {
        (Some(_), Some(route)) => Ok(route.vars.clone()),
        _ => Err(script_error("`vars` belongs to a route: use it in functions, not at the top level")),
    }
}

/// A route's `vars` as a script's map.
pub fn vars_map<'v>(vars: impl Iterator<Item = (&'v str, &'v str)>) -> Dynamic {
    Dynamic::from_map(vars.map(|(name, value)| (name.into(), value.into())).collect())
}
