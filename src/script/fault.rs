//! An error of a script and its position.

use std::fmt;

use rhai::{EvalAltResult, ParseError, Position};

/// Longer messages are cut.
const MAX_MESSAGE_BYTES: usize = 1024;

/// An error of a script with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptFault {
    /// The script's name, relative to `[scripts] dir`; the imported one where the error is in there.
    pub script: String,
    /// From 1; 0: unknown.
    pub line: usize,
    /// In characters, from 1; 0: the line as a whole.
    pub column: usize,
    pub message: String,
}

impl ScriptFault {
    pub(super) fn at(script: &str, place: Position, message: impl Into<String>) -> ScriptFault {
        let mut message = message.into();
        // A script may throw a text as long as a body.
        if message.len() > MAX_MESSAGE_BYTES {
            let end = (0..=MAX_MESSAGE_BYTES).rev().find(|at| message.is_char_boundary(*at));
            message.truncate(end.unwrap_or(0));
            message.push('…');
        }
        ScriptFault {
            script: script.to_owned(),
            line: place.line().unwrap_or(0),
            column: place.position().unwrap_or(0),
            message,
        }
    }

    /// Adds the hook's position where the engine has none, as for a call that exceeded its limits.
    pub(super) fn or_at(mut self, script: &str, place: Position) -> ScriptFault {
        if self.line == 0 && self.script == script {
            self.line = place.line().unwrap_or(0);
            self.column = place.position().unwrap_or(0);
        }
        self
    }

    pub(super) fn of_parser(script: &str, error: &ParseError) -> ScriptFault {
        ScriptFault::at(script, error.1, error.0.to_string())
    }

    /// The innermost error: its own position, not that of the call it happened in.
    #[expect(clippy::boxed_local, reason = "the engine's errors are boxed, and unwrapped box by box")]
    pub(super) fn of_run(script: &str, mut error: Box<EvalAltResult>) -> ScriptFault {
        let mut script = script.to_owned();
        loop {
            match *error {
                EvalAltResult::ErrorInFunctionCall(_, source, inner, _) => {
                    if !source.is_empty() {
                        script = source;
                    }
                    error = inner;
                }
                EvalAltResult::ErrorInModule(module, inner, _) => {
                    if !module.is_empty() {
                        script = module;
                    }
                    error = inner;
                }
                _ => break,
            }
        }
        let place = error.take_position();
        let message = match &*error {
            // Thrown by the script or by one of the gateway's functions: the text alone.
            EvalAltResult::ErrorRuntime(thrown, _) => thrown.to_string(),
            EvalAltResult::ErrorTerminated(why, _) => format!("the script was ended: {why}"),
            other => other.to_string(),
        };
        ScriptFault::at(&script, place, message)
    }
}

impl fmt::Display for ScriptFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.script, self.line, self.column, self.message)
    }
}

impl std::error::Error for ScriptFault {}
