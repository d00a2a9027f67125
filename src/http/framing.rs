//! How a message's body is delimited, and whether the connection persists after it (RFC 9112, 6 and 9).

use super::fields::{FieldName, Fields};
use super::head::{HeadError, Method, RequestHead, ResponseHead, Version};

/// Connection options of one message, over all its `Connection` fields.
const MAX_CONNECTION_NAMES: usize = 16;

/// How a body is delimited (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is no body to read.
    None,
    /// By `Content-Length`: this many bytes, possibly 0.
    Length(u64),
    /// By the chunked transfer coding.
    Chunked,
    /// To the end of the connection; responses only.
    UntilClose,
}

/// The framing of a request's body. Also refuses an `Expect` other than `100-continue`, an expectation that the gateway
/// cannot meet (RFC 9110, 10.1.1 has 417 for it, which no client handles better than 400).
pub fn request_body(head: &RequestHead) -> Result<Body, HeadError> {
    if head.fields.all(FieldName::Expect).any(|value| !is_continue(value)) {
        return Err(HeadError::Bad("an Expect that is not 100-continue"));
    }
    Ok(declared(head.version(), &head.fields)?.unwrap_or(Body::None))
}

/// The framing of the body of a response to a `method` request. Responses to HEAD, 1xx, 204 and 304 have none; their
/// framing fields must be well-formed nonetheless, since they are passed on.
pub fn response_body(head: &ResponseHead, method: Method) -> Result<Body, HeadError> {
    let body = declared(head.version(), &head.fields)?.unwrap_or(Body::UntilClose);
    let none = method == Method::Head || matches!(head.status(), 100..=199 | 204 | 304);
    Ok(if none { Body::None } else { body })
}

/// The framing that `Transfer-Encoding` or `Content-Length` declares, if there is one.
fn declared(version: Version, fields: &Fields) -> Result<Option<Body>, HeadError> {
    let mut codings = fields.all(FieldName::TransferEncoding);
    let mut lengths = fields.all(FieldName::ContentLength);
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(HeadError::Bad("both Transfer-Encoding and Content-Length")),
        (Some(_), None) if version == Version::Http10 => Err(HeadError::Bad("Transfer-Encoding in HTTP/1.0")),
        (Some(coding), None) if codings.next().is_none() && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Some(Body::Chunked))
        }
        (Some(_), None) => Err(HeadError::Bad("a Transfer-Encoding other than exactly `chunked`")),
        (None, Some(length)) if lengths.next().is_none() => {
            content_length(length).map(|n| Some(Body::Length(n)))
        }
        (None, Some(_)) => Err(HeadError::Bad("more than one Content-Length")),
    }
}

/// Digits alone. A length that does not fit into 63 bits is refused: some peers count in signed integers.
fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    const MAX_DIGITS: usize = 20;
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    if !digits {
        return Err(HeadError::Bad("a Content-Length that is not a number"));
    }
    let fits = |value: &[u8]| {
        let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
        value.iter().try_fold(0u64, add).filter(|&length| length <= i64::MAX as u64)
    };
    let length = if value.len() <= MAX_DIGITS { fits(value) } else { None };
    length.ok_or(HeadError::Bad("a Content-Length that is too large to count"))
}

/// Whether the message's sender lets the connection persist after it (RFC 9112, 9.3).
pub fn wants_keep_alive(version: Version, fields: &Fields) -> bool {
    let mut keep = version == Version::Http11;
    for option in connection_names(fields) {
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keep |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    keep
}

/// The connection options: the elements of all `Connection` field lines, `close` and `keep-alive` included. A nominated
/// field is removed where [`super::hygiene::may_drop_as_connection_option`] allows it.
pub fn connection_names(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields.all(FieldName::Connection).flat_map(elements)
}

/// Refuses more connection options than any honest peer sends: each is compared with every field.
pub fn check_connection_names(fields: &Fields) -> Result<(), HeadError> {
    match connection_names(fields).nth(MAX_CONNECTION_NAMES) {
        None => Ok(()),
        Some(_) => Err(HeadError::Bad("more than 16 names in Connection")),
    }
}

/// The non-empty elements of a list of tokens (RFC 9110, 5.6.1).
pub fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// The protocols to which a request asks to upgrade (RFC 9110, 7.8). `None` where `h2c` is among them: a tunnel of HTTP/2
/// requests would bypass every route and policy (RFC 9113, 3.1 obsoletes it), and `Upgrade` may always be ignored.
pub fn upgrade(head: &RequestHead) -> Option<&[u8]> {
    let mut values = head.fields.all(FieldName::Upgrade);
    let (value, None) = (values.next()?, values.next()) else { return None };
    let is_nominated = head.version() == Version::Http11
        && connection_names(&head.fields).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    let h2c = elements(value).any(|protocol| protocol.eq_ignore_ascii_case(b"h2c"));
    (is_nominated && !h2c && elements(value).next().is_some()).then_some(value)
}

/// Whether the client waits for 100 (Continue) before it sends its body (RFC 9110, 10.1.1). HTTP/1.0 clients do not.
pub fn expects_continue(head: &RequestHead) -> bool {
    head.version() == Version::Http11 && head.fields.get(FieldName::Expect).is_some_and(is_continue)
}

fn is_continue(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"100-continue")
}

#[cfg(test)]
mod tests;
