//! What policies, scripts and protocols share: a request and its response on their way through the gateway.

mod transaction;

pub use transaction::{Content, Edits, Transaction};
