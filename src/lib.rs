//! Ringway: a sharded, thread-per-core API gateway.
//!
//! Imports go down only, by floor:
//!
//! | floor | modules | holds |
//! |---|---|---|
//! | 6 | `cli` | words typed, turned into one call |
//! | 5 | `control` | threads, signals, reload, admin, names resolved, demo |
//! | 4 | `shard` | accept, connections, the exchange, relay, tunnel, drain |
//! | 3 | `policy` | the steps of a route, in order |
//! | 2 | `net`, `upstream`, `store`, `log` | sockets and deadlines, pools, the view that shards share, writers |
//! | 1 | `http`, `route`, `balance`, `auth`, `limit`, `script`, `metrics` | deciders: bytes and `now` in, decisions out; no monoio, no clock, no socket |
//! | 0 | `config`, `base` | TOML to a `Plan`; reasons and errors, time, ids |

pub mod auth;
pub mod balance;
pub mod base;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod exchange;
pub mod http;
pub mod limit;
pub mod log;
pub mod metrics;
pub mod net;
pub mod pipeline;
pub mod plan;
pub mod route;
pub mod script;
pub mod script_test;
pub mod shard;
pub mod store;
pub mod upstream;
