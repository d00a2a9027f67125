//! Regular expressions, in time linear to the text whatever the pattern.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use regex::{Regex, RegexBuilder};
use rhai::Engine;

use crate::script::call_stage::{ScriptResult, thrown};

/// Patterns kept compiled. Scripts have few; where a pattern is made of a request's parts, the keeping starts over.
const MAX_KEPT: usize = 128;
/// Longer patterns are refused: what is parsed takes many times its text.
const MAX_PATTERN_BYTES: usize = 8 * 1024;
/// Bytes that one compiled pattern may take.
const MAX_BYTES: usize = 256 * 1024;

#[derive(Default)]
struct PatternCache(RefCell<HashMap<String, Regex>>);

impl PatternCache {
    fn get(&self, pattern: &str) -> ScriptResult<Regex> {
        let mut kept = self.0.borrow_mut();
        if let Some(regex) = kept.get(pattern) {
            return Ok(regex.clone());
        }
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(thrown(format!("a regular expression is longer than {MAX_PATTERN_BYTES} bytes")));
        }
        let built = RegexBuilder::new(pattern).size_limit(MAX_BYTES).dfa_size_limit(MAX_BYTES).build();
        let regex =
            built.map_err(|error| thrown(format!("{pattern:?} is no regular expression: {error}")))?;
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    }
}

pub fn register(engine: &mut Engine) {
    let patterns = Rc::new(PatternCache::default());
    let kept = patterns.clone();
    engine.register_fn("regex_match", move |text: &str, pattern: &str| -> ScriptResult<bool> {
        Ok(kept.get(pattern)?.is_match(text))
    });
    let most = engine.max_string_size();
    engine.register_fn("regex_replace", move |text: &str, pattern: &str, with: &str| {
        replace(text, &patterns.get(pattern)?, with, most)
    });
}

/// Replaces all matches, unless the text would be longer than `most` bytes then.
fn replace(text: &str, regex: &Regex, with: &str, most: usize) -> ScriptResult<String> {
    let references = with.matches('$').count();
    let mut out = String::new();
    let mut copied = 0;
    for captures in regex.captures_iter(text) {
        let found = captures.get(0).expect("group 0 is the match itself");
        out.push_str(&text[copied..found.start()]);
        copied = found.end();
        // Looked at before it is written: no group is longer than the match.
        let longest = references.saturating_mul(found.len()).saturating_add(with.len());
        if out.len().saturating_add(longest) > most {
            return Err(thrown(format!("`regex_replace` could make a string longer than {most} bytes")));
        }
        captures.expand(with, &mut out);
    }
    out.push_str(&text[copied..]);
    Ok(out)
}
