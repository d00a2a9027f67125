//! Values that may stand outside of the file: `"env:NAME"`, `"file:PATH"`. No problem shows what was found there.
//!
//! Read when the configuration is, so a missing secret is a problem of the start or the reload, never of a request.

use std::path::Path;
use std::sync::Arc;

use super::Outside;
use super::problems::{Problems, ValueError, quoted};
use super::section::At;
use crate::plan::Secret;

/// The bytes that a value is or stands for; a value that cannot be read, or is empty, is reported.
pub(super) fn secret(
    (text, span): At<&str>,
    outside: &dyn Outside,
    problems: &mut Problems,
) -> Option<Secret> {
    let found = match text.split_once(':') {
        Some(("env", name)) => of_environment(name, outside),
        Some(("file", path)) => of_file(path, outside),
        _ if text.is_empty() => Err(ValueError::new(
            "an empty secret",
            "write \"env:NAME\" or \"file:PATH\", or the secret itself",
        )),
        _ => Ok(text.as_bytes().to_vec()),
    };
    problems.accept(span, found).map(|bytes| Secret(bytes.into()))
}

/// A secret that must be text.
pub(super) fn secret_text(at: At<&str>, outside: &dyn Outside, problems: &mut Problems) -> Option<Arc<str>> {
    let span = at.1.clone();
    let secret = secret(at, outside, problems)?;
    let text = secret.text().map(Into::into);
    if text.is_none() {
        problems.error(span, "what stands there is not UTF-8 text").with_hint("save it as UTF-8");
    }
    text
}

/// An empty variable is an error: it is mostly one that a deployment forgot to fill, and an empty secret lets everyone
/// in.
fn of_environment(name: &str, outside: &dyn Outside) -> Result<Vec<u8>, ValueError> {
    let hint = || format!("set {name} before the gateway starts, or write \"file:PATH\"");
    match outside.env(name) {
        Some(value) if !value.is_empty() => Ok(value),
        Some(_) => {
            Err(ValueError::new(format!("the environment variable {} is empty", quoted(name)), hint()))
        }
        None => Err(ValueError::new(format!("there is no environment variable {}", quoted(name)), hint())),
    }
}

/// The file's bytes but for the line end that editors put behind the last line.
fn of_file(path: &str, outside: &dyn Outside) -> Result<Vec<u8>, ValueError> {
    let mut bytes = outside.read(Path::new(path)).map_err(|error| {
        let hint =
            "paths are relative to the working directory; the gateway's user must be able to read the file";
        ValueError::new(format!("cannot read the file {}: {error}", quoted(path)), hint)
    })?;
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    match bytes.is_empty() {
        true => Err(ValueError::new(format!("the file {} is empty", quoted(path)), "put the secret into it")),
        false => Ok(bytes),
    }
}
