//! `ringway check`: all problems of a configuration on stderr, or what a run of it would do on stdout.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Problems};
use crate::control::ConfigSource;

/// Loads everything that a run would load and binds nothing. Exit code 0: the summary on stdout, warnings on stderr. Exit
/// code 1: all problems on stderr.
pub fn check(path: &Path) -> ExitCode {
    let (summary, problems) = match ConfigSource::File(path.to_owned()).load() {
        Ok(loaded) => (Some(config::summary(&loaded.plan)), loaded.warnings),
        Err(problems) => (None, problems),
    };
    report(&problems);
    match summary {
        Some(summary) => {
            // A closed stdout says nothing about the configuration.
            _ = write!(stdout().lock(), "{}: fine\n\n{summary}", path.display());
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

/// Prints problems to stderr, coloured on a terminal, followed by their number; nothing if there are none.
pub fn report(problems: &Problems) {
    if problems.is_empty() {
        return;
    }
    let color = is_coloured(&stderr());
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    _ = writeln!(stderr().lock(), "{}{count} {noun} in {}", problems.render(color), problems.file());
}

/// Whether a stream gets colours: a terminal does, unless `NO_COLOR` is set (no-color.org).
pub fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
