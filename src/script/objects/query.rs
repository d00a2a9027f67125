//! A query as a map, and a map as a query.

use rhai::{Array, Dynamic, Map};

use crate::http::path;
use crate::script::call_stage::{ScriptResult, script_error, text};

/// The parameters by name, decoded. A parameter is a string, a repeated one an array of strings: a script that expects a
/// single value then fails, rather than use another value than the upstream does.
pub fn to_map(query: &[u8]) -> Map {
    let mut map = Map::new();
    for (name, value) in path::query_pairs(query) {
        let value: Dynamic = decoded(value).into();
        match map.entry(decoded(name).as_str().into()) {
            std::collections::btree_map::Entry::Vacant(place) => _ = place.insert(value),
            std::collections::btree_map::Entry::Occupied(mut place) => append(place.get_mut(), value),
        }
    }
    map
}

fn append(values: &mut Dynamic, value: Dynamic) {
    if let Ok(mut list) = values.as_array_mut() {
        return list.push(value);
    }
    *values = Array::from([values.clone(), value]).into();
}

fn decoded(raw: &[u8]) -> rhai::ImmutableString {
    text(&path::form_decoded(raw).collect::<Vec<u8>>())
}

/// The query of `map`. Parameters that are as in `old` keep their order and spelling.
/// Unchanged parameters stay byte for byte, since upstreams may compute signatures over the query.
///
/// # Errors
/// A value that is no string, number or boolean.
pub fn from_map(old: &[u8], map: &Map) -> ScriptResult<Vec<u8>> {
    let before = to_map(old);
    let mut out = Vec::with_capacity(old.len());
    let mut written: Vec<&str> = Vec::new();
    for (raw_name, raw_value) in path::query_pairs(old) {
        let name = decoded(raw_name);
        let Some((name, value)) = map.get_key_value(name.as_str()) else { continue };
        let same = before.get(name).is_some_and(|before| equal(before, value));
        if same {
            write_raw(&mut out, raw_name, raw_value);
        } else if !written.contains(&name.as_str()) {
            write_values(&mut out, name, value)?;
            written.push(name);
        }
    }
    for (name, value) in map.iter().filter(|(name, _)| !before.contains_key(*name)) {
        write_values(&mut out, name, value)?;
    }
    Ok(out)
}

/// Whether `map` has the parameters of `old`.
pub fn is_same(old: &[u8], map: &Map) -> bool {
    let before = to_map(old);
    before.len() == map.len()
        && map.iter().all(|(name, value)| before.get(name).is_some_and(|was| equal(was, value)))
}

fn equal(a: &Dynamic, b: &Dynamic) -> bool {
    match (a.as_immutable_string_ref(), b.as_immutable_string_ref()) {
        (Ok(a), Ok(b)) => return *a == *b,
        (Err(_), Err(_)) => {}
        _ => return false,
    }
    match (a.as_array_ref(), b.as_array_ref()) {
        (Ok(a), Ok(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| equal(a, b)),
        _ => false,
    }
}

fn write_raw(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if !out.is_empty() {
        out.push(b'&');
    }
    out.extend_from_slice(name);
    if !value.is_empty() {
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

fn write_values(out: &mut Vec<u8>, name: &str, value: &Dynamic) -> ScriptResult<()> {
    if value.is_unit() {
        return Ok(());
    }
    if let Ok(values) = value.as_array_ref() {
        return values.iter().try_for_each(|value| write_values(out, name, value));
    }
    if value.is_map() || value.is_blob() || value.is_fnptr() {
        return Err(script_error(format!(
            "query parameter {name:?} takes a string, not {}",
            value.type_name()
        )));
    }
    write_raw(out, encoded(name).as_bytes(), encoded(&value.to_string()).as_bytes());
    Ok(())
}

/// A name or value of a query: everything but unreserved octets (RFC 3986, 2.3) escaped.
pub fn encoded(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(query: &str, edit: impl FnOnce(&mut Map)) -> String {
        let mut map = to_map(query.as_bytes());
        edit(&mut map);
        String::from_utf8(from_map(query.as_bytes(), &map).expect("good values")).expect("ASCII")
    }

    #[test]
    fn a_repeated_name_is_an_array() {
        let map = to_map(b"a=1&b=x%20y&a=2&c&%61=3");
        let texts: Vec<String> =
            map["a"].as_array_ref().expect("three").iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["1", "2", "3"]);
        assert_eq!(map["b"].to_string(), "x y");
        assert_eq!(map["c"].to_string(), "");
    }

    #[test]
    fn unchanged_parameters_keep_their_place_and_spelling() {
        let query = "z=%7e&a=1&b=x+y&a=2&c";
        assert_eq!(rewritten(query, |_| ()), query);
        assert_eq!(rewritten(query, |map| _ = map.insert("b".into(), "n".into())), "z=%7e&a=1&b=n&a=2&c");
        assert_eq!(rewritten(query, |map| _ = map.remove("a")), "z=%7e&b=x+y&c");
        assert_eq!(rewritten(query, |map| _ = map.insert("a".into(), "0".into())), "z=%7e&a=0&b=x+y&c");
    }

    #[test]
    fn new_values_are_escaped_and_cannot_add_parameters() {
        let edited = rewritten("", |map| _ = map.insert("q".into(), "a&b=c\r\nd é".into()));
        assert_eq!(edited, "q=a%26b%3Dc%0D%0Ad%20%C3%A9");
    }
}
