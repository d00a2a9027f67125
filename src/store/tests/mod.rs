//! The link as shards see it.

mod cluster;
mod embedded;
mod redis;
mod server;
mod shard;
mod tls;
