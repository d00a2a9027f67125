//! What the language brings but scripts of a gateway may not do: each says so instead of working.

use rhai::{Dynamic, Engine};

use crate::script::call_stage::{ScriptResult, thrown};

/// The functions' names, and what to know of each.
pub const WITHHELD: [(&str, &str); 3] = [
    ("sleep", "a script cannot sleep: it would hold up every connection of its shard"),
    ("timestamp", "`timestamp` is withheld: `now` and `now_rfc3339` tell the time"),
    ("exit", "use `return` instead of `exit`, which would end a call without its answer"),
];

pub fn register(engine: &mut Engine) {
    let [sleep, timestamp, exit] = WITHHELD.map(|(_, why)| move || -> ScriptResult<()> { Err(thrown(why)) });
    engine.register_fn("sleep", move |_: i64| sleep());
    engine.register_fn("sleep", move |_: f64| sleep());
    engine.register_fn("timestamp", timestamp);
    engine.register_fn("exit", exit);
    engine.register_fn("exit", move |_: Dynamic| exit());
}
