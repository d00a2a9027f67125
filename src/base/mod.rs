//! What every floor may use: reasons and errors, ids, memory, time, faults for tests.

pub mod error;
pub mod fault;
pub mod id;
pub mod memory;
pub mod time;
