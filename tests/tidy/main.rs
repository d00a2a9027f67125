//! What the repository says of itself is true, and the rules of its code are kept: read from the files, no gateway runs.

mod calls;
mod docs;
mod files;
mod floors;
mod source;

use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Fails with all that was found, one `file:line: rule` a line.
#[track_caller]
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{} found:\n{}", violations.len(), violations.join("\n"));
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
