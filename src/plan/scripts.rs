//! `[scripts]`: the scripts and what a call of one may cost.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Keyword;

/// `[scripts]`, and the files it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptSettings {
    pub dir: PathBuf,
    /// Operations of one call.
    pub max_operations: u64,
    /// Of one call: the time that it runs.
    pub max_time: Duration,
    /// Bytes of a body that is buffered for a hook.
    pub max_body: usize,
    pub on_error: OnError,
    /// The variables of the environment that scripts may read.
    pub env: Vec<Arc<str>>,
    /// Every script of the directory, by rising name; empty where no route has scripts.
    pub files: Vec<Arc<ScriptFile>>,
}

/// What becomes of a request whose script fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// 500 `script_error`.
    Fail,
    /// It goes on as if the hook had not run.
    Ignore,
}

impl Keyword for OnError {
    const WORDS: &'static [(&'static str, Self)] = &[("fail", OnError::Fail), ("ignore", OnError::Ignore)];
}

/// A script as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptFile {
    /// Relative to the directory: `lib/jwt.rhai`.
    pub name: Arc<str>,
    pub text: Arc<str>,
}
