//! What policies, scripts and protocols share: one request and its response on their way through the gateway, as
//! plain data.

mod client;
mod transaction;

pub use client::{Client, Peer};
pub use transaction::{Content, Edits, RequestMeta, Transaction};
