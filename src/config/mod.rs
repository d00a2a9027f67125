//! TOML text becomes a [`Plan`], or a list of problems with their places.
//!
//! The way of a text: the TOML parser makes a tree with spans; `shape` holds its keys and kinds of values against the
//! one table in `schema`; readers, one file a section, turn what is left into the plan. They read through `section`,
//! and ask the modules that will use a value (`http`, `route`, `auth`, `store`, `script`) whether it makes sense there.
//! No reader stops at the first problem.
//!
//! # How a key is added
//! 1. Its row in `schema::SCHEMA`, with the kind of its value: `.policy()` if `[defaults]` may have it as well as a
//!    route, `.matching()` if it decides which requests a route matches.
//! 2. Its field in [`plan`](crate::plan); a setting that is one of some words has them as its
//!    [`Keyword`](crate::plan::Keyword).
//! 3. Its line in the reader of its section, with the default. That of a policy is in `policies::read`, and needs
//!    nothing more to be replaced or switched off by a route.
//! 4. The code that uses the field.
//!
//! A test asks for its row in `docs/configuration.md`.
//!
//! # Order
//! Sections are read in the order of what they need: routes come after upstreams, providers and consumers, because
//! they name them; scripts come last, because only those that routes name are checked. A value with an error gets a
//! stand-in, so that reading goes on; a plan with any error is never returned.

mod address;
mod auth;
mod breaker;
mod consumer;
mod cors;
mod edits;
mod health;
mod jwt;
mod mask;
mod pattern;
mod policies;
mod problems;
mod rate_limit;
mod retry;
mod route;
mod schema;
mod scripts;
mod secret;
mod section;
mod server;
mod shape;
mod store;
mod summary;
mod units;
mod upstream;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

pub use problems::{Problem, Problems, TextSpan};
pub use summary::summary;

use crate::plan::{Plan, ScriptFile};
use section::Section;

/// A configuration that can be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub plan: Plan,
    /// What should be shown to whoever wrote it.
    pub warnings: Problems,
}

/// What reading a configuration needs to know beside its text: the environment and files.
/// Tests have one of their own, so that no test of the configuration touches files or the environment.
pub trait Outside {
    /// A variable of the environment.
    fn env(&self, name: &str) -> Option<Vec<u8>>;
    /// A file's bytes.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Whether a directory is there.
    fn is_dir(&self, path: &Path) -> bool;
    /// All `*.rhai` files below a directory, by rising name; those in its `tests` are no scripts of routes.
    fn scripts(&self, dir: &Path) -> io::Result<Vec<ScriptFile>>;
}

/// Reads a file, and everything that a run would load.
///
/// # Errors
/// The file cannot be read or is not UTF-8, and all that [`parse`] finds.
pub fn load(path: &Path, outside: &dyn Outside) -> Result<Loaded, Problems> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        let hint = "name a readable file with --config FILE";
        Problems::of_file(&file, format!("cannot read the configuration: {error}"), hint)
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, &file, outside),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let mut problems = Problems::new(&file, &text);
            problems.error(at..at + 1, "this is not UTF-8").with_hint("save the file as UTF-8");
            Err(problems)
        }
    }
}

/// Reads a text; `file` stands for it in problems.
///
/// # Errors
/// All problems at once, ordered by place, warnings among them. A syntax error alone keeps the rest from being
/// checked.
pub fn parse(text: &str, file: &str, outside: &dyn Outside) -> Result<Loaded, Problems> {
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
    shape::check(tree.get_ref(), &mut problems);
    let plan = read(&Section::new(tree.get_ref(), 0..0), outside, &mut problems);
    let problems = problems.sorted();
    if problems.has_errors() { Err(problems) } else { Ok(Loaded { plan, warnings: problems }) }
}

/// Always returns a plan; whether it means anything is for the caller to see from `problems`.
fn read(root: &Section<'_>, outside: &dyn Outside, problems: &mut Problems) -> Plan {
    let (server, listen) = server::server(root, problems);
    let admin = server::admin(root, &listen, outside, problems);
    let log = server::log(root, outside, problems);
    let store = store::store(root, outside, problems);
    let (jwts, jwt_names) = jwt::jwts(root, outside, problems);
    let api_keys = consumer::api_keys(root, problems);
    let consumers = consumer::consumers(root, outside, problems);
    let (upstreams, mut names) = upstream::upstreams(root, problems);
    let routes = route::routes(root, &mut names, &jwt_names, problems);
    // A script can send its requests to any of them, and so may a route whose `upstream` is misspelt.
    let misspelt = root.sections("route").iter().any(|section| section.misspells("route", "upstream"));
    if !misspelt && routes.iter().all(|route| route.scripts.is_empty()) {
        names.report_unused(problems);
    }
    consumer::report_unknown_limits(root, &routes, problems);
    jwt::check_claim_headers(root, &api_keys, &routes, problems);
    let scripts = scripts::load_files(scripts::scripts(root, problems), root, &routes, outside, problems);
    if !root.has("route") && !root.misspells("", "route") {
        problems
            .warning(0..0, "there is no route: every request will be answered with 404")
            .with_hint("add a `[[route]]` with a `path` and an `upstream`");
    }
    Plan { server, admin, log, scripts, store, jwts, api_keys, consumers, upstreams, routes }
}
