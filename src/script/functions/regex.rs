//! Regular expressions, in time linear to the text whatever the pattern.
//!
//! Backreferences and look-around are missing for that reason: with them, one text could hold up a shard.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::rc::Rc;

use foldhash::fast::RandomState;
use lru::LruCache;
use regex::{Regex, RegexBuilder};
use rhai::Engine;

use crate::script::call_stage::{ScriptResult, script_error};

/// Compiled patterns that an engine keeps. Scripts have few; where a pattern is made of a request's parts, the least
/// recently used one goes.
const MAX_PATTERNS: NonZeroUsize = NonZeroUsize::new(128).expect("128 is not 0");
/// Longer patterns are refused: what is parsed takes many times its text.
const MAX_PATTERN_BYTES: usize = 8 * 1024;
/// Bytes that one compiled pattern may take, and the states of its lazily built automaton as much again.
const MAX_BYTES: usize = 256 * 1024;

/// The compiled patterns of one engine.
///
/// Lent by reference count and never cloned: a `Regex` owns the cache in which it builds its automaton as it meets
/// texts, and a clone starts with an empty one, which costs many times the match itself.
struct PatternCache(RefCell<LruCache<String, Rc<Regex>, RandomState>>);

impl PatternCache {
    fn new() -> PatternCache {
        PatternCache(RefCell::new(LruCache::with_hasher(MAX_PATTERNS, RandomState::default())))
    }

    fn get(&self, pattern: &str) -> ScriptResult<Rc<Regex>> {
        let mut kept = self.0.borrow_mut();
        if let Some(regex) = kept.get(pattern) {
            return Ok(regex.clone());
        }
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(script_error(format!(
                "a regular expression is longer than {MAX_PATTERN_BYTES} bytes"
            )));
        }
        let built = RegexBuilder::new(pattern).size_limit(MAX_BYTES).dfa_size_limit(MAX_BYTES).build();
        let regex =
            built.map_err(|error| script_error(format!("{pattern:?} is no regular expression: {error}")))?;
        let regex = Rc::new(regex);
        kept.put(pattern.to_owned(), regex.clone());
        Ok(regex)
    }
}

pub fn register(engine: &mut Engine) {
    let patterns = Rc::new(PatternCache::new());
    let on = patterns.clone();
    engine.register_fn("regex_match", move |text: &str, pattern: &str| -> ScriptResult<bool> {
        Ok(on.get(pattern)?.is_match(text))
    });
    let max_bytes = engine.max_string_size();
    engine.register_fn("regex_replace", move |text: &str, pattern: &str, with: &str| {
        replace(text, &*patterns.get(pattern)?, with, max_bytes)
    });
}

/// Replaces all matches by `with`, in which `$1` and `${name}` are groups, unless the text could be longer than
/// `max_bytes` then.
fn replace(text: &str, regex: &Regex, with: &str, max_bytes: usize) -> ScriptResult<String> {
    let references = with.matches('$').count();
    let mut out = String::new();
    let mut copied = 0;
    // Looked at before it is written: no group is longer than the match.
    let check_room = |out: &String, match_bytes: usize| {
        let longest = references.saturating_mul(match_bytes).saturating_add(with.len());
        match out.len().saturating_add(longest) > max_bytes {
            true => Err(script_error(format!(
                "`regex_replace` could make a string longer than {max_bytes} bytes"
            ))),
            false => Ok(()),
        }
    };
    if references == 0 {
        // Where groups lie takes longer to find out than where the match does.
        for found in regex.find_iter(text) {
            out.push_str(&text[copied..found.start()]);
            copied = found.end();
            check_room(&out, found.len())?;
            out.push_str(with);
        }
    } else {
        for captures in regex.captures_iter(text) {
            let found = captures.get(0).expect("group 0 is the match itself");
            out.push_str(&text[copied..found.start()]);
            copied = found.end();
            check_room(&out, found.len())?;
            captures.expand(with, &mut out);
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

    #[test]
    fn replacements_with_and_without_groups() {
        let replaced = |pattern, with| replace("a1b22", &Regex::new(pattern).unwrap(), with, 100).unwrap();
        assert_eq!(replaced("[0-9]+", "N"), "aNbN");
        assert_eq!(replaced("[0-9]+", ""), "ab");
        assert_eq!(replaced("x", "N"), "a1b22");
        assert_eq!(replaced("", "-"), "-a-1-b-2-2-");
        assert_eq!(replaced("([a-z])([0-9]+)", "$2$1"), "1a22b");
        assert_eq!(replaced("[0-9]", "$$"), "a$b$$");
    }
}
