//! `[scripts]`, and the scripts that routes name.
//!
//! Scripts are part of the configuration: one that does not compile keeps it from being run, at the start and on a
//! reload.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Outside;
use super::problems::{Problems, ValueError, quoted};
use super::section::{At, Section};
use crate::base::suggest::closest;
use crate::plan::{OnError, RoutePlan, ScriptFile, ScriptSettings};
use crate::script::{self, ScriptProblem};

const MIB: u64 = 1 << 20;

/// `[scripts]` without its files.
/// By default 20,000 operations, 50 ms and 1 MiB of a body for each call.
pub(super) fn scripts(root: &Section<'_>, problems: &mut Problems) -> ScriptSettings {
    let section = root.section("scripts");
    // The range fits both types.
    let max_operations = section.integer("max_operations", 100..=100_000_000, problems).map(|n| n as u64);
    let max_body = section.size("max_body", 1024..=64 * MIB, problems).map(|n| n as usize);
    ScriptSettings {
        dir: PathBuf::from(section.text("dir").map_or("scripts", |(dir, _)| dir)),
        max_operations: max_operations.unwrap_or(20_000),
        max_time: section.duration("max_time", problems).unwrap_or(Duration::from_millis(50)),
        max_body: max_body.unwrap_or(MIB as usize),
        on_error: section.keyword("on_error", problems).unwrap_or(OnError::Fail),
        env: section.strings("env"),
        files: Vec::new(),
    }
}

/// Reads the files, if any route has scripts, and has them checked.
pub(super) fn load_files(
    mut scripts: ScriptSettings,
    root: &Section<'_>,
    routes: &[Arc<RoutePlan>],
    outside: &dyn Outside,
    problems: &mut Problems,
) -> ScriptSettings {
    let named = named(root);
    if named.is_empty() {
        return scripts;
    }
    match outside.scripts(&scripts.dir) {
        Ok(files) => scripts.files = files.into_iter().map(Arc::new).collect(),
        Err(error) => {
            let span = root.section("scripts").span_of("dir");
            let message =
                format!("cannot read the scripts in {}: {error}", quoted(&scripts.dir.to_string_lossy()));
            problems.error(span, message).with_hint(
                "`[scripts] dir` names the directory; paths are relative to the working directory",
            );
            return scripts;
        }
    }
    for (name, span) in &named {
        if !scripts.files.iter().any(|file| *file.name == **name) {
            let hint = missing_hint(name, &scripts);
            problems.error(span.clone(), format!("there is no script {}", quoted(name))).with_hint(hint);
        }
    }
    let mut used: Vec<Arc<str>> = routes.iter().flat_map(|route| &route.scripts).cloned().collect();
    used.sort_unstable();
    used.dedup();
    used.retain(|name| scripts.files.iter().any(|file| file.name == *name));
    report(&scripts, script::check(&scripts, &used), problems);
    scripts
}

/// Every name in a list of scripts, with its place.
fn named<'a>(root: &Section<'a>) -> Vec<At<&'a str>> {
    let routes = root.sections("route").into_iter().flat_map(|route| route.texts("scripts"));
    root.section("defaults").texts("scripts").into_iter().chain(routes).collect()
}

fn missing_hint(name: &str, scripts: &ScriptSettings) -> String {
    let names = || scripts.files.iter().map(|file| &*file.name);
    let dir = scripts.dir.display();
    match closest(name, names()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if scripts.files.is_empty() => format!("{dir} has no files that end in .rhai"),
        None => format!("{dir} has {}", names().take(12).collect::<Vec<_>>().join(", ")),
    }
}

/// Grouped by file, so that each file's text is indexed once.
fn report(scripts: &ScriptSettings, found: Vec<ScriptProblem>, problems: &mut Problems) {
    let mut by_script: BTreeMap<String, Vec<(usize, usize, ValueError)>> = BTreeMap::new();
    for ScriptProblem { script, line, column, message, hint } in found {
        by_script.entry(script).or_default().push((line, column, ValueError { message, hint }));
    }
    for (script, errors) in by_script {
        let text = scripts
            .files
            .iter()
            .find(|file| *file.name == *script)
            .map_or("", |file: &Arc<ScriptFile>| &file.text);
        problems.errors_elsewhere(&scripts.dir.join(&script).to_string_lossy(), text, errors);
    }
}
