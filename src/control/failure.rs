//! Why the process cannot go on, as its user is told it. Made here and there, printed in one place: `cli`.

use crate::config::Problems;

/// Whose move it is, and so the exit code (1 and 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The configuration or the words typed are wrong.
    Input = 1,
    /// The machine refused: a port is taken, a permission is missing.
    Machine = 2,
}

/// A refusal that ends the process.
#[derive(Debug)]
pub struct StartFailure {
    pub fault: FailureKind,
    /// What went wrong and where: one line.
    pub cause: String,
    /// What to do about it: one line.
    pub hint: String,
}

/// Why a start did not come to serve.
#[derive(Debug)]
pub enum CommandFailure {
    /// The configuration is wrong.
    Config(Problems),
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
        StartFailure { fault: FailureKind::Input, cause: cause.into(), hint: hint.into() }
    }

    /// The machine refused.
    pub fn machine(cause: impl Into<String>, hint: impl Into<String>) -> StartFailure {
        StartFailure { fault: FailureKind::Machine, cause: cause.into(), hint: hint.into() }
    }

    /// A thread could not be started: the one refusal that every part of the start can meet.
    pub fn thread(name: &str, error: &std::io::Error) -> StartFailure {
        StartFailure::machine(
            format!("cannot start the thread `{name}`: {error}"),
            "raise the limit of threads (`ulimit -u`, the cgroup's pids.max) or ask for fewer shards",
        )
    }
}
