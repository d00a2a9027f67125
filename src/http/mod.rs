//! HTTP/1 grammar (RFC 9110, 9112) without I/O: bytes in, meaning or a refusal out.
//!
//! In the order in which a request meets them: [`head::HeadScanner`] finds one head in a buffer,
//! [`head::parse_request`] parses it into a flat list of [`fields`], [`framing`] decides how its body is delimited,
//! [`host`] and [`path`] give the normal forms that routes are matched on, [`hygiene`] tells which fields are not passed
//! on, and [`body`] follows the body to its end, trailer section included ([`chunked`]). [`write`](mod@write) renders
//! heads and chunks. A message that two recipients could read differently is refused, never repaired.

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
