//! HTTP/1 with clients: connections, keep-alive, lingering closes.

pub mod connection;
