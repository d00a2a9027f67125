//! Files of test functions, called one by one by an engine.

use std::sync::Arc;

use rhai::{AST, Dynamic, EvalAltResult, Scope};

use super::engine::Engine;
use super::fault::ScriptFault;
use super::library::place_of;

/// The prefix of a test function's name.
const PREFIX: &str = "test_";

/// A file of tests, compiled.
pub struct Suite {
    name: Arc<str>,
    ast: AST,
    /// In the order of the file.
    pub tests: Vec<Test>,
}

/// One function of a suite.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    /// Its line in the file, from 1.
    pub line: usize,
    pub name: String,
    /// The number of its parameters, which should be 0.
    parameters: usize,
}

impl Engine {
    /// Compiles a file of tests; `name` stands for it in errors.
    ///
    /// # Errors
    /// A text that does not compile.
    pub fn suite(&self, name: &str, text: &str) -> Result<Suite, ScriptFault> {
        let mut ast = self.rhai().compile(text).map_err(|error| ScriptFault::of_parser(name, &error))?;
        ast.set_source(name);
        let is_test = |function: &rhai::ScriptFnMetadata<'_>| function.name.starts_with(PREFIX);
        let mut tests: Vec<Test> = ast
            .iter_functions()
            .filter(is_test)
            .map(|function| Test {
                line: place_of(text, function.name).line().unwrap_or(0),
                name: function.name.to_owned(),
                parameters: function.params.len(),
            })
            .collect();
        tests.sort();
        Ok(Suite { name: name.into(), ast, tests })
    }

    /// Runs the file's top level, then the test.
    ///
    /// # Errors
    /// The error that ended the test.
    pub fn run_test(&self, suite: &Suite, test: &Test) -> Result<(), ScriptFault> {
        let at_test = |message: String| ScriptFault {
            script: suite.name.to_string(),
            line: test.line,
            column: 0,
            message,
        };
        if test.parameters != 0 {
            return Err(at_test(format!("a test takes no parameters: write fn {}()", test.name)));
        }
        self.start_test_call(suite.name.clone());
        let run = self.rhai().call_fn::<Dynamic>(&mut Scope::new(), &suite.ast, &test.name, ());
        match run {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.unwrap_inner() {
                EvalAltResult::ErrorTerminated(..) => at_test(
                    "the test was ended: it needs too many operations, too long, or too much memory"
                        .to_owned(),
                ),
                _ => match ScriptFault::of_run(&suite.name, error) {
                    ScriptFault { line: 0, message, .. } => at_test(message),
                    fault => fault,
                },
            }),
        }
    }
}
