//! Scripts in Rhai, one engine per shard. No I/O of its own: hooks change a transaction and may answer it; clock, log and
//! counters are the [`ScriptHost`]'s.
//!
//! [`Engine`] is the language with the gateway's [`objects`] and [`functions`], limited by a [`budget`]; it compiles each
//! file of the [`library`] to a [`program`]. A route's [`Chain`] runs its programs' hooks in order on a
//! [`Transaction`], which is in the [`call_stage`] while they run. [`check`](mod@check) finds what is wrong with scripts before
//! any request meets them; a [`suite`] of tests runs offline.
//!
//! Scripts are trusted not to be hostile to the gateway's owner, but not to be free of errors: whatever one does, a
//! call ends within its budget and leaves the shard as it was.

mod budget;
mod call_stage;
mod chain;
mod check;
mod depth;
mod engine;
mod fault;
mod functions;
mod header_check;
mod library;
mod objects;
mod pattern;
mod pause;
mod program;
mod saved_captures;
mod suite;
mod time_limit;

#[cfg(test)]
mod tests;

pub use call_stage::{Hook, LogLine, ScriptHost};
pub use chain::{Chain, HookOutcome, OnFault, ScriptAnswer};
pub use check::{ScriptProblem, check};
pub use engine::Engine;
pub use fault::ScriptFault;
pub use suite::{Suite, Test};
