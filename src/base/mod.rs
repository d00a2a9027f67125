//! What every floor may use: reasons and errors, ids, time, faults for tests.

pub mod error;
pub mod fault;
pub mod id;
pub mod time;
