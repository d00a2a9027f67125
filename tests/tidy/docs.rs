//! What README and docs/ show is true: configurations load, names exist, links lead somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ROOT;

const METRIC_NAMES: &str = include_str!("../../src/metrics/names.rs");
const OPERATION: &str = include_str!("../../docs/operation.md");

fn documents() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    let mut found = vec![root.join("README.md")];
    let docs = std::fs::read_dir(root.join("docs")).expect("docs/ is there");
    found.extend(
        docs.map(|entry| entry.expect("a file").path())
            .filter(|path| path.extension() == Some("md".as_ref())),
    );
    found
}

/// The fenced blocks of a document: info string, line, text.
fn blocks(text: &str) -> Vec<(String, usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => open = Some((info.trim().to_owned(), number + 1, String::new())),
            (None, Some((.., body))) => {
                body.push_str(line);
                body.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

fn check(config: &Path) -> (bool, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["check", "--config"])
        .arg(config)
        .current_dir(ROOT)
        .output()
        .expect("the binary runs");
    (run.status.success(), String::from_utf8_lossy(&run.stderr).into_owned())
}

#[test]
fn every_complete_configuration_shown_is_accepted_by_check() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut checked = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("the document is read");
        for (info, line, body) in blocks(&text) {
            // The one with scripts of its own is loaded with them, by tests/script_tests.rs.
            if info == "toml" && body.contains("[[route]]") && !document.ends_with("docs/scripting.md") {
                let file = dir.path().join("shown.toml");
                std::fs::write(&file, body).expect("the block is written");
                let (accepted, problems) = check(&file);
                assert!(accepted, "{}:{line}:\n{problems}", document.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 0, "no document shows a configuration");
}

#[test]
fn the_shipped_configurations_are_accepted_by_check_without_a_word() {
    for name in ["config/gateway.toml", "config/demo.toml"] {
        assert_eq!(check(&Path::new(ROOT).join(name)), (true, String::new()), "{name}");
    }
}

/// Words made of the letters of metric names, with this beginning.
fn words(text: &str, beginning: &str) -> BTreeSet<String> {
    let split = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    split
        .filter(|word| word.len() > beginning.len() && word.starts_with(beginning))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_metrics_documented_are_the_metrics_there_are() {
    assert_eq!(words(OPERATION, "ringway_"), words(METRIC_NAMES, "ringway_"));
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).expect("README.md is there");
    let known = words(METRIC_NAMES, "ringway_");
    let unknown: Vec<_> = words(&readme, "ringway_").difference(&known).cloned().collect();
    assert!(unknown.is_empty(), "README.md names {unknown:?}");
}

#[test]
fn every_reason_is_documented_with_its_status() {
    for reason in ringway::base::error::Reason::ALL {
        let row = format!("| {} | `{}` |", reason.status(), reason.as_str());
        assert!(OPERATION.contains(&row), "docs/operation.md has no row {row}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("the document is read");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let target = document.parent().expect("a document is in a folder").join(path);
            assert!(target.exists(), "{}: {link}", document.display());
        }
    }
}
