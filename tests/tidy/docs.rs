//! What README and docs/ show is true: configurations load, names exist, links lead somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ringway::log::access::{AccessEntry, write_json};

use super::ROOT;

const METRIC_NAMES: &str = include_str!("../../src/metrics/names.rs");
const OPERATION: &str = include_str!("../../docs/operation.md");
const OBSERVABILITY: &str = include_str!("../../docs/observability.md");
const ARCHITECTURE: &str = include_str!("../../docs/architecture.md");

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
            // The one with scripts of its own is loaded with them, by tests/e2e/scripts/test_command.rs.
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
    for beginning in ["ringway_", "process_"] {
        assert_eq!(words(OBSERVABILITY, beginning), words(METRIC_NAMES, beginning));
    }
    let known = words(METRIC_NAMES, "ringway_");
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("the document is read");
        let unknown: Vec<_> = words(&text, "ringway_").difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{} names {unknown:?}", document.display());
    }
}

/// The lines below a heading, up to the next one.
fn section<'a>(text: &'a str, heading: &'a str) -> impl Iterator<Item = &'a str> {
    let below = text.lines().skip_while(move |line| *line != heading).skip(1);
    below.take_while(|line| !line.starts_with('#'))
}

/// The first word in backticks of each item of the numbered list below a heading.
fn listed(heading: &'static str) -> Vec<&'static str> {
    let items = section(ARCHITECTURE, heading).filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    items.map(|item| item.split('`').nth(1).expect("an item begins with a name in backticks")).collect()
}

#[test]
fn the_steps_documented_are_those_of_the_pipeline_in_their_order() {
    use ringway::pipeline::steps::{WAY_IN, WAY_OUT};
    assert_eq!(listed("### The way in"), WAY_IN.map(|step| format!("{step:?}")));
    assert_eq!(listed("### The way out"), WAY_OUT.map(|step| format!("{step:?}")));
}

#[test]
fn the_tree_documented_has_every_folder() {
    let rows = section(ARCHITECTURE, "## The tree").filter_map(|line| line.strip_prefix("| `"));
    let folders = rows.filter_map(|row| row.split_once("/`")).map(|(folder, _)| folder);
    let documented: BTreeSet<_> = folders.filter(|folder| !folder.contains('/')).map(str::to_owned).collect();
    let source = std::fs::read_dir(Path::new(ROOT).join("src")).expect("src/ is there");
    let folders = source.map(|entry| entry.expect("an entry")).filter(|entry| entry.path().is_dir());
    let there: BTreeSet<_> =
        folders.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(documented, there);
}

#[test]
fn every_field_of_the_access_log_is_documented_in_order() {
    let rows = section(OBSERVABILITY, "## Access log").filter_map(|line| line.strip_prefix("| `"));
    // Fields of one kind share a row: `a`, `b`.
    let names = rows.flat_map(|row| row.split(" |").next().unwrap_or_default().split("`, `"));
    let documented: Vec<_> = names.map(|name| name.trim_end_matches('`')).collect();
    let entry = AccessEntry {
        request_id: b"",
        client_ip: std::net::Ipv4Addr::LOCALHOST.into(),
        method: b"",
        host: b"",
        path: b"",
        version_minor: 1,
        status: 0,
        reason: None,
        route: None,
        upstream: None,
        target: None,
        consumer: None,
        duration: Duration::ZERO,
        upstream_time: None,
        bytes_in: 0,
        bytes_out: 0,
        cache: None,
        retries: 0,
        shard: 0,
        generation: 0,
    };
    let mut line = Vec::new();
    write_json(&entry, b"", &mut line);
    let line = String::from_utf8(line).expect("it is text");
    // No value has a comma in it.
    let written: Vec<_> = line.split(['{', ',']).filter_map(|member| member.split('"').nth(1)).collect();
    assert_eq!(documented, written);
}

#[test]
fn every_reason_is_documented_with_its_status() {
    for reason in ringway::base::error::Reason::ALL {
        let row = format!("| {} | `{}` |", reason.status(), reason.as_str());
        assert!(OPERATION.contains(&row), "docs/operation.md has no row {row}");
    }
}

/// The anchor of a heading, as GitHub makes it.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("the document is read");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            if link.contains("://") {
                continue;
            }
            let target = match path {
                "" => document.clone(),
                path => document.parent().expect("a document is in a folder").join(path),
            };
            assert!(target.exists(), "{}: {link}", document.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).expect("what has anchors is text");
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(headings.any(|line| anchor_of(line) == anchor), "{}: {link}", document.display());
            }
        }
    }
}
