//! Injected faults, for tests of how panics are contained. In debug builds only, and only when the environment variable
//! `RINGWAY_FAULT` is `panic`.

/// Where to panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// In the connection of the request.
    Connection,
    /// Wherever an answer of the gateway's own is made for the request: also in the answer that says so.
    Answer,
    /// In the shard, outside of any connection.
    Shard,
}

/// The fault that a request path selects.
#[cfg(debug_assertions)]
pub fn requested(path: &[u8]) -> Option<InjectedFault> {
    let fault = match path {
        b"/__fault/panic" => InjectedFault::Connection,
        b"/__fault/answer" => InjectedFault::Answer,
        b"/__fault/shard" => InjectedFault::Shard,
        _ => return None,
    };
    std::env::var_os("RINGWAY_FAULT").is_some_and(|value| value == "panic").then_some(fault)
}

/// Release builds inject no faults.
#[cfg(not(debug_assertions))]
pub fn requested(_path: &[u8]) -> Option<InjectedFault> {
    None
}
