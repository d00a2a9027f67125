//! `counter(name)`: counters shared by all shards and nodes.

use std::rc::Rc;

use rhai::{Engine, ImmutableString};

use crate::script::call_stage::{CallStage, script_error};

/// Longer names are refused.
const MAX_NAME_BYTES: usize = 128;

/// A handle of a counter, by name.
#[derive(Clone, Debug)]
struct CounterHandle(ImmutableString);

pub fn register(engine: &mut Engine, stage: &Rc<CallStage>) {
    engine.register_type_with_name::<CounterHandle>("Counter");
    engine.register_fn("counter", |name: ImmutableString| {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(|c: char| c.is_control()) {
            return Err(script_error(format!(
                "a counter's name has 1 to {MAX_NAME_BYTES} bytes and no control character"
            )));
        }
        Ok(CounterHandle(name))
    });
    let on = stage.clone();
    engine.register_fn("add", move |counter: &mut CounterHandle, n: i64| {
        if !on.host.add_to_counter(&on.route_name(), &counter.0, n) {
            return Err(script_error(format!(
                "no room for counter {:?}: the route's scripts have named too many, or all routes together have",
                &*counter.0
            )));
        }
        Ok(())
    });
    let on = stage.clone();
    engine.register_get("value", move |counter: &mut CounterHandle| {
        on.host.counter(&on.route_name(), &counter.0)
    });
}
