//! `request_headers` and `response_headers`: remove, then set, then add.

use crate::http::fields::Fields;
use crate::plan::HeaderEdits;

/// Applies a route's edits.
pub fn apply(edits: &HeaderEdits, fields: &mut Fields) {
    for name in &edits.remove {
        fields.remove(name.as_bytes());
    }
    for (name, value) in &edits.set {
        fields.set(name.as_bytes(), value.as_bytes());
    }
    for (name, value) in &edits.add {
        fields.add(name.as_bytes(), value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_remove_then_set_then_add() {
        let mut fields = Fields::default();
        fields.add(b"X-A", b"1");
        fields.add(b"X-B", b"2");
        let edits = HeaderEdits {
            remove: vec!["x-a".into()],
            set: vec![("x-b".into(), "3".into()), ("x-a".into(), "4".into())],
            add: vec![("x-b".into(), "5".into())],
        };
        apply(&edits, &mut fields);
        let mut out = Vec::new();
        fields.write_to(&mut out);
        assert_eq!(out, b"X-B: 3\r\nx-a: 4\r\nx-b: 5\r\n");
    }
}
