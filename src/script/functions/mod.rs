//! The functions that scripts call: one file a subject.

mod counters;
mod crypto;
pub mod json;
mod regex;
mod strings;
mod text;
mod time;
mod withheld;

use std::rc::Rc;

use super::call_stage::CallStage;

pub(super) use withheld::WITHHELD;

pub(super) fn register(engine: &mut rhai::Engine, stage: &Rc<CallStage>) {
    counters::register(engine, stage);
    crypto::register(engine);
    json::register(engine, stage);
    regex::register(engine);
    strings::register(engine, stage);
    text::register(engine, stage);
    time::register(engine, stage);
    withheld::register(engine);
}
