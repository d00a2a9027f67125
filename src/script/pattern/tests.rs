//! Patterns against those of the crate `regex`, and searches that are out of time.

use std::cell::Cell;

use proptest::prelude::*;
use regex::Regex;

use super::*;

fn forever() -> bool {
    true
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap_or_else(|error| panic!("{text:?} {error}"))
}

/// All matches, and what is made of each with `with`.
fn found(pattern: &Pattern, text: &str, with: &str) -> Vec<(Range<usize>, String)> {
    let time = SearchTime::new(&forever);
    let mut search = pattern.search(text, true, time).unwrap_or_else(|error| panic!("{error}"));
    let mut all = Vec::new();
    while let Some(range) = search.next().expect("there is time") {
        let mut out = String::new();
        search.expand(range.clone(), with, &mut out).expect("there is time");
        all.push((range, out));
    }
    all
}

fn found_by_regex(pattern: &str, text: &str, with: &str) -> Vec<(Range<usize>, String)> {
    let regex = Regex::new(pattern).unwrap_or_else(|error| panic!("{error}"));
    let expanded = regex.captures_iter(text).map(|captures| {
        let mut out = String::new();
        captures.expand(with, &mut out);
        (captures.get_match().range(), out)
    });
    expanded.collect()
}

fn agrees(source: &str, text: &str) {
    const WITH: &str = "<$0|$1|${2}|$3|${name}|$$|$nosuch>";
    let pattern = pattern(source);
    let expected = found_by_regex(source, text, WITH);
    assert_eq!(found(&pattern, text, WITH), expected, "{source:?} in {text:?}");
    let is_match = pattern.is_match(text, SearchTime::new(&forever)).expect("there is time");
    assert_eq!(is_match, !expected.is_empty(), "{source:?} in {text:?}");
}

#[test]
fn matches_and_groups_are_those_of_regex() {
    let patterns = [
        "",
        "a",
        "a|ab",
        "ab|a",
        "a*",
        "a*?",
        "(a*)(b*)",
        "(a|(b))*c?",
        r"\b",
        r"\B",
        r"\b\w+\b",
        r"\bé",
        r"é\b",
        r"(?-u:\b)a",
        r"(?P<name>\d+)(é)?",
        "^",
        "$",
        "^a",
        "a$",
        "(?m)^a.*$",
        "(?i)É+",
        "(?s)a.*?b",
        r"\{\{.*?\}\}|\{",
        r"[\w.+-]+@[\w-]+\.[\w.-]+",
        r"\b(?:\d[ -]?){13,16}\b",
        "[^a]",
        "(a)|(b)|(é)",
        "(?:)|a",
        r"\pL{2}",
        "x*(a|$)",
        r"\b{start}\w|\w\b{end}",
    ];
    let long = "ab é 4111 1111 1111 1111 user@host.example ".repeat(9);
    for text in [
        "",
        "a",
        "é",
        "aé",
        "éa éé a",
        "ab aab abc",
        "a\nab\nb",
        "{{x}} {{{ {}}",
        "日本 ab 12é",
        "\r\n",
        &long,
    ] {
        for source in patterns {
            agrees(source, text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn random_patterns_agree_with_regex(
        parts in prop::collection::vec(prop::sample::select(&[
            "a", "b", "é", "(a)", "(?:", "(", ")", "|", "*", "+", "?", "*?", "{2}", r"\b", r"\B", "^", "$", ".", r"\w", "[^a]",
        ][..]), 1..9),
        text in "[abé \n]{0,24}",
    ) {
        let source = parts.concat();
        // Some of those that `regex` takes are too large for a script.
        if Regex::new(&source).is_ok() && Pattern::new(&source).is_ok() {
            agrees(&source, &text);
        }
    }
}

/// How many looks at the clock a search takes, of which it is granted `granted`.
fn looks(source: &str, text: &str, with: &str, granted: u32) -> (Result<(), TimeOver>, u32) {
    let count = Cell::new(0);
    let is_left = || {
        count.set(count.get() + 1);
        count.get() <= granted
    };
    let pattern = pattern(source);
    let mut search = pattern
        .search(text, !with.is_empty(), SearchTime::new(&is_left))
        .unwrap_or_else(|error| panic!("{error}"));
    let mut out = String::new();
    let result = loop {
        match search.next() {
            Ok(None) => break Ok(()),
            Ok(Some(range)) => {
                if let Err(over) = search.expand(range, with, &mut out) {
                    break Err(over);
                }
            }
            Err(over) => break Err(over),
        }
    };
    (result, count.get())
}

#[test]
fn a_search_ends_soon_after_its_time() {
    let text = "{".repeat(64 * 1024);
    let letters = "ab".repeat(32 * 1024);
    let accents = "é1 ".repeat(16 * 1024);
    for (source, text, with) in [
        // All matches together are quadratic.
        (r"\{\{.*?\}\}|\{", &text, ""),
        (r"(\{\{.*?\}\})|\{", &text, "$1"),
        // Each byte needs a state that was not there before.
        ("(a|b)*a(a|b){300}c", &letters, ""),
        // Not readable by the automaton.
        (r"\b(?:\d[ -]?){13,16}\b", &accents, ""),
        // Groups of one long match.
        ("((a|b)+)+", &letters, "$1"),
        // Read backwards.
        ("(?s).*(.{200})a{20}", &letters, ""),
        ("[ab]+$", &letters, ""),
    ] {
        for granted in [0, 1, 50] {
            let (result, looks) = looks(source, text, with, granted);
            assert_eq!((result, looks), (Err(TimeOver), granted + 1), "{source}");
        }
    }
}

#[test]
fn an_ordinary_search_looks_at_the_clock_in_proportion_to_the_text() {
    let text =
        r#"{"card":"4111 1111 1111 1111","mail":"a.user@mail.example","host":"a.b.example"},"#.repeat(100);
    for source in [r"\b(?:\d[ -]?){13,16}\b", r"[\w.+-]+@[\w-]+\.[\w.-]+", r"(?:[a-z0-9-]+\.)+[a-z]{2,}"] {
        let (result, looks) = looks(source, &text, "", u32::MAX);
        assert_eq!(result, Ok(()));
        assert!(looks as usize <= 8 * text.len() / CHUNK_BYTES, "{source}: {looks}");
    }
}

#[test]
fn patterns_of_which_too_much_would_be_made_are_refused() {
    let groups = format!("{}a{{100}}$", "(a)".repeat(500));
    for (source, why) in [
        ("(", "is no regular expression"),
        (r"(a)\1", "is no regular expression"),
        ("((a{1,200}){1,200}){1,200}", "compiled, it takes more than 262144 bytes"),
        (r"\w{500}", "compiled, it takes more than 262144 bytes"),
        (&"a".repeat(9000), "it has more than 8192 bytes"),
    ] {
        let error = Pattern::new(source).err().unwrap_or_else(|| panic!("{source}")).to_string();
        assert!(error.contains(why), "{source}: {error}");
    }
    let pattern = pattern(&groups);
    assert!(pattern.search("a", true, SearchTime::new(&forever)).is_err());
    assert!(pattern.search("a", false, SearchTime::new(&forever)).is_ok());
}
