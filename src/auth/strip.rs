//! Removes credentials from a request, for upstreams that must not get them (`forward = false`).

use crate::http::path;

/// A `Cookie` value without the cookies of that name; `None`: it has none. If the result is empty, the field is to be
/// removed.
pub fn without_cookie(value: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    without(value, b';', |pair| split_cookie(pair).0 == name).map(|kept| kept.trim_ascii().to_vec())
}

/// Name and value of one element of a `Cookie` value; no value where it has no `=`. Whitespace around the name is not
/// part of it: many servers read `sid =1` as `sid`, though RFC 6265 allows none there.
pub fn split_cookie(pair: &[u8]) -> (&[u8], Option<&[u8]>) {
    let pair = pair.trim_ascii();
    match pair.iter().position(|byte| *byte == b'=') {
        Some(equals) => (pair[..equals].trim_ascii_end(), Some(&pair[equals + 1..])),
        None => (pair, None),
    }
}

/// A query (without its `?`) without the parameters of that name, however the name is encoded; `None`: it has none. If
/// the result is empty, the `?` is to be removed too.
pub fn without_query(query: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    without(query, b'&', |pair| {
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        path::form_decoded(&pair[..end]).eq(name.iter().copied())
    })
}

fn without(list: &[u8], separator: u8, is_removed: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let parts = || list.split(|byte| *byte == separator);
    parts()
        .any(&is_removed)
        .then(|| parts().filter(|part| !is_removed(part)).collect::<Vec<_>>().join(&separator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cookie_of_the_name_is_removed_and_others_stay() {
        for (value, left) in [
            ("sid=1", Some("")),
            ("a=1; sid=2; b=3", Some("a=1; b=3")),
            ("sid=1; a=1; sid=2", Some("a=1")),
            ("a=1;sid;b=2", Some("a=1;b=2")),
            ("sid =1; a=1;\tsid\t =2", Some("a=1")),
            ("sid x=1; s id=2", None),
            ("a=sid; xsid=1; sidx=2", None),
            ("", None),
        ] {
            assert_eq!(
                without_cookie(value.as_bytes(), b"sid"),
                left.map(|left| left.as_bytes().to_vec()),
                "{value}"
            );
        }
    }

    #[test]
    fn every_parameter_of_the_name_is_removed_however_it_is_encoded() {
        for (query, left) in [
            ("token=1", Some("")),
            ("a=1&token=2&b=3", Some("a=1&b=3")),
            ("t%6Fken=1&a=%20&%74oken", Some("a=%20")),
            ("a=token&xtoken=1&tokenx=2&to%zzken=1&token%", None),
            ("", None),
        ] {
            assert_eq!(
                without_query(query.as_bytes(), b"token"),
                left.map(|left| left.as_bytes().to_vec()),
                "{query}"
            );
        }
    }
}
