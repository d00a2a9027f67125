//! Regular expressions. Linear to the text for one search, and timed for all.
//!
//! Backreferences and look-around are missing: with them, one short text could take for ever.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::rc::Rc;

use foldhash::fast::RandomState;
use lru::LruCache;
use rhai::Engine;

use crate::script::budget::Budget;
use crate::script::call_stage::{CallStage, ScriptResult, script_error};
use crate::script::pattern::{Pattern, PatternError, SearchTime, TimeOver};

/// Compiled patterns that an engine keeps. Scripts have few; where a pattern is made of a request's parts, the least
/// recently used one goes.
const MAX_PATTERNS: NonZeroUsize = NonZeroUsize::new(128).expect("128 is not 0");

/// The compiled patterns of one engine, with the automatons that they build as they meet texts.
struct PatternCache(RefCell<LruCache<String, Rc<Pattern>, RandomState>>);

impl PatternCache {
    fn new() -> PatternCache {
        PatternCache(RefCell::new(LruCache::with_hasher(MAX_PATTERNS, RandomState::default())))
    }

    fn get(&self, pattern: &str) -> ScriptResult<Rc<Pattern>> {
        let mut kept = self.0.borrow_mut();
        if let Some(known) = kept.get(pattern) {
            return Ok(known.clone());
        }
        let new = Rc::new(Pattern::new(pattern).map_err(|error| unusable(pattern, &error))?);
        kept.put(pattern.to_owned(), new.clone());
        Ok(new)
    }
}

fn unusable(pattern: &str, error: &PatternError) -> Box<rhai::EvalAltResult> {
    const SHOWN: usize = 100;
    let mut shown: String = pattern.chars().take(SHOWN).collect();
    if shown.len() < pattern.len() {
        shown.push('…');
    }
    script_error(format!("{shown:?} {error}"))
}

pub fn register(engine: &mut Engine, stage: &Rc<CallStage>) {
    let patterns = Rc::new(PatternCache::new());
    let (on, budget) = (patterns.clone(), stage.budget.clone());
    engine.register_fn("regex_match", move |text: &str, pattern: &str| -> ScriptResult<bool> {
        let is_left = || budget.is_time_left();
        let matches = on.get(pattern)?.is_match(text, SearchTime::new(&is_left));
        matches.map_err(|TimeOver| budget.time_error())
    });
    let (budget, max_bytes) = (stage.budget.clone(), engine.max_string_size());
    engine.register_fn("regex_replace", move |text: &str, pattern: &str, with: &str| {
        replace(text, (pattern, &*patterns.get(pattern)?), with, max_bytes, &budget)
    });
}

/// Replaces all matches by `with`, in which `$1` and `${name}` are groups, unless the text could be longer than
/// `max_bytes` then.
fn replace(
    text: &str,
    (source, pattern): (&str, &Pattern),
    with: &str,
    max_bytes: usize,
    budget: &Budget,
) -> ScriptResult<String> {
    let time_over = |TimeOver| budget.time_error();
    let is_left = || budget.is_time_left();
    let references = with.matches('$').count();
    let search = pattern.search(text, references > 0, SearchTime::new(&is_left));
    let mut search = search.map_err(|error| unusable(source, &error))?;
    let mut out = String::new();
    let mut copied = 0;
    while let Some(found) = search.next().map_err(time_over)? {
        out.push_str(&text[copied..found.start]);
        copied = found.end;
        // Looked at before it is written: no group is longer than the match.
        let longest = references.saturating_mul(found.len()).saturating_add(with.len());
        if out.len().saturating_add(longest) > max_bytes {
            let message = format!("`regex_replace` could make a string longer than {max_bytes} bytes");
            return Err(script_error(message));
        }
        if references == 0 {
            out.push_str(with);
        } else {
            search.expand(found, with, &mut out).map_err(time_over)?;
        }
    }
    out.push_str(&text[copied..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_compiled_once_and_shared() {
        let patterns = PatternCache::new();
        let first = patterns.get("a+").unwrap();
        assert!(Rc::ptr_eq(&first, &patterns.get("a+").unwrap()));
        assert!(!Rc::ptr_eq(&first, &patterns.get("b+").unwrap()));
    }

    #[test]
    fn patterns_are_bounded_and_those_in_use_stay() {
        let patterns = PatternCache::new();
        let used = patterns.get("in use").unwrap();
        for number in 0..10 * MAX_PATTERNS.get() {
            patterns.get(&format!("made up {number}")).unwrap();
            assert!(Rc::ptr_eq(&used, &patterns.get("in use").unwrap()));
        }
        assert_eq!(patterns.0.borrow().len(), MAX_PATTERNS.get());
    }
}
