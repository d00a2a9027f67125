//! Why a deadline has ended an operation, as an error that tells it.

use std::fmt;
use std::io;

/// Why an operation was ended before its peer had done its part. As an `io::Error` it is of the kind `TimedOut`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Nothing moved for the operation's timeout.
    Stalled,
    /// The peer was slower than the minimum rate.
    TooSlow,
    /// The time of the whole exchange is up.
    Overdue,
}

impl Expiry {
    /// What ended an operation with this error; `None`: no deadline did.
    pub fn of(error: &io::Error) -> Option<Expiry> {
        let known = || error.get_ref()?.downcast_ref().copied();
        known().or_else(|| (error.kind() == io::ErrorKind::TimedOut).then_some(Expiry::Stalled))
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expiry::Stalled => "nothing moved for too long",
            Expiry::TooSlow => "slower than min_rate",
            Expiry::Overdue => "the route's timeout has passed",
        })
    }
}

impl std::error::Error for Expiry {}

impl From<Expiry> for io::Error {
    fn from(expiry: Expiry) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, expiry)
    }
}
