//! Request and response heads: where a head ends in a buffer, and its start line and fields.
//!
//! [`HeadScanner`] finds the end of a head and refuses early what exceeds a limit or has a wrong line end. httparse then
//! reads the tokens; its leniencies (a lone LF as line end, empty lines before the start line) are refused here.

use std::fmt;
use std::mem::MaybeUninit;

use super::fields::{ByteSpan, Fields};

/// The limits of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, the start line and the final blank line included.
    pub bytes: usize,
    /// Fields.
    pub count: usize,
}

/// The limits of a response head.
pub const RESPONSE_LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, count: 512 };

/// Request heads of up to this many fields are parsed without allocation: the default of `header_count`.
const INLINE_FIELDS: usize = 96;

/// Why a message is refused. The texts are for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Not HTTP/1 as the gateway accepts it: 400 for a request, 502 for a response.
    Bad(&'static str),
    /// The request line alone is over the limit of a head: 414.
    UriTooLong,
    /// Over a limit on fields: 431 for a request, 502 for a response.
    TooLarge(&'static str),
}

impl HeadError {
    /// What is wrong, as part of a sentence.
    pub fn detail(self) -> &'static str {
        match self {
            HeadError::Bad(detail) | HeadError::TooLarge(detail) => detail,
            HeadError::UriTooLong => "the request line is longer than a whole head may be",
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for HeadError {}

const BARE_CR: HeadError = HeadError::Bad("a CR without its LF in the head");
const BARE_LF: HeadError = HeadError::Bad("an LF without its CR in the head");
const NUL: HeadError = HeadError::Bad("a NUL byte in the head");
/// RFC 9112, 2.2, has one be ignored.
pub const EMPTY_LINES: HeadError = HeadError::Bad("more than one empty line before the request line");
const OVER_BYTES: HeadError = HeadError::TooLarge("the head has more bytes than allowed");
const OVER_COUNT: HeadError = HeadError::TooLarge("the head has more fields than allowed");
const NOT_ONE_HEAD: HeadError = HeadError::Bad("the head does not end with its blank line");

/// Finds the end of a head in a growing buffer; each byte is examined once.
#[derive(Clone, Debug, Default)]
pub struct HeadScanner {
    /// The offset up to which every byte has been examined.
    at: usize,
    /// The offset at which the current line starts.
    line: usize,
    /// Complete lines so far, the start line first.
    lines: usize,
}

impl HeadScanner {
    /// `Some(n)`: `buf[..n]` is one head, its blank line (and one empty line before it) included. `None`: call again
    /// when `buf`, which must still begin with the same bytes, has more.
    ///
    /// # Errors
    /// A bare CR, a bare LF, a NUL, or a head over its limits: as soon as it is found.
    pub fn scan(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        let window = &buf[..buf.len().min(limits.bytes)];
        while let Some(rest) = window.get(self.at..) {
            let Some(found) = memchr::memchr3(b'\r', b'\n', 0, rest) else {
                self.at = window.len();
                break;
            };
            let at = self.at + found;
            match (window[at], window.get(at + 1)) {
                (b'\n', _) => return Err(BARE_LF),
                (0, _) => return Err(NUL),
                (_, Some(b'\n')) => {}
                (_, Some(_)) => return Err(BARE_CR),
                (_, None) => {
                    self.at = at;
                    break;
                }
            }
            if self.end_line(at, limits)? {
                return Ok(Some(at + 2));
            }
        }
        if buf.len() >= limits.bytes {
            return Err(if self.lines == 0 { HeadError::UriTooLong } else { OVER_BYTES });
        }
        Ok(None)
    }

    /// Prepares for the next head.
    pub fn reset(&mut self) {
        *self = HeadScanner::default();
    }

    /// Takes the CRLF at `at`; returns whether it ends the head.
    fn end_line(&mut self, at: usize, limits: &HeadLimits) -> Result<bool, HeadError> {
        let (empty, first) = (at == self.line, self.lines == 0);
        self.line = at + 2;
        self.at = at + 2;
        if empty {
            // RFC 9112, 2.2: one empty line before the request line is ignored; older clients send one after a body.
            return if first && at > 0 { Err(EMPTY_LINES) } else { Ok(!first) };
        }
        self.lines += 1;
        if self.lines - 1 > limits.count { Err(OVER_COUNT) } else { Ok(false) }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

/// A request method (RFC 9110, 9). Methods are case-sensitive: `get` is `Other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
    Trace,
    Connect,
    #[default]
    Other,
}

impl Method {
    pub fn of(method: &[u8]) -> Method {
        match method {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"PATCH" => Method::Patch,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }

    /// Safe: requests no change of state (RFC 9110, 9.2.1).
    pub fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options | Method::Trace)
    }

    /// Idempotent: repeating the request has no further effect (RFC 9110, 9.2.2).
    pub fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }
}

/// A request head, its bytes held in the fields' arena. To parse the next head into the same one allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    pub fields: Fields,
    method: Method,
    method_bytes: ByteSpan,
    target: ByteSpan,
    version: Version,
}

impl RequestHead {
    /// Removes the content and keeps the allocations.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = RequestHead { fields, ..RequestHead::default() };
    }

    pub fn method(&self) -> Method {
        self.method
    }

    pub fn method_bytes(&self) -> &[u8] {
        self.fields.bytes(self.method_bytes)
    }

    /// As received: UTF-8 without control bytes and spaces; [`super::path::normalise`] reads it.
    pub fn target(&self) -> &[u8] {
        self.fields.bytes(self.target)
    }

    pub fn version(&self) -> Version {
        self.version
    }
}

/// A response head, held like a [`RequestHead`].
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    pub fields: Fields,
    status: u16,
    reason: Option<ByteSpan>,
    version: Version,
}

impl ResponseHead {
    /// Removes the content and keeps the allocations.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead { fields, ..ResponseHead::default() };
    }

    /// 100 to 599; 0 before a head was parsed.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Sets another status (200 to 599), with its usual reason phrase.
    pub fn set_status(&mut self, status: u16) {
        debug_assert!((200..=599).contains(&status), "not a final status");
        self.status = status;
        self.reason = None;
    }

    /// As received, possibly empty; the usual phrase of a status that was set.
    pub fn reason(&self) -> &[u8] {
        match self.reason {
            Some(received) => self.fields.bytes(received),
            None => super::write::reason_phrase(self.status).as_bytes(),
        }
    }

    pub fn version(&self) -> Version {
        self.version
    }
}

/// Parses a head that [`HeadScanner`] found into `into`, replacing its content.
///
/// # Errors
/// A malformed head; the content of `into` is then unspecified.
pub fn parse_request(head: &[u8], limits: &HeadLimits, into: &mut RequestHead) -> Result<(), HeadError> {
    check_size(head, limits)?;
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    // A field takes at least three bytes, which bounds their number below a generous limit.
    let count = limits.count.min(head.len() / 3);
    let mut inline = [const { MaybeUninit::uninit() }; INLINE_FIELDS];
    match inline.get_mut(..count) {
        Some(slots) => read_request(head, slots, into),
        None => read_request(head, &mut vec![MaybeUninit::uninit(); count], into),
    }
}

fn read_request<'h>(
    head: &'h [u8],
    slots: &mut [MaybeUninit<httparse::Header<'h>>],
    into: &mut RequestHead,
) -> Result<(), HeadError> {
    if matches!(head.first(), Some(b'\r' | b'\n')) {
        return Err(EMPTY_LINES);
    }
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(head, slots).map_err(|error| explain(error, head))?;
    check_lines(head, status, parsed.headers)?;
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(NOT_ONE_HEAD);
    };
    into.method = Method::of(method.as_bytes());
    into.method_bytes = span_in(head, method.as_bytes());
    into.target = span_in(head, target.as_bytes());
    into.version = if version == 0 { Version::Http10 } else { Version::Http11 };
    load(head, parsed.headers, &mut into.fields);
    super::framing::check_connection_names(&into.fields)
}

/// Parses a head that [`HeadScanner`] found into `into`, replacing its content.
///
/// # Errors
/// A malformed head; the content of `into` is then unspecified.
pub fn parse_response(head: &[u8], into: &mut ResponseHead) -> Result<(), HeadError> {
    check_size(head, &RESPONSE_LIMITS)?;
    if matches!(head.first(), Some(b'\r' | b'\n')) {
        return Err(HeadError::Bad("an empty line before the status line"));
    }
    let mut slots = [const { MaybeUninit::uninit() }; RESPONSE_LIMITS.count];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, head, &mut slots)
        .map_err(|error| explain(error, head))?;
    check_lines(head, status, parsed.headers)?;
    let (Some(code), Some(version)) = (parsed.code, parsed.version) else { return Err(NOT_ONE_HEAD) };
    if !(100..=599).contains(&code) {
        return Err(HeadError::Bad("the status code is not within 100 to 599"));
    }
    into.status = code;
    into.version = if version == 0 { Version::Http10 } else { Version::Http11 };
    into.reason = Some(reason_span(head));
    load(head, parsed.headers, &mut into.fields);
    super::framing::check_connection_names(&into.fields)
}

fn check_size(head: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
    // Spans are 32 bits wide.
    if head.len() > limits.bytes.min(u32::MAX as usize) { Err(OVER_BYTES) } else { Ok(()) }
}

/// httparse accepts a lone LF as line end and stops after the first blank line. So all of `head` must have been parsed,
/// with a CRLF before each field line and two at the end.
fn check_lines(
    head: &[u8],
    status: httparse::Status<usize>,
    headers: &[httparse::Header<'_>],
) -> Result<(), HeadError> {
    if status != httparse::Status::Complete(head.len()) {
        return Err(NOT_ONE_HEAD);
    }
    let crlf_before = |header: &httparse::Header<'_>| {
        let start = span_in(head, header.name.as_bytes()).start as usize;
        head.get(start.wrapping_sub(2)) == Some(&b'\r')
    };
    if head.ends_with(b"\r\n\r\n") && headers.iter().all(crlf_before) { Ok(()) } else { Err(BARE_LF) }
}

fn load(head: &[u8], headers: &[httparse::Header<'_>], into: &mut Fields) {
    into.begin(head, headers.len());
    for header in headers {
        into.push(span_in(head, header.name.as_bytes()), span_in(head, header.value));
    }
}

/// The span of `part`, a slice of `whole`. `check_size` has made sure that 32 bits hold it.
fn span_in(whole: &[u8], part: &[u8]) -> ByteSpan {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    ByteSpan { start: start as u32, len: part.len() as u32 }
}

/// The reason phrase, which httparse leaves out where it is not ASCII: what follows `HTTP/1.1 200 `.
fn reason_span(head: &[u8]) -> ByteSpan {
    const START: usize = b"HTTP/1.1 200 ".len();
    let end = memchr::memchr(b'\r', head).unwrap_or_default();
    ByteSpan { start: START as u32, len: end.saturating_sub(START) as u32 }
}

#[cold]
fn explain(error: httparse::Error, head: &[u8]) -> HeadError {
    HeadError::Bad(match error {
        httparse::Error::TooManyHeaders => return OVER_COUNT,
        httparse::Error::HeaderName => explain_field_line(head),
        httparse::Error::HeaderValue => "a control byte in a field value",
        httparse::Error::NewLine => "the start line does not end where it should",
        httparse::Error::Token => {
            "the request line is not a method, a target and a version with one space between"
        }
        httparse::Error::Version => {
            "one space and the version HTTP/1.0 or HTTP/1.1 are not where they should be"
        }
        httparse::Error::Status => {
            "the status line is not a version, a space, three digits and a reason phrase"
        }
    })
}

/// What is wrong with the first field line whose name is malformed.
fn explain_field_line(head: &[u8]) -> &'static str {
    const BAD_BYTE: &str = "a byte in a field name that is not allowed there";
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let name = match line.iter().position(|&byte| byte == b':') {
            _ if matches!(line.first(), Some(b' ' | b'\t')) => {
                return "a folded field line (it begins with whitespace)";
            }
            Some(0) => return "a field without a name",
            Some(colon) => &line[..colon],
            None => return "a field line without a colon",
        };
        if matches!(name.last(), Some(b' ' | b'\t')) {
            return "whitespace between a field name and its colon";
        }
        if !super::hygiene::is_token(name) {
            return BAD_BYTE;
        }
    }
    BAD_BYTE
}

#[cfg(test)]
mod tests;
