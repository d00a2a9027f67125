//! Upstreams: their targets, the connections kept to them, and what they do wrong.

mod endpoints;
mod faults_and_targets;
mod pool;
