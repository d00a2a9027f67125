//! The functions that scripts can call, one file per subject.
//!
//! Each is bounded in time and memory by itself, because the budget is checked between operations, not within a
//! function.

mod counters;
mod crypto;
mod disabled;
pub mod json;
mod regex;
mod strings;
mod text;
mod time;

use std::rc::Rc;

use super::call_stage::CallStage;

pub(super) use disabled::DISABLED;

pub(super) fn register(engine: &mut rhai::Engine, stage: &Rc<CallStage>) {
    counters::register(engine, stage);
    crypto::register(engine);
    json::register(engine, stage);
    regex::register(engine, stage);
    strings::register(engine, stage);
    text::register(engine, stage);
    time::register(engine, stage);
    disabled::register(engine);
}
