//! Static checks of scripts, before any request runs them: they compile, call only functions that exist, define hooks with
//! the right parameters, and import files that exist.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rhai::{AST, ASTNode, Dynamic, Engine as Rhai, Expr, FnCallExpr, Position, Stmt};

use super::call_stage::{Hook, LogLine, ScriptHost};
use super::engine::Engine;
use super::fault::ScriptFault;
use super::functions::DISABLED;
use super::header_check::wrong_headers;
use super::library::{Library, MAX_IMPORT_DEPTH, place_of};
use crate::metrics::ScriptMetrics;
use crate::plan::{ScriptFile, ScriptSettings};

/// What is wrong with a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptProblem {
    /// The file's name, relative to the directory.
    pub script: String,
    /// From 1; 0: the file as a whole.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

/// Everything that is wrong with the scripts of these names and with what they import.
pub fn check(scripts: &ScriptSettings, used: &[Arc<str>]) -> Vec<ScriptProblem> {
    let engine = Engine::new(scripts, Rc::new(CheckHost));
    let mut checker =
        Checker { engine: &engine, native: native(engine.rhai()), files: HashMap::new(), found: Vec::new() };
    for name in used {
        let before = checker.found.len();
        if let Some(file) = engine.library().file(name) {
            checker.file(file, true, 0);
            checker.duplicate_names(&file.name);
            checker.import_depth(&file.name);
        }
        // Problems that only evaluating the top level shows.
        if checker.found.len() == before
            && let Err(fault) = engine.program(name)
        {
            checker.found.push(problem(fault, ""));
        }
    }
    checker.found
}

/// Functions by name and number of arguments.
type Arities = HashMap<String, BTreeSet<usize>>;

struct Checker<'e> {
    engine: &'e Engine,
    native: Arities,
    files: HashMap<Arc<str>, CheckedFile>,
    found: Vec<ScriptProblem>,
}

/// A file that has been checked.
#[derive(Default)]
struct CheckedFile {
    /// Its functions but for hooks and closures, by name and number of parameters.
    functions: Vec<(String, usize)>,
    imports: Vec<(Arc<str>, Position)>,
}

/// The names that a script defines.
#[derive(Default)]
struct ScriptSymbols {
    functions: Arities,
    /// Members of maps, which may hold closures that are called by the member's name.
    members: HashSet<String>,
    /// The functions of imported modules, by the module's alias.
    imports: HashMap<String, Arities>,
}

impl Checker<'_> {
    /// Checks one file, as a route's script or as an imported one; `depth`: the files through which it is imported.
    fn file(&mut self, file: &ScriptFile, is_policy: bool, depth: usize) {
        // Deeper ones are found by `import_depth`.
        if self.files.contains_key(&file.name) || depth > MAX_IMPORT_DEPTH {
            return;
        }
        self.files.insert(file.name.clone(), CheckedFile::default());
        let ast = match Library::compile(self.engine.rhai(), file) {
            Ok(ast) => ast,
            Err(error) => return self.found.push(problem(ScriptFault::of_parser(&file.name, &error), "")),
        };
        if is_policy {
            self.hooks(file, &ast);
        }
        self.update(file, |seen| seen.functions = named(&ast));
        let mut symbols = ScriptSymbols::default();
        for function in ast.iter_functions() {
            symbols.functions.entry(function.name.to_owned()).or_default().insert(function.params.len());
        }
        ast.walk(&mut |path| {
            self.collect_names(file, path, depth, &mut symbols);
            true
        });
        ast.walk(&mut |path| {
            self.calls(file, path, &symbols);
            true
        });
        for (place, message) in wrong_headers(&ast) {
            self.found.push(problem(ScriptFault::at(&file.name, place, message), ""));
        }
    }

    fn update(&mut self, file: &ScriptFile, note: impl FnOnce(&mut CheckedFile)) {
        note(self.files.entry(file.name.clone()).or_default());
    }

    /// Finds functions of one name in a script and the files it imports: once the engine has resolved such a name in one
    /// file, it uses that function for calls in the others too.
    fn duplicate_names(&mut self, script: &Arc<str>) {
        let mut files = vec![script.clone()];
        let mut defined: HashMap<&(String, usize), &Arc<str>> = HashMap::new();
        let mut twice = Vec::new();
        let mut at = 0;
        while let Some((name, seen)) = files.get(at).and_then(|name| self.files.get_key_value(name)) {
            for function in &seen.functions {
                match defined.get(function) {
                    Some(other) => twice.push((name.clone(), function.0.clone(), (*other).clone())),
                    None => _ = defined.insert(function, name),
                }
            }
            let imports = seen.imports.iter().map(|(import, _)| import);
            let new: Vec<_> = imports.filter(|import| !files.contains(import)).cloned().collect();
            files.extend(new);
            at += 1;
        }
        for (file, function, other) in twice {
            let text = self.engine.library().file(&file).map_or("", |file| &*file.text);
            let message =
                format!("`{function}` is defined in {other} too, and a call could take one for the other");
            let problem =
                problem(ScriptFault::at(&file, place_of(text, &function), message), "rename one of them");
            if !self.found.contains(&problem) {
                self.found.push(problem);
            }
        }
    }

    /// Finds imports in a row that are more than there may be.
    fn import_depth(&mut self, script: &Arc<str>) {
        let mut chain = ImportChain { files: &self.files, known: HashMap::new() };
        let seen = self.files.get(script);
        let depths = seen.into_iter().flat_map(|seen| &seen.imports);
        let deep: Vec<_> = depths
            .map(|(import, place)| (chain.depth(import, 0), *place))
            .filter(|(depth, _)| *depth > MAX_IMPORT_DEPTH)
            .collect();
        for (_, place) in deep {
            let message = format!(
                "this imports more than {MAX_IMPORT_DEPTH} files in a row, each from within the one before it"
            );
            let hint = "import some of them here, or put them into one file";
            self.found.push(problem(ScriptFault::at(script, place, message), hint));
        }
    }

    fn hooks(&mut self, file: &ScriptFile, ast: &AST) {
        let mut has_one = false;
        for function in ast.iter_functions() {
            let Some(hook) = Hook::ALL.into_iter().find(|hook| hook.name() == function.name) else {
                continue;
            };
            has_one = true;
            if function.access == rhai::FnAccess::Private {
                let place = place_of(&file.text, function.name);
                let message = format!("`{}` is private, so the gateway could not call it", function.name);
                self.found.push(problem(ScriptFault::at(&file.name, place, message), "leave out `private`"));
            }
            let wanted = hook.parameters();
            if function.params.len() != wanted.len() {
                let place = place_of(&file.text, function.name);
                let message = format!(
                    "`{}` takes {}, not {}",
                    function.name,
                    count(wanted.len(), "parameter"),
                    function.params.len()
                );
                let hint = format!("write fn {}({})", function.name, wanted.join(", "));
                self.found.push(problem(ScriptFault::at(&file.name, place, message), &hint));
            }
        }
        if !has_one {
            let names: Vec<&str> = Hook::ALL.iter().map(|hook| hook.name()).collect();
            let message = "this script defines no hook, so it would never run";
            let hint = format!("define one of {}", names.join(", "));
            self.found.push(problem(ScriptFault::at(&file.name, Position::NONE, message), &hint));
        }
    }

    /// Collects imports and members, which may be defined after their use.
    fn collect_names(
        &mut self,
        file: &ScriptFile,
        path: &[ASTNode],
        depth: usize,
        symbols: &mut ScriptSymbols,
    ) {
        match path.last() {
            Some(ASTNode::Stmt(Stmt::Import(import, place))) => {
                let (what, alias) = (&import.0, import.1.as_str());
                let Expr::StringConstant(name, _) = what else {
                    let message = "`import` takes a file's name, written out";
                    return self.found.push(problem(
                        ScriptFault::at(&file.name, *place, message),
                        "write import \"lib/name\" as name;",
                    ));
                };
                let Some(imported) = self.engine.library().file(name).cloned() else {
                    let message = format!("there is no script {name:?} to import");
                    let hint = "imports are of files in `[scripts] dir`, with or without .rhai";
                    return self
                        .found
                        .push(problem(ScriptFault::at(&file.name, what.position(), message), hint));
                };
                self.update(file, |seen| seen.imports.push((imported.name.clone(), what.position())));
                self.file(&imported, false, depth + 1);
                let functions = Library::compile(self.engine.rhai(), &imported)
                    .map(|ast| public(&ast))
                    .unwrap_or_default();
                symbols.imports.insert(alias.to_owned(), functions);
            }
            Some(ASTNode::Expr(Expr::Map(members, _))) => {
                symbols.members.extend(members.0.iter().map(|(name, _)| name.as_str().to_owned()));
            }
            // A literal whose members are all constant.
            Some(ASTNode::Expr(Expr::DynamicConstant(value, _))) => collect_members(value, symbols),
            Some(ASTNode::Expr(Expr::Property(property, _))) => {
                _ = symbols.members.insert(property.2.to_string())
            }
            _ => {}
        }
    }

    fn calls(&mut self, file: &ScriptFile, path: &[ASTNode], symbols: &ScriptSymbols) {
        let (call, place, is_method) = match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, place)) | ASTNode::Stmt(Stmt::FnCall(call, place))) => {
                (call, *place, false)
            }
            Some(ASTNode::Expr(Expr::MethodCall(call, place))) => (call, *place, true),
            _ => return,
        };
        if let Some((message, hint)) = self.wrong_call(call, is_method, symbols) {
            self.found.push(problem(ScriptFault::at(&file.name, place, message), &hint));
        }
    }

    /// What is wrong with a call, and what to do.
    fn wrong_call(
        &self,
        call: &FnCallExpr,
        is_method: bool,
        symbols: &ScriptSymbols,
    ) -> Option<(String, String)> {
        let (name, given) = (call.name.as_str(), call.args.len());
        // Operators are resolved by the types of their operands; closures have generated names.
        if call.op_token.is_some() || name.starts_with("anon$") || LANGUAGE.contains(&name) {
            return None;
        }
        if let Some((_, why)) =
            DISABLED.iter().find(|(disabled, _)| *disabled == name && !symbols.functions.contains_key(name))
        {
            return Some(((*why).to_owned(), String::new()));
        }
        let root = (!call.namespace.is_empty()).then(|| call.namespace.root().to_owned());
        let mut arities: BTreeSet<usize> = BTreeSet::new();
        match &root {
            Some(module) => match symbols.imports.get(module) {
                Some(functions) if call.namespace.path.len() == 1 => {
                    arities.extend(functions.get(name).into_iter().flatten());
                }
                // A module within a module, or one imported in another function: the call itself reports it.
                _ => return None,
            },
            None => {
                let of_native = self.native.get(name).into_iter().flatten();
                // A method's object is the first argument of a native function, and `this` of a script's.
                arities.extend(of_native.filter_map(|n| n.checked_sub(usize::from(is_method))));
                arities.extend(symbols.functions.get(name).into_iter().flatten());
            }
        }
        if arities.contains(&given) || (is_method && symbols.members.contains(name)) {
            return None;
        }
        if arities.is_empty() {
            let known = self.native.keys().chain(symbols.functions.keys()).map(String::as_str);
            let hint = crate::base::suggest::closest(name, known.filter(|name| name.chars().all(is_word)));
            let hint = hint.map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
            return Some((format!("there is no function `{name}`"), hint));
        }
        let takes: Vec<String> = arities.iter().map(ToString::to_string).collect();
        let message = format!("`{name}` is called with {}", count(given, "argument"));
        Some((message, format!("it takes {}", takes.join(" or "))))
    }
}

/// How deep files import one another.
struct ImportChain<'c> {
    files: &'c HashMap<Arc<str>, CheckedFile>,
    /// 0: it is being looked at.
    known: HashMap<Arc<str>, usize>,
}

impl ImportChain<'_> {
    /// The most files in a row from this one on. `above`: those in the row before it.
    fn depth(&mut self, name: &Arc<str>, above: usize) -> usize {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let Some(seen) = self.files.get(name).filter(|_| above <= MAX_IMPORT_DEPTH) else { return 1 };
        self.known.insert(name.clone(), 0);
        let below = seen.imports.iter().map(|(import, _)| self.depth(import, above + 1)).max();
        let depth = 1 + below.unwrap_or(0);
        self.known.insert(name.clone(), depth);
        depth
    }
}

fn collect_members(value: &Dynamic, symbols: &mut ScriptSymbols) {
    if let Ok(map) = value.as_map_ref() {
        symbols.members.extend(map.keys().map(ToString::to_string));
        map.values().for_each(|value| collect_members(value, symbols));
    }
    if let Ok(items) = value.as_array_ref() {
        items.iter().for_each(|value| collect_members(value, symbols));
    }
}

/// Functions that are part of the language's syntax.
const LANGUAGE: [&str; 10] =
    ["print", "debug", "type_of", "is_shared", "is_def_fn", "is_def_var", "Fn", "call", "curry", "eval"];

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The functions that exist before a script defines its symbols.
fn native(rhai: &Rhai) -> Arities {
    let mut arities = Arities::new();
    let all = rhai.collect_fn_metadata(
        None,
        |function| Some((function.metadata.name.to_string(), function.metadata.num_params)),
        true,
    );
    for (name, parameters) in all {
        arities.entry(name).or_default().insert(parameters);
    }
    arities
}

/// The functions that an importing script may call.
fn public(ast: &AST) -> Arities {
    let mut arities = Arities::new();
    for function in ast.iter_functions().filter(|function| function.access == rhai::FnAccess::Public) {
        arities.entry(function.name.to_owned()).or_default().insert(function.params.len());
    }
    arities
}

/// The functions with a name in the text, without hooks, which the gateway alone calls.
fn named(ast: &AST) -> Vec<(String, usize)> {
    let is_hook = |name: &str| Hook::ALL.iter().any(|hook| hook.name() == name);
    ast.iter_functions()
        .filter(|function| !function.name.starts_with("anon$") && !is_hook(function.name))
        .map(|function| (function.name.to_owned(), function.params.len()))
        .collect()
}

fn problem(fault: ScriptFault, hint: &str) -> ScriptProblem {
    let ScriptFault { script, line, column, message } = fault;
    ScriptProblem { script, line, column, message, hint: hint.to_owned() }
}

/// The host of scripts that are checked and not run.
struct CheckHost;

impl ScriptHost for CheckHost {
    fn unix_ms(&self) -> u64 {
        0
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn cpu_time(&self) -> Duration {
        Duration::ZERO
    }

    fn uuid(&self, _: &mut Vec<u8>) {}

    fn log(&self, _: &LogLine<'_>) {}

    fn add_to_counter(&self, _: &str, _: &str, _: i64) -> bool {
        true
    }

    fn counter(&self, _: &str, _: &str) -> i64 {
        0
    }

    fn metrics(&self, _: &str) -> Rc<ScriptMetrics> {
        Rc::default()
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
