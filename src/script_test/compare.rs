//! Whether two values say the same, and how they are shown where they do not.

use rhai::Dynamic;

/// Characters of a value that are shown.
const MAX_SHOWN: usize = 1000;

/// Compares by what is in maps and arrays; 1 and 1.0 are the same number.
pub fn same(a: &Dynamic, b: &Dynamic) -> bool {
    if let (Ok(a), Ok(b)) = (a.as_map_ref(), b.as_map_ref()) {
        return a.len() == b.len()
            && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| same(value, other)));
    }
    if let (Ok(a), Ok(b)) = (a.as_array_ref(), b.as_array_ref()) {
        return a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b));
    }
    if let (Ok(a), Ok(b)) = (a.as_blob_ref(), b.as_blob_ref()) {
        return *a == *b;
    }
    if let (Ok(a), Ok(b)) = (a.as_int(), b.as_int()) {
        return a == b;
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return a == b;
    }
    let is_text = |value: &Dynamic| value.is_string() || value.is_char();
    if is_text(a) && is_text(b) {
        return a.to_string() == b.to_string();
    }
    a.is_unit() && b.is_unit() || a.as_bool().is_ok_and(|a| b.as_bool() == Ok(a))
}

fn number(value: &Dynamic) -> Option<f64> {
    value.as_float().ok().or_else(|| value.as_int().ok().map(|n| n as f64))
}

/// On one line, and not longer than a screen.
pub fn shown(value: &Dynamic) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Dynamic {
        rhai::Engine::new().eval(text).expect("a value")
    }

    #[test]
    fn values_are_the_same_by_what_is_in_them() {
        for (a, b) in [
            ("#{ a: [1, #{ b: () }], c: \"x\" }", "#{ c: \"x\", a: [1.0, #{ b: () }] }"),
            ("'x'", "\"x\""),
            ("blob(2, 7)", "blob(2, 7)"),
            ("9007199254740993", "9007199254740993"),
        ] {
            assert!(same(&value(a), &value(b)), "{a} and {b}");
        }
        for (a, b) in [
            ("1", "\"1\""),
            ("()", "false"),
            ("\"\"", "()"),
            ("[1]", "[1, 2]"),
            ("#{ a: () }", "#{}"),
            ("9007199254740993", "9007199254740992"),
            ("[]", "#{}"),
        ] {
            assert!(!same(&value(a), &value(b)), "{a} and {b}");
        }
    }

    #[test]
    fn a_value_is_shown_on_one_short_line() {
        assert_eq!(shown(&value("#{ a: \"x\\ny\" }")), r##"#{"a": "x\ny"}"##);
        assert!(shown(&value("let s = \"x\"; s.pad(5000, \"x\"); s")).chars().count() <= 1001);
    }
}
