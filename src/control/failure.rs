//! Why a command cannot be carried out, in the words its user sees. Built wherever it happens, printed in one place:
//! `cli`.

use crate::config::Problems;

/// Whose fault it is; as a number, the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The configuration or the command line is wrong.
    Input = 1,
    /// The machine refused: a port is taken, a permission is missing.
    Machine = 2,
}

/// Any failure but errors in a configuration, which are [`Problems`].
#[derive(Debug)]
pub struct StartFailure {
    pub kind: FailureKind,
    /// What went wrong and where: one line.
    pub cause: String,
    /// What to do about it: one line.
    pub hint: String,
}

/// Why a command of the command line failed.
#[derive(Debug)]
pub enum CommandFailure {
    /// The configuration has errors.
    Config(Problems),
    /// Anything else.
    Refused(StartFailure),
}

impl From<StartFailure> for CommandFailure {
    fn from(failure: StartFailure) -> CommandFailure {
        CommandFailure::Refused(failure)
    }
}

impl StartFailure {
    /// What the user wrote is wrong.
    pub fn input(cause: impl Into<String>, hint: impl Into<String>) -> StartFailure {
        StartFailure { kind: FailureKind::Input, cause: cause.into(), hint: hint.into() }
    }

    /// The machine refused.
    pub fn machine(cause: impl Into<String>, hint: impl Into<String>) -> StartFailure {
        StartFailure { kind: FailureKind::Machine, cause: cause.into(), hint: hint.into() }
    }

    /// A thread could not be started: the one refusal that every part of the start can meet.
    pub fn thread(name: &str, error: &std::io::Error) -> StartFailure {
        StartFailure::machine(
            format!("cannot start the thread `{name}`: {error}"),
            "raise the limit of threads (`ulimit -u`, the cgroup's pids.max) or ask for fewer shards",
        )
    }
}
