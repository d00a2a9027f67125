//! What every floor may use: reasons and errors, ids, hashes, memory, time, suggestions, faults for tests.

pub mod cpu_time;
pub mod error;
pub mod fault;
pub mod hash;
pub mod id;
pub mod memory;
pub mod suggest;
pub mod time;
