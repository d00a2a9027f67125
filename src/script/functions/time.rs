//! The current time, which does not change within a call.

use std::rc::Rc;

use rhai::Engine;

use crate::base::time::rfc3339_ms;
use crate::script::call_stage::{CallStage, text};

pub fn register(engine: &mut Engine, stage: &Rc<CallStage>) {
    let on = stage.clone();
    engine.register_fn("now", move || i64::try_from(on.host.unix_ms() / 1000).unwrap_or(i64::MAX));
    let on = stage.clone();
    engine.register_fn("now_rfc3339", move || text(&rfc3339_ms(on.host.unix_ms())));
}
