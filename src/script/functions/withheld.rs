//! What the language brings but scripts of a gateway may not do: each says so instead of working.

use rhai::{Dynamic, Engine};

use crate::script::stage::{Outcome, thrown};

pub fn register(engine: &mut Engine) {
    // They would hold up every connection of the shard.
    engine.register_fn("sleep", |_: i64| -> Outcome<()> { Err(thrown("a script cannot sleep")) });
    engine.register_fn("sleep", |_: f64| -> Outcome<()> { Err(thrown("a script cannot sleep")) });
    // Ends a call without its answer; `return` says what was meant.
    engine.register_fn("exit", || -> Outcome<()> { Err(thrown("use `return` instead of `exit`")) });
    engine.register_fn("exit", |_: Dynamic| -> Outcome<()> { Err(thrown("use `return` instead of `exit`")) });
}
