//! Regular expressions, in time linear to the text whatever the pattern.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use regex::{Regex, RegexBuilder};
use rhai::Engine;

use crate::script::stage::{Outcome, thrown};

/// Patterns kept compiled. Scripts have few; where a pattern is made of a request's parts, the keeping starts over.
const MOST_KEPT: usize = 128;
/// Bytes that one compiled pattern may take.
const MOST_BYTES: usize = 256 * 1024;

#[derive(Default)]
struct Patterns(RefCell<HashMap<String, Regex>>);

impl Patterns {
    fn get(&self, pattern: &str) -> Outcome<Regex> {
        let mut kept = self.0.borrow_mut();
        if let Some(regex) = kept.get(pattern) {
            return Ok(regex.clone());
        }
        let built = RegexBuilder::new(pattern).size_limit(MOST_BYTES).dfa_size_limit(MOST_BYTES).build();
        let regex =
            built.map_err(|error| thrown(format!("{pattern:?} is no regular expression: {error}")))?;
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    }
}

pub fn register(engine: &mut Engine) {
    let patterns = Rc::new(Patterns::default());
    let kept = patterns.clone();
    engine.register_fn("regex_match", move |text: &str, pattern: &str| -> Outcome<bool> {
        Ok(kept.get(pattern)?.is_match(text))
    });
    engine.register_fn("regex_replace", move |text: &str, pattern: &str, with: &str| -> Outcome<String> {
        let longest = text.len().saturating_mul(with.len().saturating_add(1));
        let regex = patterns.get(pattern)?;
        if longest > MOST_REPLACED_BYTES {
            return Err(thrown(format!("`regex_replace` could write more than {MOST_REPLACED_BYTES} bytes")));
        }
        Ok(regex.replace_all(text, with).into_owned())
    });
}

/// What a replacement may grow to, at the worst: every byte of the text replaced.
const MOST_REPLACED_BYTES: usize = 64 * 1024 * 1024;
