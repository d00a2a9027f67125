//! Imports go down only: a folder below `src/` may use what stands on lower floors, never its own floor's neighbours and
//! never what is above it.

use super::assert_none;
use super::source::{self, Source, is_word};

/// The floors from the top down. A new folder needs its place here.
const FLOORS: [&[&str]; 14] = [
    &["main", "lib"],
    // Words typed, turned into one call.
    &["cli"],
    // Users of all that is below.
    &["demo", "import", "script_test"],
    // Threads, signals, reload, admin.
    &["control"],
    // One core: accept, connections, protocols.
    &["shard"],
    // The list of steps, in and out.
    &["pipeline"],
    // TOML to plan; asks the deciders directly.
    &["config"],
    &["script"],
    // Plain data that steps, scripts and protocols share.
    &["exchange"],
    &["upstream", "store"],
    &["net", "log"],
    // Deciders: bytes and `now` in, decisions out.
    &["route", "auth", "balance", "limit", "cache", "metrics"],
    &["http"],
    &["plan"],
];
const GROUND: &[&str] = &["base"];

/// What is allowed against the order: who uses whom, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// From 0, the ground, upwards.
fn floor_of(folder: &str) -> Option<usize> {
    let floors = std::iter::once(&GROUND).chain(FLOORS.iter().rev());
    floors.enumerate().find(|(_, folders)| folders.contains(&folder)).map(|(floor, _)| floor)
}

/// The top-level folders that a file names, and where: behind `crate::`, or behind as many `super::` as lead there.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let supers = "super::".repeat(source.depth());
    // A file of tests may stand elsewhere than its module.
    let roots = if source.is_test_file { vec!["crate::"] } else { vec!["crate::", &supers] };
    let mut found = Vec::new();
    for root in roots {
        for (at, _) in source.code.match_indices(root) {
            let before = source.code[..at].bytes().next_back();
            // `$crate::` is a macro's user's; `super::` before it is a longer chain, found by its beginning.
            if !before.is_some_and(|byte| is_word(byte) || byte == b'$' || byte == b':') {
                names(&source.code[at + root.len()..], &mut |name| found.push((at, name.to_owned())));
            }
        }
    }
    found
}

/// The first word of each path that begins here: one, or those of a group in braces.
fn names<'a>(rest: &'a str, found: &mut dyn FnMut(&'a str)) {
    let word = |text: &'a str| {
        let text = text.trim_start();
        &text[..text.bytes().take_while(|byte| is_word(*byte)).count()]
    };
    if !rest.starts_with('{') {
        return found(word(rest));
    }
    let mut depth = 0;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        match (byte, depth) {
            (b'{' | b',', 1) => found(word(&rest[at + 1..])),
            (_, 0) => return,
            _ => {}
        }
    }
}

#[test]
fn imports_go_down_only() {
    let mut violations = Vec::new();
    let mut unused: Vec<_> = EXCEPTIONS.iter().map(|(from, to, _)| (*from, *to)).collect();
    for source in source::all() {
        let Some(folder) = source.folder() else { continue };
        let Some(own) = floor_of(folder) else {
            violations.push(format!("{}:1: src/{folder} has no floor in tests/tidy/floors.rs", source.path));
            continue;
        };
        for (at, import) in imports(&source) {
            // What is no folder is an item of lib.rs or of a macro's.
            let Some(floor) = floor_of(&import) else { continue };
            if import == folder || floor < own {
                continue;
            }
            unused.retain(|pair| *pair != (folder, import.as_str()));
            if !EXCEPTIONS.iter().any(|(from, to, _)| (*from, *to) == (folder, &import)) {
                violations.push(format!(
                    "{}: imports go down only: {folder} (floor {own}) uses {import} (floor {floor})",
                    source.place(at)
                ));
            }
        }
    }
    violations.extend(unused.iter().map(|(from, to)| {
        format!("tests/tidy/floors.rs: {from} does not use {to} any more: take the exception out")
    }));
    assert_none(&violations);
}

#[test]
fn every_folder_of_a_group_counts() {
    let mut found = Vec::new();
    names("{base::{a, b}, plan::C as D,\n log}; net", &mut |name| found.push(name));
    assert_eq!(found, ["base", "plan", "log"]);
}
