//! Faults on purpose, so that tests can see a panic contained. Debug builds only, and only when the
//! environment variable `RINGWAY_FAULT` is `panic`.

/// Where a test wants a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// In the connection that asks for it.
    Connection,
    /// In the shard, outside of any connection.
    Shard,
}

/// The fault that a request path asks for.
#[cfg(debug_assertions)]
pub fn asked_for(path: &[u8]) -> Option<InjectedFault> {
    let fault = match path {
        b"/__fault/panic" => InjectedFault::Connection,
        b"/__fault/shard" => InjectedFault::Shard,
        _ => return None,
    };
    std::env::var_os("RINGWAY_FAULT").is_some_and(|value| value == "panic").then_some(fault)
}

/// Release builds know no faults.
#[cfg(not(debug_assertions))]
pub fn asked_for(_path: &[u8]) -> Option<InjectedFault> {
    None
}
