//! Scripts: Rhai in every shard. A decider: a transaction and the world go in, a changed transaction and perhaps an
//! answer come out.
//!
//! [`Engine`] is the language with the gateway's [`objects`] and [`functions`] in it, watched over by a [`budget`];
//! it makes a [`program`] of each file of the [`library`]. A route's [`Chain`] runs its programs' hooks in order on
//! a [`Transaction`], which stands on the [`stage`] while they run. [`check`](mod@check) finds what is wrong with scripts before
//! any request meets them; a [`suite`] of tests runs offline.

mod budget;
mod captures;
mod chain;
mod check;
mod depth;
mod engine;
mod fault;
mod functions;
mod library;
mod objects;
mod program;
mod stage;
mod suite;

#[cfg(test)]
mod tests;

pub use chain::{Chain, HookOutcome, OnFault, ScriptAnswer};
pub use check::{ScriptProblem, check};
pub use engine::Engine;
pub use fault::ScriptFault;
pub use stage::{Hook, LogLine, ScriptHost};
pub use suite::{Suite, Test};
