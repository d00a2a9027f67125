//! The link as shards use it.

mod cluster;
mod embedded;
mod faults;
mod redis;
mod server;
mod shard;
mod tls;
