//! The files of `[scripts] dir` by name, for routes and for imports; read before anything runs.
//!
//! Imports are resolved among these files alone, so a script can reach no other file, and none is read at run time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use rhai::{AST, Engine, EvalAltResult, Module, ModuleResolver, Position, Scope, Shared};

use super::call_stage::{CallStage, ScriptResult};
use super::saved_captures::SavedCaptures;
use crate::plan::ScriptFile;

/// The name of the route's `vars` in scripts.
pub(super) const VARS: &str = "vars";

/// Files that import one another in a row, the route's script not counted. Each is evaluated within the one before it.
pub(super) const MAX_IMPORT_DEPTH: usize = 16;

/// All files of the directory. Modules are compiled at first use.
pub(super) struct Library {
    files: HashMap<Arc<str>, Arc<ScriptFile>>,
    modules: RefCell<HashMap<Arc<str>, Shared<Module>>>,
    /// The modules under evaluation, each imported by the one before it.
    /// Finds a circle of imports, which would otherwise overflow the stack.
    loading: RefCell<Vec<Arc<str>>>,
}

impl Library {
    pub fn new(files: &[Arc<ScriptFile>]) -> Library {
        let files = files.iter().map(|file| (file.name.clone(), file.clone())).collect();
        Library { files, modules: RefCell::default(), loading: RefCell::default() }
    }

    /// The file that a route's `scripts` or an `import` means: `lib/jwt` is `lib/jwt.rhai`.
    pub fn file(&self, path: &str) -> Option<&Arc<ScriptFile>> {
        self.files.get(path).or_else(|| self.files.get(format!("{path}.rhai").as_str()))
    }

    /// Compiles one file, without its imports.
    pub fn compile(engine: &Engine, file: &ScriptFile) -> Result<AST, rhai::ParseError> {
        let mut scope = Scope::new();
        // Declared to the compiler, which refuses unknown variables; the value is the route's.
        scope.push(VARS, ());
        let mut ast = engine.compile_with_scope(&scope, &*file.text)?;
        ast.set_source(&*file.name);
        Ok(ast)
    }

    /// The module of a file, its top level evaluated once.
    fn module(
        &self,
        engine: &Engine,
        file: &ScriptFile,
        place: Position,
        captures: &SavedCaptures,
    ) -> ScriptResult<Shared<Module>> {
        if let Some(module) = self.modules.borrow().get(&file.name) {
            return Ok(module.clone());
        }
        if self.loading.borrow().contains(&file.name) {
            let text = format!("{} imports itself, directly or through others", file.name);
            return Err(EvalAltResult::ErrorRuntime(text.into(), place).into());
        }
        // `check` has found it; this is for the stack.
        if self.loading.borrow().len() >= MAX_IMPORT_DEPTH {
            let text = format!("more than {MAX_IMPORT_DEPTH} files import one another in a row");
            return Err(EvalAltResult::ErrorRuntime(text.into(), place).into());
        }
        self.loading.borrow_mut().push(file.name.clone());
        let loading = LoadingGuard(&self.loading);
        let module = Self::evaluate(engine, file, captures);
        drop(loading);
        let module =
            module.map_err(|error| EvalAltResult::ErrorInModule(file.name.to_string(), error, place))?;
        self.modules.borrow_mut().insert(file.name.clone(), module.clone());
        Ok(module)
    }

    fn evaluate(
        engine: &Engine,
        file: &ScriptFile,
        captures: &SavedCaptures,
    ) -> ScriptResult<Shared<Module>> {
        let ast =
            Self::compile(engine, file).map_err(|error| EvalAltResult::ErrorParsing(*error.0, error.1))?;
        captures.expect(&ast);
        Ok(Module::eval_ast_as_new(Scope::new(), &ast, engine)?.into())
    }
}

/// Removes a module from those under evaluation when dropped, also by a panic.
struct LoadingGuard<'l>(&'l RefCell<Vec<Arc<str>>>);

impl Drop for LoadingGuard<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().pop();
    }
}

/// Resolves imports. It shares the library because the rhai engine owns its resolver.
pub(super) struct Resolver {
    pub library: Shared<Library>,
    pub stage: Rc<CallStage>,
}

impl ModuleResolver for Resolver {
    fn resolve(
        &self,
        engine: &Engine,
        _: Option<&str>,
        path: &str,
        place: Position,
    ) -> ScriptResult<Shared<Module>> {
        let Some(file) = self.library.file(path) else {
            return Err(EvalAltResult::ErrorModuleNotFound(path.to_owned(), place).into());
        };
        // A module belongs to no request, also where one imports it first.
        let hook = self.stage.hook.take();
        let module = self.library.module(engine, file, place, &self.stage.captures);
        self.stage.hook.set(hook);
        module
    }
}

/// The position of a function's name in its definition.
pub(super) fn place_of(text: &str, function: &str) -> Position {
    let definition = format!("fn {function}");
    let goes_on = |c: char| c.is_alphanumeric() || c == '_';
    for (number, line) in (1..).zip(text.lines()) {
        let is_whole = |at: usize| !line[at + definition.len()..].starts_with(goes_on);
        let found = line.match_indices(&definition).map(|(at, _)| at).find(|at| is_whole(*at));
        let Some(at) = found else { continue };
        let column = line[..at].chars().count() + "fn ".len() + 1;
        if let (Ok(number), Ok(column)) = (u16::try_from(number), u16::try_from(column)) {
            return Position::new(number, column);
        }
    }
    Position::NONE
}
