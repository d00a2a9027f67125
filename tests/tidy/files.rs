//! What holds for files as a whole: their first line, their length, and what no committed file says.

use std::collections::BTreeMap;
use std::process::Command;

use super::source;
use super::{ROOT, assert_none, read};

/// Lines of a file that is not one of tests, its own tests included.
const MAX_LINES: usize = 500;

/// Longer ones, each with the reason why it is not divided.
const LONGER: &[(&str, &str)] = &[];

#[test]
fn every_rust_file_begins_by_saying_what_it_is_for() {
    let sources = source::all();
    let silent = sources.iter().filter(|source| !source.text.starts_with("//! "));
    let violations =
        silent.map(|source| format!("{}:1: a file begins with `//!` and its purpose", source.path));
    assert_none(&violations.collect::<Vec<_>>());
}

#[test]
fn production_files_are_of_a_length_that_can_be_read() {
    let long: BTreeMap<String, usize> = source::all()
        .into_iter()
        .filter(|source| !source.is_test_file)
        .map(|source| (source.path, source.text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .collect();
    let listed = |path: &str| LONGER.iter().any(|(listed, _)| *listed == path);
    let new = long.iter().filter(|(path, _)| !listed(path)).map(|(path, lines)| {
        format!("{path}:{}: a file has at most {MAX_LINES} lines, this one {lines}", MAX_LINES + 1)
    });
    let gone = LONGER.iter().filter(|(path, _)| !long.contains_key(*path));
    let gone = gone.map(|(path, _)| format!("tests/tidy/files.rs: take {path} from the list"));
    assert_none(&new.chain(gone).collect::<Vec<_>>());
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
