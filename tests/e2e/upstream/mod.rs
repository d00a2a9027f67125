//! Upstreams: their targets, the connections kept to them, and what they do wrong.

mod breakers;
mod endpoints;
mod faults_and_targets;
mod health;
mod max_inflight;
mod pool;
mod retries;
