//! Targets and paths: what is normalised, what is kept, what is refused.

use super::*;

fn normal(target: &str, method: Method) -> Result<(String, Option<String>), HeadError> {
    let mut out = b"left over".to_vec();
    let parts = normalise(target.as_bytes(), method, &mut out)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ok((text(parts.path(&out)), parts.query(&out).map(text)))
}

fn path(target: &str) -> Result<String, HeadError> {
    normal(target, Method::Get).map(|(path, _)| path)
}

#[test]
fn paths_have_one_form() {
    let table = [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("//", "//"),
        ("//a//b", "//a//b"),
        ("/.", "/"),
        ("/./", "/"),
        ("/a/.", "/a/"),
        ("/a/./b", "/a/b"),
        ("/..", "/"),
        ("/../..", "/"),
        ("/../a", "/a"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/../../../c", "/c"),
        ("/a//../b", "/a/b"),
        ("//..", "/"),
        ("/a/b/c/./../../g", "/a/g"),
        ("/.a", "/.a"),
        ("/..a", "/..a"),
        ("/a.", "/a."),
        ("/a../b", "/a../b"),
        ("/...", "/..."),
        ("/a/.../b", "/a/.../b"),
        ("/.well-known/x", "/.well-known/x"),
        ("/%2e", "/"),
        ("/%2E%2e/a", "/a"),
        ("/a/.%2e/b", "/b"),
        ("/a/%2e./b", "/b"),
        ("/%41%7a%30%2D%5f%7E", "/Az0-_~"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%2f..%2fb", "/a%2F..%2Fb"),
        ("/a%2F/../b", "/b"),
        ("/%c3%a4", "/%C3%A4"),
        ("/%25%32%65", "/%252e"),
        ("/%252e%252e/", "/%252e%252e/"),
        ("/%20%3f%23%5c", "/%20%3F%23%5C"),
        ("/a;b=c/..;/d", "/a;b=c/..;/d"),
        ("/!$&'()*+,;=:@", "/!$&'()*+,;=:@"),
        ("/\"<>[]^`{|}", "/\"<>[]^`{|}"),
    ];
    for (target, expected) in table {
        assert_eq!(path(target).as_deref(), Ok(expected), "{target}");
    }
}

#[test]
fn the_query_is_kept_as_received_and_ends_the_path() {
    let table = [
        ("/a?", "/a", Some("")),
        ("/a?b=c&d", "/a", Some("b=c&d")),
        ("/a?x=/../%2e%zz%00\\", "/a", Some("x=/../%2e%zz%00\\")),
        ("/a??b", "/a", Some("?b")),
        ("/a/..?b", "/", Some("b")),
        ("/a/.?b", "/a/", Some("b")),
        ("/%2e?/..", "/", Some("/..")),
        ("/a%3Fb", "/a%3Fb", None),
        ("/a?\u{e4}", "/a", Some("\u{e4}")),
    ];
    for (target, path, query) in table {
        assert_eq!(
            normal(target, Method::Get),
            Ok((path.to_string(), query.map(str::to_string))),
            "{target}"
        );
    }
}

#[test]
fn a_byte_that_peers_read_differently_is_refused_in_a_path() {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"#\\%".contains(&byte);
    for byte in 0..=255u8 {
        // On the fast way and on the slow one.
        for (before, after) in [("/a", "b"), ("/a/../", "b"), ("/a", "/%41"), ("/", "")] {
            let target = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            let result = normalise(&target, Method::Get, &mut Vec::new());
            assert_eq!(result.is_ok(), allowed(byte), "{byte:#x} in {target:?}");
        }
        let query = normalise(&[b"/a?b", &[byte][..]].concat(), Method::Get, &mut Vec::new());
        let refused = byte <= b' ' || byte == b'#' || byte == 0x7f;
        assert_eq!(query.is_err(), refused, "{byte:#x} in the query");
    }
}

#[test]
fn escapes_are_two_hex_digits_and_not_nul() {
    for target in
        ["/%", "/%4", "/%4g", "/%g4", "/%%41", "/a%", "/%+1", "/% 1", "/%00", "/a/%00/b", "/%4/", "/%4?1"]
    {
        assert!(path(target).is_err(), "{target}");
    }
    for target in ["/%41", "/%01", "/%0a", "/%7f", "/%ff", "/%e2%80%ae", "/a%41?%"] {
        assert!(path(target).is_ok(), "{target}");
    }
}

#[test]
fn targets_are_paths_uris_or_for_options_an_asterisk() {
    use Method::*;
    let table = [
        ("http://a.com/x/../y?z", Get, Some(("/y", Some("z")))),
        ("HTTPS://a.com/x", Get, Some(("/x", None))),
        ("http://a.com", Get, Some(("/", None))),
        ("http://a.com?q", Get, Some(("/", Some("q")))),
        ("http://a.com", Options, Some(("*", None))),
        ("http://a.com/", Options, Some(("/", None))),
        ("http://a.com?q", Options, Some(("/", Some("q")))),
        ("http://a.com#x", Get, None),
        ("*", Options, Some(("*", None))),
        ("*", Get, None),
        ("*x", Options, None),
        ("**", Options, None),
        ("", Get, None),
        ("a", Get, None),
        ("a/b", Get, None),
        ("?a", Get, None),
        ("../a", Get, None),
        ("\\a", Get, None),
        ("http:/a", Get, None),
        ("http:a.com/", Get, None),
        ("ftp://a.com/", Get, None),
        ("a.com:443", Get, None),
        ("a.com:443", Connect, None),
        ("/", Connect, None),
    ];
    for (target, method, expected) in table {
        let expected =
            expected.map(|(path, query): (&str, Option<&str>)| (path.to_string(), query.map(str::to_string)));
        assert_eq!(normal(target, method).ok(), expected, "{method:?} {target}");
    }
}

#[test]
fn query_parameters_come_in_order_and_raw() {
    let pairs = |query: &str| -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        query_pairs(query.as_bytes()).map(|(name, value)| (text(name), text(value))).collect()
    };
    let expected = [("a", "1"), ("b", ""), ("", "x"), ("a", "=%20+"), ("", "")];
    assert_eq!(
        pairs("a=1&b&&=x&a==%20+&="),
        expected.map(|(name, value)| (name.to_string(), value.to_string()))
    );
    assert!(pairs("").is_empty() && pairs("&&").is_empty());
}

#[test]
fn escapes_are_decoded_and_what_is_none_is_kept() {
    let table = [
        ("a%20b+c", "a b+c", "a b c"),
        ("%41%7a%7A", "Azz", "Azz"),
        ("%2B+", "++", "+ "),
        ("%", "%", "%"),
        ("%4", "%4", "%4"),
        ("%zz%41", "%zzA", "%zzA"),
        ("%%41", "%A", "%A"),
        ("", "", ""),
    ];
    for (raw, plain, form) in table {
        let mut out = b">".to_vec();
        out.extend(percent_decoded(raw.as_bytes()));
        assert_eq!(out, format!(">{plain}").as_bytes(), "{raw}");
        out.clear();
        out.extend(form_decoded(raw.as_bytes()));
        assert_eq!(out, form.as_bytes(), "{raw}");
    }
}

#[test]
fn climbing_out_of_deep_paths_writes_each_byte_once() {
    // Quadratic would be some 10^10 steps here, and the test would not end.
    let target = format!("{}{}", "/a".repeat(200_000), "/..".repeat(200_000));
    assert_eq!(path(&target).as_deref(), Ok("/"));
    let target = "/%2e%2e".repeat(200_000);
    assert_eq!(path(&target).as_deref(), Ok("/"));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// RFC 3986, 5.2.4, word for word.
    fn remove_dot_segments(path: &str) -> String {
        let (mut input, mut output) = (path.to_string(), String::new());
        while !input.is_empty() {
            if let Some(rest) = input.strip_prefix("../").or(input.strip_prefix("./")) {
                input = rest.to_string();
            } else if input.starts_with("/./") || input == "/." {
                input = format!("/{}", input.get(3..).unwrap_or(""));
            } else if input.starts_with("/../") || input == "/.." {
                input = format!("/{}", input.get(4..).unwrap_or(""));
                output.truncate(output.rfind('/').unwrap_or(0));
            } else if input == "." || input == ".." {
                input.clear();
            } else {
                let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
                output += &input[..end];
                input = input[end..].to_string();
            }
        }
        output
    }

    /// RFC 3986, 6.2.2.1 and 6.2.2.2.
    fn normalise_escapes(path: &str) -> String {
        let mut parts = path.split('%');
        let mut out = parts.next().unwrap_or("").to_string();
        for part in parts {
            let octet = u8::from_str_radix(&part[..2], 16).unwrap();
            let kept = !octet.is_ascii_alphanumeric() && !"-._~".contains(char::from(octet));
            out += &if kept { format!("%{octet:02X}") } else { char::from(octet).to_string() };
            out += &part[2..];
        }
        out
    }

    fn valid_path() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("/".to_string()),
            Just("/".to_string()),
            Just(".".to_string()),
            Just("..".to_string()),
            Just("%2e".to_string()),
            Just("%2F".to_string()),
            (1u8..=255).prop_map(|octet| format!("%{octet:02x}")),
            "[a-z;=|]{1,3}",
        ];
        proptest::collection::vec(piece, 0..16).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn the_normal_form_is_the_one_of_rfc_3986(target in valid_path()) {
            prop_assert_eq!(path(&target), Ok(remove_dot_segments(&normalise_escapes(&target))));
        }

        #[test]
        fn normalising_twice_changes_nothing(target in valid_path(), query in "(\\?[!-\"$-~]{0,10})?") {
            let mut once = Vec::new();
            let first = normalise(format!("{target}{query}").as_bytes(), Method::Get, &mut once).unwrap();
            let mut twice = Vec::new();
            let second = normalise(&once, Method::Get, &mut twice).unwrap();
            prop_assert_eq!((first, &once), (second, &twice));
            prop_assert!(first.path(&once).starts_with(b"/"));
            prop_assert!(!first.path(&once).split(|&byte| byte == b'/').any(|segment| matches!(segment, b"." | b"..")));
        }

        #[test]
        fn a_path_means_the_same_octets_before_and_after(segments in proptest::collection::vec("[a-zA-Z0-9~%2]{1,6}x", 0..5)) {
            let target: String = segments.iter().map(|segment| format!("/{}", segment.replace('%', "%25"))).collect();
            let target = format!("/{target}");
            let normal = path(&target).unwrap();
            let decoded = |path: &str| percent_decoded(path.as_bytes()).collect::<Vec<_>>();
            prop_assert_eq!(decoded(&target), decoded(&normal));
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_what_is_accepted_is_normal(
            target in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'/'), Just(b'.'), Just(b'%'), Just(b'2'), Just(b'e')], 0..40),
        ) {
            for target in [target.clone(), [b"/", &target[..]].concat(), [b"http://a/", &target[..]].concat()] {
                let (mut out, mut again) = (Vec::new(), Vec::new());
                if let Ok(parts) = normalise(&target, Method::Get, &mut out) {
                    prop_assert_eq!(normalise(&out, Method::Get, &mut again), Ok(parts));
                    prop_assert_eq!(&out, &again);
                }
                query_pairs(&target).for_each(drop);
            }
        }
    }
}
