//! `ringway check`: all problems of a configuration, or what a run of it would do.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use crate::config::{self, Problem, Problems};
use crate::control::ConfigSource;

/// How `ringway check` shows what it has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people: problems and warnings on stderr, the summary on stdout
    Text,
    /// For programs: one object on stdout, with problems and warnings as lists
    Json,
}

/// Loads everything that a run would load and binds nothing. Exit code 0 if it is fine, with warnings or without; 1 if
/// it has problems.
pub fn check(path: &Path, format: CheckFormat) -> ExitCode {
    let (summary, problems) = match ConfigSource::File(path.to_owned()).load() {
        Ok(loaded) => (Some(config::summary(&loaded.plan)), loaded.warnings),
        Err(problems) => (None, problems),
    };
    // A closed stdout says nothing about the configuration.
    match format {
        CheckFormat::Json => {
            let report = serde_json::to_string(&JsonReport::of(&problems)).unwrap_or_default();
            _ = writeln!(stdout().lock(), "{report}");
        }
        CheckFormat::Text => {
            report(&problems);
            if let Some(summary) = &summary {
                _ = write!(stdout().lock(), "{}: fine\n\n{summary}", path.display());
            }
        }
    }
    if summary.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints problems to stderr, coloured on a terminal, followed by their number; nothing if there are none.
pub fn report(problems: &Problems) {
    if problems.is_empty() {
        return;
    }
    let color = is_coloured(&stderr());
    let (shown, counts) = (problems.render(color), problems.counts());
    _ = writeln!(stderr().lock(), "{shown}{counts} in {}", problems.file());
}

/// A configuration's problems and warnings, or its being fine, for programs.
#[derive(Serialize)]
struct JsonReport<'a> {
    file: &'a str,
    fine: bool,
    problems: Vec<JsonProblem<'a>>,
    warnings: Vec<JsonProblem<'a>>,
}

#[derive(Serialize)]
struct JsonProblem<'a> {
    /// The configuration, or a script that it names.
    file: &'a str,
    line: Option<usize>,
    column: Option<usize>,
    message: &'a str,
    hint: Option<&'a str>,
}

impl JsonReport<'_> {
    fn of(problems: &Problems) -> JsonReport<'_> {
        JsonReport {
            file: problems.file(),
            fine: !problems.has_errors(),
            problems: problems.iter().filter(|problem| problem.is_error()).map(JsonProblem::of).collect(),
            warnings: problems.iter().filter(|problem| problem.is_warning()).map(JsonProblem::of).collect(),
        }
    }
}

impl JsonProblem<'_> {
    fn of(problem: &Problem) -> JsonProblem<'_> {
        let (line, column) = problem.position().unzip();
        JsonProblem { file: problem.file(), line, column, message: problem.message(), hint: problem.hint() }
    }
}

/// Whether a stream gets colours: a terminal does, unless `NO_COLOR` is set (no-color.org).
pub fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
