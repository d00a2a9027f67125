//! Ringway: a sharded, thread-per-core API gateway.
//!
//! Imports go down only; `tests/tidy/floors.rs` holds that. From the top:
//!
//! | folder | holds |
//! |---|---|
//! | [`cli`] | the command line, turned into one call each |
//! | [`demo`], [`script_test`] | users of what is below: the demo, offline tests of scripts |
//! | [`control`] | the control thread: start, reload, supervision, admin, names, key sets |
//! | [`shard`] | one core: event loop, connections, HTTP/1, attempts at upstreams |
//! | [`pipeline`] | the ordered list of [steps](pipeline::steps), one file a policy |
//! | [`config`] | TOML to a plan, or problems with their places |
//! | [`script`] | the script engine |
//! | [`exchange`] | one request and its response, as plain data |
//! | [`upstream`], [`store`] | endpoints and their pools; what shards and gateways share |
//! | [`net`], [`log`] | sockets, deadlines, buffers; access log and diagnostics |
//! | [`route`], [`auth`], [`balance`], [`limit`], [`metrics`] | deciders: bytes and `now` in, decisions out |
//! | [`http`] | the grammar of HTTP/1, a decider too |
//! | [`plan`] | what a configuration means |
//! | [`base`] | errors and reasons, time, ids, hashes, memory |
//!
//! The way of a request and of a rate limit, the reasons and a glossary: `docs/architecture.md`.

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
