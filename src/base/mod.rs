//! What every floor may use: reasons and errors, ids, time.

pub mod error;
pub mod time;
