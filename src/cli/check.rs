//! `ringway check`: all problems of a configuration on stderr, or what a run of it would do on stdout.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Problems};
use crate::control::source::ConfigSource;

/// Loads what a run would load and binds nothing. Exit 0: the summary on stdout, warnings on stderr. Exit 1: all
/// problems on stderr.
pub fn check(path: &Path) -> ExitCode {
    let (loaded, problems) = match ConfigSource::File(path.to_owned()).load() {
        Ok(loaded) => (Some(config::summary(&loaded.plan)), loaded.warnings),
        Err(problems) => (None, problems),
    };
    report(&problems);
    match loaded {
        Some(summary) => {
            // A reader that has gone away is no problem of the configuration's.
            _ = write!(stdout().lock(), "{}: fine\n\n{summary}", path.display());
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

/// Shows problems on stderr, coloured on a terminal, followed by their number; nothing where there are none.
pub fn report(problems: &Problems) {
    if problems.is_empty() {
        return;
    }
    let color = is_coloured(&stderr());
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    _ = writeln!(stderr().lock(), "{}{count} {noun} in {}", problems.render(color), problems.file());
}

/// Whether what is printed there may have colours: on a terminal, unless `NO_COLOR` is set (no-color.org).
pub fn is_coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
