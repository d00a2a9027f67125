//! HTTP/1 with clients (RFC 9112): connections and their keep-alive, request heads, bodies and responses on the wire.

pub mod connection;
pub mod refuse;
mod relay;
mod request;
mod sink;
pub mod source;

pub use sink::WireResponse;
pub use source::WireBody;
