//! Upstreams: their targets, the connections kept to them, and what they do wrong.

mod faults_and_targets;
mod pool;
