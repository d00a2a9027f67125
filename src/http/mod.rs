//! HTTP/1 grammar (RFC 9110, 9112) as pure deciders: bytes in, meaning or a refusal out.
//!
//! The order a request takes: [`head::HeadScanner`] finds one head in a buffer, [`head::parse_request`] reads it
//! into a flat list of [`fields`], [`framing`] says how its body arrives, [`host`] and [`path`] give the normal
//! forms that routes are matched on, [`hygiene`] names what is not passed on, and [`chunked`] follows a chunked
//! body without holding any of it. Whatever two peers could read differently is refused, never repaired.

pub mod body;
pub mod chunked;
pub mod coding;
pub mod fields;
pub mod framing;
pub mod head;
pub mod host;
pub mod hygiene;
pub mod name;
pub mod path;
pub mod write;
