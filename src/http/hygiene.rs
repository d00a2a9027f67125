//! Field hygiene: which bytes a field consists of, and which fields are not passed on.

use super::fields::FieldName;

/// Fields that the gateway owns: their values are its own, never the client's.
const OWNED: [&[u8]; 6] = [
    b"x-consumer-name",
    b"x-consumer-groups",
    b"x-request-id",
    b"x-real-ip",
    b"content-length",
    b"transfer-encoding",
];
const FORWARDED: &[u8] = b"x-forwarded-";

/// A hop-by-hop field, which concerns one connection alone (RFC 9110, 7.6.1). `Trailer` is not among them: trailer
/// fields are passed on.
pub fn is_hop_by_hop(id: FieldName) -> bool {
    matches!(
        id,
        FieldName::Connection
            | FieldName::KeepAlive
            | FieldName::ProxyConnection
            | FieldName::Te
            | FieldName::TransferEncoding
            | FieldName::Upgrade
    )
}

/// One of the `X-Forwarded-` fields, in which proxies record the origin of a request.
pub fn is_forwarded(name: &[u8]) -> bool {
    name.get(..FORWARDED.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(FORWARDED))
}

/// A name that becomes one of an owned field once `_` is read as `-`, as CGI and WSGI servers do: an upstream would take
/// its value for the gateway's.
pub fn is_spoofable(name: &[u8]) -> bool {
    name.contains(&b'_')
        && (name.get(..FORWARDED.len()).is_some_and(|prefix| reads_as(prefix, FORWARDED))
            || OWNED.iter().any(|owned| reads_as(name, owned)))
}

/// Whether two names are equal, regardless of case and of `_` for `-`.
pub fn reads_as(name: &[u8], owned: &[u8]) -> bool {
    let folded = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == owned.len() && name.iter().map(folded).eq(owned.iter().map(folded))
}

/// Whether a field that `Connection` nominates may be removed. Fields on routing, framing and identity are meant for
/// every recipient (RFC 9110, 7.6.1): to nominate one is an attack.
pub fn may_drop_as_connection_option(name: &[u8]) -> bool {
    let kept = matches!(
        FieldName::of(name),
        FieldName::Host
            | FieldName::ContentLength
            | FieldName::ContentType
            | FieldName::ContentEncoding
            | FieldName::CacheControl
            | FieldName::Authorization
            | FieldName::Cookie
            | FieldName::SetCookie
            | FieldName::Forwarded
            | FieldName::XRealIp
            | FieldName::XRequestId
            | FieldName::XConsumerName
            | FieldName::XConsumerGroups
            | FieldName::Via
            | FieldName::Date
    );
    !kept && !is_forwarded(name)
}

/// A field that is forbidden in a trailer section (RFC 9110, 6.5.1), its name in any case and with `_` for `-`: those on
/// framing, routing, conditions and identity. A recipient that merges trailers into the head would act on them.
pub fn is_forbidden_trailer(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 3] = [FORWARDED, b"x-consumer-", b"if-"];
    const NAMES: [&[u8]; 27] = [
        b"transfer-encoding",
        b"content-length",
        b"host",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"authorization",
        b"proxy-authorization",
        b"www-authenticate",
        b"proxy-authenticate",
        b"cookie",
        b"set-cookie",
        b"cache-control",
        b"pragma",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"expect",
        b"max-forwards",
        b"range",
        b"forwarded",
        b"x-real-ip",
        b"x-request-id",
        b"via",
    ];
    PREFIXES.iter().any(|prefix| name.get(..prefix.len()).is_some_and(|start| reads_as(start, prefix)))
        || NAMES.iter().any(|forbidden| reads_as(name, forbidden))
}

/// One of the bytes of a token (RFC 9110, 5.6.2).
pub const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// One of the bytes of a field value (RFC 9110, 5.5): visible, beyond ASCII, a space or HTAB.
pub const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// A token, such as a field name or a method.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// A field value, possibly empty, without whitespace at its ends.
pub fn is_field_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| is_value_byte(byte)) && bytes.trim_ascii().len() == bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_fields_are_six_and_trailer_is_not_one() {
        let hop: Vec<_> =
            FieldName::ALL.iter().filter(|&&id| is_hop_by_hop(id)).map(|id| id.as_str()).collect();
        assert_eq!(
            hop,
            ["connection", "transfer-encoding", "te", "upgrade", "keep-alive", "proxy-connection"]
        );
    }

    #[test]
    fn a_name_spelled_with_underscores_that_reads_as_a_gateway_owned_one_is_spoofable() {
        let spoofable: &[&[u8]] = &[
            b"X_Consumer_Name",
            b"x-consumer_groups",
            b"X_Forwarded_For",
            b"x_forwarded-proto",
            b"x_forwarded_anything",
            b"x_request_id",
            b"Content_Length",
            b"transfer_encoding",
        ];
        let honest: &[&[u8]] = &[
            b"X-Consumer-Name",
            b"X-Forwarded-For",
            b"content-length",
            b"x_consumer_nam",
            b"x_consumer_names",
            b"x_forwarded",
            b"user_agent",
            b"_",
            b"",
        ];
        spoofable.iter().for_each(|name| assert!(is_spoofable(name), "{}", String::from_utf8_lossy(name)));
        honest.iter().for_each(|name| assert!(!is_spoofable(name), "{}", String::from_utf8_lossy(name)));
    }

    #[test]
    fn connection_cannot_have_end_to_end_fields_dropped() {
        for name in
            ["Host", "content-length", "Authorization", "cookie", "X-Forwarded-For", "x-forwarded-port"]
        {
            assert!(!may_drop_as_connection_option(name.as_bytes()), "{name}");
        }
        for name in ["x-hop", "keep-alive", "x-forwarded", "TE"] {
            assert!(may_drop_as_connection_option(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn fields_on_framing_routing_or_identity_are_no_trailers() {
        for name in
            ["Content-Length", "content_length", "HOST", "X-Forwarded-Foo", "x_consumer_name", "If-Match"]
        {
            assert!(is_forbidden_trailer(name.as_bytes()), "{name}");
        }
        for name in ["grpc-status", "Digest", "Server-Timing", "x-forwarded", "hosts", "ETag"] {
            assert!(!is_forbidden_trailer(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn tokens_and_values_are_checked_byte_by_byte() {
        let separators = b"\"(),/:;<=>?@[\\]{}";
        for byte in 0..=255u8 {
            let token = byte.is_ascii_graphic() && !separators.contains(&byte);
            assert_eq!(is_token(&[b'a', byte]), token, "{byte:#x}");
            let value = byte == b'\t' || byte == b' ' || byte.is_ascii_graphic() || byte >= 0x80;
            assert_eq!(is_field_value(&[b'a', byte, b'b']), value, "{byte:#x}");
        }
        assert!(!is_token(b"") && is_field_value(b""));
        assert!(!is_field_value(b" a") && !is_field_value(b"a\t"));
    }
}
