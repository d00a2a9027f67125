//! Bounded versions of the language's string functions whose result may be much larger than their input.

use std::rc::Rc;

use rhai::{Array, Dynamic, Engine, ImmutableString};

use crate::script::budget::Budget;
use crate::script::call_stage::{CallStage, ScriptResult, script_error};

pub fn register(engine: &mut Engine, stage: &Rc<CallStage>) {
    register_replace(engine);
    register_split(engine, stage);
    register_split_rev(engine, stage);
    let budget = stage.budget.clone();
    engine.register_fn("to_chars", move |text: &str| collect(&budget, text.chars()));
}

fn register_replace(engine: &mut Engine) {
    let max_bytes = engine.max_string_size();
    engine.register_fn("replace", move |text: &mut ImmutableString, find: &str, with: &str| {
        replace(text, find, with, max_bytes)
    });
    engine.register_fn("replace", move |text: &mut ImmutableString, find: &str, with: char| {
        replace(text, find, with.encode_utf8(&mut [0; 4]), max_bytes)
    });
    engine.register_fn("replace", move |text: &mut ImmutableString, find: char, with: &str| {
        replace(text, find.encode_utf8(&mut [0; 4]), with, max_bytes)
    });
    engine.register_fn("replace", move |text: &mut ImmutableString, find: char, with: char| {
        replace(text, find.encode_utf8(&mut [0; 4]), with.encode_utf8(&mut [0; 4]), max_bytes)
    });
}

fn replace(text: &mut ImmutableString, find: &str, with: &str, max_bytes: usize) -> ScriptResult<()> {
    if with.len() > find.len() {
        let grown = text.matches(find).count().saturating_mul(with.len() - find.len());
        if text.len().saturating_add(grown) > max_bytes {
            return Err(script_error(format!("`replace` would make a string longer than {max_bytes} bytes")));
        }
    }
    if !text.is_empty() {
        *text = text.replace(find, with).into();
    }
    Ok(())
}

fn register_split(engine: &mut Engine, stage: &Rc<CallStage>) {
    let budget = stage.budget.clone();
    engine.register_fn("split", move |text: &mut ImmutableString| match text.is_empty() {
        true => collect(&budget, [text.clone()]),
        false => collect(&budget, text.split_whitespace()),
    });
    let budget = stage.budget.clone();
    engine.register_fn("split", move |text: &mut ImmutableString, at: &str| match text.is_empty() {
        true => collect(&budget, [text.clone()]),
        false => collect(&budget, text.split(at)),
    });
    let budget = stage.budget.clone();
    engine.register_fn("split", move |text: &mut ImmutableString, at: char| collect(&budget, text.split(at)));
    let budget = stage.budget.clone();
    engine.register_fn("split", move |text: &mut ImmutableString, at: &str, limit: i64| {
        collect(&budget, text.splitn(segments(limit), at))
    });
    let budget = stage.budget.clone();
    engine.register_fn("split", move |text: &mut ImmutableString, at: char, limit: i64| {
        collect(&budget, text.splitn(segments(limit), at))
    });
}

fn register_split_rev(engine: &mut Engine, stage: &Rc<CallStage>) {
    let budget = stage.budget.clone();
    engine.register_fn("split_rev", move |text: &mut ImmutableString, at: &str| match text.is_empty() {
        true => collect(&budget, [text.clone()]),
        false => collect(&budget, text.rsplit(at)),
    });
    let budget = stage.budget.clone();
    engine.register_fn("split_rev", move |text: &mut ImmutableString, at: char| {
        collect(&budget, text.rsplit(at))
    });
    let budget = stage.budget.clone();
    engine.register_fn("split_rev", move |text: &mut ImmutableString, at: &str, limit: i64| {
        collect(&budget, text.rsplitn(segments(limit), at))
    });
    let budget = stage.budget.clone();
    engine.register_fn("split_rev", move |text: &mut ImmutableString, at: char, limit: i64| {
        collect(&budget, text.rsplitn(segments(limit), at))
    });
}

/// The number of segments, at least one.
fn segments(limit: i64) -> usize {
    usize::try_from(limit.max(1)).unwrap_or(usize::MAX)
}

/// The pieces as an array; memory is checked at each.
fn collect<T: Into<Dynamic>>(budget: &Budget, pieces: impl IntoIterator<Item = T>) -> ScriptResult<Array> {
    let mut list = Array::new();
    for piece in pieces {
        list.push(piece.into());
        budget.check_memory()?;
    }
    Ok(list)
}
