//! TOML text becomes a `Plan`, or a list of problems with their places.
//!
//! The way of a text: the TOML parser's tree with spans; `schema` holds every key against one table; readers
//! (`server`, `upstream`, `route`) turn what is left into the `Plan`, and note what its values get wrong.
//! Nobody stops at the first problem.

mod address;
mod edits;
mod pattern;
pub mod plan;
mod policies;
mod problems;
mod route;
pub mod schema;
mod section;
mod server;
mod summary;
mod units;
mod upstream;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

pub use plan::Plan;
pub use problems::{Problem, Problems, Span};
pub use summary::summary;

use section::Section;

/// A configuration that can be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub plan: Plan,
    /// What should be shown to whoever wrote it.
    pub warnings: Problems,
}

/// A route that no request reaches, as indices into the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow {
    pub dead: usize,
    /// The route that takes all of its requests.
    pub by: usize,
    /// Both match the same.
    pub same: bool,
}

/// Finds the routes that no request reaches. How routes match is decided a floor above, so it is handed in.
pub type Shadowed<'a> = &'a dyn Fn(&[Arc<plan::Route>]) -> Vec<Shadow>;

/// What reading a configuration needs to know of the world outside its text.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    pub shadowed: Shadowed<'a>,
    /// Whether a directory is there.
    pub is_dir: &'a dyn Fn(&Path) -> bool,
}

/// Reads a file, and everything that a run would load.
pub fn load(path: &Path, shadowed: Shadowed<'_>) -> Result<Loaded, Problems> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        let hint = "name a readable file with --config FILE";
        Problems::of_file(&file, format!("cannot read the configuration: {error}"), hint)
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, &file, Outside { shadowed, is_dir: &|path| path.is_dir() }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let mut problems = Problems::new(&file, &text);
            problems.error(at..at + 1, "this is not UTF-8").with_hint("save the file as UTF-8");
            Err(problems)
        }
    }
}

/// The decider behind [`load`]. `file` is only shown.
pub fn parse(text: &str, file: &str, outside: Outside<'_>) -> Result<Loaded, Problems> {
    let mut problems = Problems::new(file, text);
    let (tree, errors) = toml::de::DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What comes after a syntax error may be misread, so nothing else is said of this file.
        for error in errors {
            let hint = "this is not TOML yet; a missing quote or bracket above it is the usual cause";
            let span = error.span().unwrap_or(0..0);
            problems.error(span, error.message()).with_hint(hint);
        }
        return Err(problems.sorted());
    }
    schema::check(tree.get_ref(), &mut problems);
    let plan = read(&Section::new(tree.get_ref(), 0..0), outside, &mut problems);
    let problems = problems.sorted();
    if problems.has_errors() { Err(problems) } else { Ok(Loaded { plan, warnings: problems }) }
}

fn read(root: &Section<'_>, outside: Outside<'_>, problems: &mut Problems) -> Plan {
    let (server, listen) = server::server(root, problems);
    let admin = server::admin(root, &listen, problems);
    let log = server::log(root, outside.is_dir, problems);
    let (upstreams, mut names) = upstream::upstreams(root, problems);
    let routes = route::routes(root, &mut names, outside.shadowed, problems);
    names.report_unused(problems);
    if !root.has("route") && !root.misspells("", "route") {
        problems
            .warning(0..0, "there is no route: every request will be answered with 404")
            .with_hint("add a `[[route]]` with a `path` and an `upstream`");
    }
    Plan { server, admin, log, upstreams, routes }
}
