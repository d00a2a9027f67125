//! `ringway test`: runs the tests of scripts and prints the result of each file to stdout.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use super::check;
use crate::control::{CommandFailure, ConfigSource, StartFailure};
use crate::script_test::{Failed, Report, TestRunner, files};

/// How many lines of a failed test's log are shown: the last ones.
const MAX_LINES: usize = 10;

/// Runs the tests in `paths`, or those beside the scripts of the configuration. Returns whether all passed.
///
/// # Errors
/// A configuration with errors, a path that cannot be read, no test at all.
pub fn test(config: &Path, paths: &[PathBuf]) -> Result<bool, CommandFailure> {
    let loaded = ConfigSource::File(config.to_owned()).load().map_err(CommandFailure::Config)?;
    check::report(&loaded.warnings);
    let paths = files::find(paths, &loaded.plan.scripts.dir)?;
    let runner = TestRunner::new(loaded.plan).map_err(|fault| {
        StartFailure::input(format!("a script does not compile: {fault}"), "`ringway check` shows the line")
    })?;
    let printer = Printer { color: check::is_coloured(&stdout()) };
    let (mut passed, mut failed) = (0, 0);
    for path in &paths {
        let name = path.display().to_string();
        let report = runner.run(&name, &files::read(path)?);
        printer.file(&name, &report);
        passed += report.passed;
        failed += report.failed.len();
    }
    if passed + failed == 0 {
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(files::none_in(&names.join(", ")).into());
    }
    printer.line(&format!("\n{}", printer.counts(passed, failed)));
    Ok(failed == 0)
}

/// Writes results to stdout.
struct Printer {
    color: bool,
}

impl Printer {
    /// A file's failed tests and its counts.
    fn file(&self, name: &str, report: &Report) {
        for failed in &report.failed {
            self.failed(failed);
        }
        self.line(&format!("{name}: {}", self.counts(report.passed, report.failed.len())));
    }

    /// One line on what failed, and the last lines that were logged before.
    fn failed(&self, Failed { test, fault, lines }: &Failed) {
        let name = if test.is_empty() { String::new() } else { format!(" {test}:") };
        let place = match fault.column {
            0 => format!("{}:{}", fault.script, fault.line),
            column => format!("{}:{}:{column}", fault.script, fault.line),
        };
        self.line(&format!("{} {place}:{name} {}", self.red("FAILED"), fault.message));
        let left_out = lines.len().saturating_sub(MAX_LINES);
        if left_out > 0 {
            self.line(&format!("    … {left_out} lines of the log before"));
        }
        for line in &lines[left_out..] {
            self.line(&format!("    log: {line}"));
        }
    }

    fn counts(&self, passed: usize, failed: usize) -> String {
        let failed = match failed {
            0 => "0 failed".to_owned(),
            n => self.red(&format!("{n} failed")),
        };
        format!("{passed} passed, {failed}")
    }

    fn red(&self, text: &str) -> String {
        if self.color { format!("\u{1b}[31m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A closed stdout is no failure of a test.
    fn line(&self, text: &str) {
        _ = writeln!(stdout().lock(), "{text}");
    }
}
