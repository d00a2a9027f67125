//! Masking secrets in lines of a configuration that are shown with a problem. It works on text, because a syntax error
//! leaves nothing better.
//!
//! It masks too much rather than too little: a line is shown to help, and logs of a failed start travel far.

use crate::base::suggest::closest;

/// Keys whose values are secrets, or may be by mistake: a line that holds one is shown with its value masked.
/// Keys that are not built yet are among them, since files may have them already.
const SECRET_KEYS: [&str; 10] = [
    "secret",
    "api_keys",
    "aws_keys",
    "basic",
    "client_key",
    "password",
    "pass",
    "token",
    "public_key",
    "jwks",
];

/// A line, by its number from 1, as it may be shown; `line` gives all of them.
pub(super) fn line<'a>(number: usize, line: impl Fn(usize) -> &'a str) -> String {
    let text = line(number);
    // A list may have begun above: its key decides.
    let key_line = || (1..=number).rev().map(&line).find(|line| has_key(line));
    match secret_value(text) {
        Some(at) => format!("{}{}", &text[..at], stars(&text[at..])),
        None if !has_key(text) && key_line().is_some_and(|line| secret_value(line).is_some()) => stars(text),
        None => userinfo(text),
    }
}

/// Whether the line starts with `key =`; a `=` inside a string does not count.
fn has_key(line: &str) -> bool {
    line.trim_start().starts_with('[')
        || line.split_once('=').is_some_and(|(key, value)| {
            // Base64 that ends in `=` is no key.
            let has_value = !value.trim().is_empty() && !value.starts_with('=');
            has_value
                && key.matches('"').count() % 2 == 0
                && !key.trim().is_empty()
                && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.\"' \t".contains(c))
        })
}

/// Where the value of a secret key begins in the line; a key that is misspelt holds a secret all the same.
fn secret_value(line: &str) -> Option<usize> {
    let is_secret = |at: &usize| {
        let before = line[..*at].trim_end_matches(['"', '\'', ' ', '\t']);
        let key = before
            .rsplit(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c))
            .next()
            .unwrap_or_default();
        SECRET_KEYS.iter().any(|secret| key.ends_with(secret))
            || closest(key, SECRET_KEYS.into_iter()).is_some()
    };
    line.match_indices('=').map(|(at, _)| at).find(is_secret).map(|at| at + 1)
}

/// Stars of the same width in bytes, so that carets stay where they belong.
fn stars(text: &str) -> String {
    text.chars().map(|c| if c.is_whitespace() { c.to_string() } else { "*".repeat(c.len_utf8()) }).collect()
}

/// Masks `user:password` in `scheme://user:password@host`. A password may hold whatever separates one URL from the
/// next, so all up to the text's last `@` goes.
pub(super) fn userinfo(text: &str) -> String {
    let start = text.find("://").map(|at| at + "://".len());
    match (start, text.rfind('@')) {
        (Some(start), Some(end)) if start < end => {
            format!("{}{}{}", &text[..start], stars(&text[start..end]), &text[end..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_hold_secrets_are_shown_masked() {
        let shown =
            |text: &str, number| line(number, |number| text.lines().nth(number - 1).unwrap_or_default());
        assert_eq!(shown("secret = \"hush\"", 1), "secret = ******");
        assert_eq!(shown("m = { x = 1, secret = \"hush\" }", 1), "m = { x = 1, secret = ****** *");
        assert_eq!(shown("api_keys = [\n  \"aGk==\",\n", 2), "  ********");
        assert_eq!(shown("secrets = \"hush\"", 1), "secrets = ******");
        assert_eq!(shown("\"api-keys\"=[\"hush\"]", 1), "\"api-keys\"=********");
        assert_eq!(shown("[jwt.secret]\nname = \"plain\"", 2), "name = \"plain\"");
        assert_eq!(shown("url = \"redis://u:hush@h/0\"", 1), "url = \"redis://******@h/0\"");
        assert_eq!(shown("url = \"redis-cluster://u:a,b@h,i\"", 1), "url = \"redis-cluster://*****@h,i\"");
        assert_eq!(shown("url = \"redis+unix:///s?pass=hush\"", 1), "url = \"redis+unix:///s?pass=*****");
        assert_eq!(shown("secret = \"\"\"\naHVzaA==\n\"\"\"", 2), "********");
    }
}
