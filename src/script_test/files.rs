//! Which files of tests there are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::control::StartFailure;

const EXTENSION: &str = "rhai";

/// The files that `paths` name, those of a directory by rising name; without any, those in `tests` below the
/// directory of the scripts.
///
/// # Errors
/// A path that is not there or cannot be read; no file at all.
pub fn find(paths: &[PathBuf], scripts_dir: &Path) -> Result<Vec<PathBuf>, StartFailure> {
    let usual = [scripts_dir.join("tests")];
    let (paths, is_usual) = if paths.is_empty() { (&usual[..], true) } else { (paths, false) };
    let mut found = Vec::new();
    for path in paths {
        match files_of(path) {
            Ok(files) => found.extend(files),
            Err(error) if is_usual && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(path, &error)),
        }
    }
    if found.is_empty() {
        let places: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(none_in(&places.join(", ")));
    }
    Ok(found)
}

/// Reads one.
///
/// # Errors
/// A file that cannot be read, or is no UTF-8.
pub fn read(path: &Path) -> Result<String, StartFailure> {
    fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

/// That nothing was there to be run.
pub fn none_in(places: &str) -> StartFailure {
    let hint = "write functions `fn test_NAME()` into a .rhai file there; docs/scripting.md shows how";
    StartFailure::input(format!("there are no tests in {places}"), hint)
}

fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    // Follows links: tests may be kept elsewhere.
    if fs::metadata(path)?.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &io::Error) -> StartFailure {
    let hint = "PATH is a file of tests or a directory of them, relative to the working directory";
    StartFailure::input(format!("cannot read the tests in {}: {error}", path.display()), hint)
}
