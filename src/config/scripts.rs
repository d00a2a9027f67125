//! `[scripts]`, and the scripts that routes name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::problems::{Fault, Problems, quoted};
use super::section::{At, Section};
use super::{Outside, schema};
use crate::plan::{OnError, RoutePlan, ScriptFile, ScriptSettings};

const MIB: u64 = 1 << 20;

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

/// `[scripts]` without its files.
pub(super) fn scripts(root: &Section<'_>, problems: &mut Problems) -> ScriptSettings {
    let section = root.section("scripts");
    let on_error = [("fail", OnError::Fail), ("ignore", OnError::Ignore)];
    // The range fits both types.
    let max_operations = section.integer("max_operations", 100..=100_000_000, problems).map(|n| n as u64);
    let max_body = section.size("max_body", 1024..=64 * MIB, problems).map(|n| n as usize);
    ScriptSettings {
        dir: PathBuf::from(section.text("dir").map_or("scripts", |(dir, _)| dir)),
        max_operations: max_operations.unwrap_or(20_000),
        max_time: section.duration("max_time", problems).unwrap_or(Duration::from_millis(50)),
        max_body: max_body.unwrap_or(MIB as usize),
        on_error: section.choice("on_error", &on_error, problems).unwrap_or(OnError::Fail),
        env: section.texts("env").into_iter().map(|(name, _)| name.into()).collect(),
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
    report(&scripts, outside.check_scripts(&scripts, &used), problems);
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
    match schema::closest(name, names()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if scripts.files.is_empty() => format!("{dir} has no files that end in .rhai"),
        None => format!("{dir} has {}", names().take(12).collect::<Vec<_>>().join(", ")),
    }
}

fn report(scripts: &ScriptSettings, found: Vec<ScriptProblem>, problems: &mut Problems) {
    let mut by_script: BTreeMap<String, Vec<(usize, usize, Fault)>> = BTreeMap::new();
    for ScriptProblem { script, line, column, message, hint } in found {
        by_script.entry(script).or_default().push((line, column, Fault { message, hint }));
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
