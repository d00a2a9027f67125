//! `ringway test`: files of tests, run offline against a configuration's routes and their scripts.
//!
//! [`files`] finds them; [`TestRunner`] runs them, each with a clock, ids, counters and limits of its own ([`host`]). A test calls `run` and what
//! else [`functions`] has; `run` reads its map ([`case`]), makes heads of it ([`build`]), sends them through the
//! [`gateway`], which has no socket, and gives back a map of the outcome ([`outcome`]).

mod build;
mod case;
mod compare;
pub mod files;
mod functions;
mod gateway;
mod host;
mod limits;
mod outcome;
mod run;
mod step_host;

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::script::{Engine, ScriptFault};
use gateway::Gateway;
use host::{TestScriptHost, TestState};

/// Operations of one test. Those of the hooks that it runs are counted by themselves.
const MAX_OPERATIONS: u64 = 2_000_000;
/// What one test may take, by the clock on the wall, everything that it runs included.
const MAX_TIME: Duration = Duration::from_secs(60);

/// A configuration, ready to be tested.
pub struct TestRunner {
    /// Runs test files. The hooks that they run have another one, with limits of its own.
    engine: Engine,
    state: Rc<TestState>,
}

/// How the tests of one file went.
pub struct Report {
    pub passed: usize,
    pub failed: Vec<Failed>,
}

/// A test that failed.
pub struct Failed {
    /// The function's name; empty: the file as a whole.
    pub test: String,
    /// Where and why.
    pub fault: ScriptFault,
    /// What scripts and the test itself have logged, in order; the errors of scripts, too.
    pub lines: Vec<String>,
}

impl TestRunner {
    /// # Errors
    /// A script that does not compile; a checked configuration has none.
    pub fn new(plan: Plan) -> Result<TestRunner, ScriptFault> {
        let state = Rc::new(TestState::default());
        let mut limits = plan.scripts.clone();
        limits.max_operations = MAX_OPERATIONS;
        limits.max_time = MAX_TIME;
        let mut engine =
            Engine::new(&limits, Rc::new(TestScriptHost { state: state.clone(), frozen_at: None }));
        // In hooks no time passes, so that none fails because the machine is busy.
        let frozen = TestScriptHost { state: state.clone(), frozen_at: Some(Instant::now()) };
        let gateway = Rc::new(Gateway::new(plan, Rc::new(frozen))?);
        engine.extend(|rhai| functions::register(rhai, &gateway));
        Ok(TestRunner { engine, state })
    }

    /// Runs every test of a file; `name` stands for it in messages.
    pub fn run(&self, name: &str, text: &str) -> Report {
        let mut report = Report { passed: 0, failed: Vec::new() };
        let suite = match self.engine.suite(name, text) {
            Ok(suite) => suite,
            Err(fault) => {
                report.failed.push(Failed { test: String::new(), fault, lines: Vec::new() });
                return report;
            }
        };
        for test in &suite.tests {
            self.state.begin();
            match self.engine.run_test(&suite, test) {
                Ok(()) => report.passed += 1,
                Err(fault) => {
                    let lines = self.state.take_lines();
                    report.failed.push(Failed { test: test.name.clone(), fault, lines });
                }
            }
        }
        report
    }
}
