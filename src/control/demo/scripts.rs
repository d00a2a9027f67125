//! The shipped policies, for a demo that is started outside the repository.

/// By name, as `[scripts] dir` would have them.
pub const ALL: &[(&str, &str)] = &[];
