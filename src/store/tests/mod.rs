//! The link as shards use it.

mod cluster;
mod embedded;
mod faults;
mod redis;
mod redis_buckets;
mod server;
mod shard;
mod tls;
