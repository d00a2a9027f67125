//! Rust files as the rules see them: code without comments and the content of literals, and which of it is for tests.
//! A scanner, no parser: it knows where comments, strings and items end, which is all that the rules need.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use super::{ROOT, read};

pub struct Source {
    /// Relative to the repository, with `/`.
    pub path: String,
    pub text: String,
    /// The text with blanks in place of comments and of what stands in literals; the same length and lines.
    pub code: String,
    pub is_test_file: bool,
    /// Where test code stands in a file that is not all tests.
    tests: Vec<Range<usize>>,
}

impl Source {
    fn new(path: String, text: String) -> Source {
        let code = blanked(&text);
        let (is_test_file, tests) = (!path.starts_with("src/"), test_items(&code));
        Source { path, text, code, is_test_file, tests }
    }

    pub fn is_test(&self, at: usize) -> bool {
        self.is_test_file || self.tests.iter().any(|range| range.contains(&at))
    }

    /// From 1.
    pub fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// `file:line`, for a message.
    pub fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path, self.line(at))
    }

    /// The top-level folder below `src/`, or the name of a file that stands there by itself; `None` outside `src/`.
    pub fn folder(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split(['/', '.']).next()
    }

    /// How many modules deep a file below `src/` is: that many `super::` lead to the crate.
    pub fn depth(&self) -> usize {
        self.path.matches('/').count() - usize::from(self.path.ends_with("/mod.rs"))
    }
}

/// Every Rust file of the repository's own, in the order of their paths.
pub fn all() -> Vec<Source> {
    let mut paths = BTreeSet::new();
    for folder in ["src", "tests", "benches"] {
        collect(folder, &mut paths);
    }
    let mut sources: Vec<Source> = paths.iter().map(|path| Source::new(path.clone(), read(path))).collect();
    // A file is for tests where its `mod` line is, and so is all below it.
    let roots: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let is_below = |root: &String| {
            let rest = source.path.strip_prefix(root.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        source.is_test_file |= roots.iter().any(is_below);
    }
    sources
}

fn collect(folder: &str, paths: &mut BTreeSet<String>) {
    let entries = std::fs::read_dir(Path::new(ROOT).join(folder)).expect("the folder is there");
    for entry in entries {
        let entry = entry.expect("the folder can be read");
        let path = format!("{folder}/{}", entry.file_name().to_str().expect("names are ASCII"));
        if entry.file_type().expect("it has a kind").is_dir() {
            collect(&path, paths);
        } else if path.ends_with(".rs") {
            paths.insert(path);
        }
    }
}

/// The paths, without `.rs`, of the modules that this file declares for tests only.
fn test_modules(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').expect("no file stands at the top");
    let below = match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => source.path.trim_end_matches(".rs").to_owned(),
    };
    let names = source.tests.iter().filter_map(|range| {
        let item = &source.code[range.clone()];
        let name = item.trim_end_matches(';').rsplit_once("mod ")?.1.trim();
        // A `#[path]` is a literal, so it stands in the text alone.
        let given =
            source.text[range.clone()].split_once("#[path = \"").and_then(|(_, rest)| rest.split('"').next());
        item.ends_with(';').then(|| match given {
            Some(file) => format!("{folder}/{}", file.trim_end_matches(".rs")),
            None => format!("{below}/{name}"),
        })
    });
    names.collect()
}

/// The items behind `#[cfg(test)]`.
fn test_items(code: &str) -> Vec<Range<usize>> {
    code.match_indices("#[cfg(test)]").map(|(start, _)| start..item_end(code, start)).collect()
}

/// Behind the `;` or the closing brace of the item that begins with attributes at `start`.
fn item_end(code: &str, start: usize) -> usize {
    let mut open = 0;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => {
                open -= 1;
                if byte == b'}' && open <= 0 {
                    return at + 1;
                }
            }
            b';' if open == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The same text with spaces for comments and the content of literals.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let (end, keep) = token(bytes, at);
        // The quotes stay, so that `f("x")` still reads as a call with an argument.
        for blank in &mut code[at + keep..end.saturating_sub(keep).max(at + keep)] {
            if *blank != b'\n' {
                *blank = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("only whole literals and comments were blanked")
}

/// Where the comment or literal that begins here ends, and how many bytes to keep at both of its ends. Anything else is
/// a token of one byte, or a word, that is kept.
fn token(bytes: &[u8], at: usize) -> (usize, usize) {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return (at + line_length(rest), 0);
    }
    if rest.starts_with(b"/*") {
        return (at + block_comment_length(rest), 0);
    }
    if let Some(length) = raw_string_length(rest) {
        return (at + length, 1);
    }
    match rest[0] {
        b'"' => (at + quoted_length(rest, b'"'), 1),
        b'\'' if is_character(rest) => (at + quoted_length(rest, b'\''), 1),
        byte if is_word(byte) => {
            // As a whole, so that the `r` at the end of a word is no raw string's.
            let length = rest.iter().take_while(|byte| is_word(**byte)).count();
            // Prefixes `b` and `c` leave the quote to the next turn.
            (at + length, length)
        }
        _ => (at + 1, 1),
    }
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn line_length(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#` and so on, with `b` or `c` before it or not.
fn raw_string_length(rest: &[u8]) -> Option<usize> {
    let prefix = if rest.starts_with(b"br") || rest.starts_with(b"cr") { 2 } else { 1 };
    let hashes = rest.get(prefix..)?.iter().take_while(|byte| **byte == b'#').count();
    if rest.get(prefix - 1) != Some(&b'r') || rest.get(prefix + hashes) != Some(&b'"') {
        return None;
    }
    let end = [&b"\""[..], &b"#".repeat(hashes)].concat();
    let body = prefix + hashes + 1;
    let length = rest[body..].windows(end.len()).position(|window| window == end)?;
    Some(body + length + end.len())
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    rest.len().min(at + 1)
}

/// Whether this quote begins a character rather than a lifetime.
fn is_character(rest: &[u8]) -> bool {
    let text = std::str::from_utf8(&rest[1..rest.len().min(8)]);
    let valid = text.unwrap_or_else(|error| {
        std::str::from_utf8(&rest[1..1 + error.valid_up_to()]).expect("valid up to there")
    });
    let mut characters = valid.chars();
    characters.next() == Some('\\') || characters.next() == Some('\'')
}

#[test]
fn comments_and_literals_are_blanked_and_lines_stay() {
    let text = "a /* b /* c */ d */ e // f\n\"g\\\"h\" r#\"i\"j\"# 'k' '\\'' &'l m b\"n\" for\"o\"";
    let kept = blanked(text);
    assert_eq!((kept.len(), kept.lines().count()), (text.len(), 2));
    assert_eq!(kept.split_whitespace().collect::<String>(), r##"ae""r#''''&'lmb""for"""##);
}

#[test]
fn items_for_tests_end_where_they_end() {
    let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { c[0]; }\n}\nfn d() {}\n#[cfg(test)]\nmod e;\nfn f() {}";
    let items: Vec<&str> = test_items(code).into_iter().map(|range| &code[range]).collect();
    assert_eq!(items, ["#[cfg(test)]\nmod tests {\n fn b() { c[0]; }\n}", "#[cfg(test)]\nmod e;"]);
}
