//! Functions of the language that scripts of a gateway may not use: each fails with the reason.

use rhai::{Dynamic, Engine};

use crate::script::call_stage::{ScriptResult, script_error};

/// The names of the functions, and the error of each.
pub const DISABLED: [(&str, &str); 3] = [
    ("sleep", "a script cannot sleep: it would hold up every connection of its shard"),
    ("timestamp", "`timestamp` is withheld: `now` and `now_rfc3339` tell the time"),
    ("exit", "use `return` instead of `exit`, which would end a call without its answer"),
];

pub fn register(engine: &mut Engine) {
    let [sleep, timestamp, exit] =
        DISABLED.map(|(_, why)| move || -> ScriptResult<()> { Err(script_error(why)) });
    engine.register_fn("sleep", move |_: i64| sleep());
    engine.register_fn("sleep", move |_: f64| sleep());
    engine.register_fn("timestamp", timestamp);
    engine.register_fn("exit", exit);
    engine.register_fn("exit", move |_: Dynamic| exit());
}
