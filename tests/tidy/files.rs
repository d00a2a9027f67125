//! What holds for files as a whole: their first line, their length, and what no committed file says.

use std::process::Command;

use super::source;
use super::{ROOT, assert_none, read};

/// Lines of a file that is not one of tests, its own tests included.
const MAX_LINES: usize = 500;

/// Longer ones, each with the reason why it is not divided.
const LONGER: &[(&str, &str)] = &[];

/// Files that do not say what they are for yet.
const SILENT: &[&str] = &[
    "src/http/chunked/tests.rs",
    "src/http/framing/tests.rs",
    "src/http/head/tests.rs",
    "src/http/path/tests.rs",
];

#[test]
fn every_rust_file_begins_by_saying_what_it_is_for() {
    let mut violations = Vec::new();
    for source in source::all() {
        match (source.text.starts_with("//! "), SILENT.contains(&source.path.as_str())) {
            (false, false) => {
                violations.push(format!("{}:1: a file begins with `//!` and its purpose", source.path));
            }
            (true, true) => {
                violations.push(format!("tests/tidy/files.rs: take {} from the silent ones", source.path));
            }
            _ => {}
        }
    }
    assert_none(&violations);
}

#[test]
fn production_files_are_of_a_length_that_can_be_read() {
    let mut violations = Vec::new();
    for source in source::all().iter().filter(|source| !source.is_test_file) {
        let lines = source.text.lines().count();
        let is_listed = LONGER.iter().any(|(path, _)| *path == source.path);
        if lines > MAX_LINES && !is_listed {
            violations.push(format!(
                "{}:{}: more than {MAX_LINES} lines: {lines}",
                source.path,
                MAX_LINES + 1
            ));
        }
        if lines <= MAX_LINES && is_listed {
            violations
                .push(format!("tests/tidy/files.rs: {} is short now: take it from the list", source.path));
        }
    }
    assert_none(&violations);
}

/// The files that are committed, or would be by `git add`; `None` where there is no git.
fn committed() -> Option<Vec<String>> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(ROOT).output().ok()?;
    let names = String::from_utf8(listed.stdout).expect("names are UTF-8");
    let exists = |name: &&str| !name.is_empty() && std::path::Path::new(ROOT).join(name).is_file();
    listed.status.success().then(|| names.split('\0').filter(exists).map(str::to_owned).collect())
}

#[test]
fn no_file_names_a_path_of_a_machine_or_the_host_of_a_registry() {
    // Put together here, so that this file does not name them either.
    let forbidden = [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["/ho", "me/"],
        ["index.cra", "tes.io"],
        ["static.cra", "tes.io"],
        ["py", "pi.org"],
        ["pythonho", "sted.org"],
        ["registry.npm", "js.org"],
        ["proxy.go", "lang.org"],
    ]
    .map(|parts| parts.concat());
    let Some(names) = committed() else { return eprintln!("skipped: there is no git here") };
    let mut violations = Vec::new();
    for name in names {
        let bytes = std::fs::read(std::path::Path::new(ROOT).join(&name)).expect("it is there");
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            for word in forbidden.iter().filter(|word| line.contains(word.as_str())) {
                violations.push(format!("{name}:{}: no file names {word}", number + 1));
            }
        }
    }
    assert_none(&violations);
}

#[test]
fn every_package_comes_from_the_public_registry() {
    const PUBLIC: &str = "registry+https://github.com/rust-lang/crates.io-index";
    let lock = read("Cargo.lock");
    let sources = lock.lines().enumerate().filter(|(_, line)| line.starts_with("source = "));
    let others = sources.filter(|(_, line)| *line != format!("source = \"{PUBLIC}\""));
    let violations: Vec<String> =
        others.map(|(number, line)| format!("Cargo.lock:{}: not {PUBLIC}: {line}", number + 1)).collect();
    assert_none(&violations);
}
