//! The language's own string functions that can make much out of little, within bounds.

use std::rc::Rc;

use rhai::{Array, Dynamic, Engine, ImmutableString};

use crate::script::budget::Budget;
use crate::script::call_stage::{CallStage, ScriptResult, thrown};

pub fn register(engine: &mut Engine, stage: &Rc<CallStage>) {
    register_replace(engine);
    register_split(engine, stage);
    register_split_rev(engine, stage);
    let budget = stage.budget.clone();
    engine.register_fn("to_chars", move |text: &str| gather(&budget, text.chars()));
}

fn register_replace(engine: &mut Engine) {
    let most = engine.max_string_size();
    engine.register_fn("replace", move |text: &mut ImmutableString, find: &str, with: &str| {
        replace(text, find, with, most)
    });
    engine.register_fn("replace", move |text: &mut ImmutableString, find: &str, with: char| {
        replace(text, find, with.encode_utf8(&mut [0; 4]), most)
    });
    engine.register_fn("replace", move |text: &mut ImmutableString, find: char, with: &str| {
        replace(text, find.encode_utf8(&mut [0; 4]), with, most)
    });
    engine.register_fn("replace", move |text: &mut ImmutableString, find: char, with: char| {
        replace(text, find.encode_utf8(&mut [0; 4]), with.encode_utf8(&mut [0; 4]), most)
    });
}

fn replace(text: &mut ImmutableString, find: &str, with: &str, most: usize) -> ScriptResult<()> {
    if with.len() > find.len() {
        let grown = text.matches(find).count().saturating_mul(with.len() - find.len());
        if text.len().saturating_add(grown) > most {
            return Err(thrown(format!("`replace` would make a string longer than {most} bytes")));
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
        true => gather(&budget, [text.clone()]),
        false => gather(&budget, text.split_whitespace()),
    });
    let budget = stage.budget.clone();
    engine.register_fn("split", move |text: &mut ImmutableString, at: &str| match text.is_empty() {
        true => gather(&budget, [text.clone()]),
        false => gather(&budget, text.split(at)),
    });
    let budget = stage.budget.clone();
    engine.register_fn("split", move |text: &mut ImmutableString, at: char| gather(&budget, text.split(at)));
    let budget = stage.budget.clone();
    engine.register_fn("split", move |text: &mut ImmutableString, at: &str, most: i64| {
        gather(&budget, text.splitn(segments(most), at))
    });
    let budget = stage.budget.clone();
    engine.register_fn("split", move |text: &mut ImmutableString, at: char, most: i64| {
        gather(&budget, text.splitn(segments(most), at))
    });
}

fn register_split_rev(engine: &mut Engine, stage: &Rc<CallStage>) {
    let budget = stage.budget.clone();
    engine.register_fn("split_rev", move |text: &mut ImmutableString, at: &str| match text.is_empty() {
        true => gather(&budget, [text.clone()]),
        false => gather(&budget, text.rsplit(at)),
    });
    let budget = stage.budget.clone();
    engine.register_fn("split_rev", move |text: &mut ImmutableString, at: char| {
        gather(&budget, text.rsplit(at))
    });
    let budget = stage.budget.clone();
    engine.register_fn("split_rev", move |text: &mut ImmutableString, at: &str, most: i64| {
        gather(&budget, text.rsplitn(segments(most), at))
    });
    let budget = stage.budget.clone();
    engine.register_fn("split_rev", move |text: &mut ImmutableString, at: char, most: i64| {
        gather(&budget, text.rsplitn(segments(most), at))
    });
}

/// At least the text as a whole.
fn segments(most: i64) -> usize {
    usize::try_from(most.max(1)).unwrap_or(usize::MAX)
}

/// The pieces as an array, as long as there is room for them.
fn gather<T: Into<Dynamic>>(budget: &Budget, pieces: impl IntoIterator<Item = T>) -> ScriptResult<Array> {
    let mut list = Array::new();
    for piece in pieces {
        list.push(piece.into());
        budget.room()?;
    }
    Ok(list)
}
