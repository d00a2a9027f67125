//! The normal form of a request target: routes are matched on it, and upstreams receive it.

use super::head::{HeadError, Method};

/// The parts of a normalised target in the buffer that [`normalise`] has filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormalTarget {
    /// Bytes of the path; `?` and the query follow, if there is one.
    pub path_len: usize,
}

impl NormalTarget {
    /// Begins with `/`, or is `*`.
    pub fn path(self, normal: &[u8]) -> &[u8] {
        normal.get(..self.path_len).unwrap_or(normal)
    }

    /// As received, without its `?`; an empty query is not the same as none.
    pub fn query(self, normal: &[u8]) -> Option<&[u8]> {
        normal.get(self.path_len + 1..)
    }
}

/// An `http` or `https` URI as a request target (RFC 9112, 3.2.2).
pub(super) struct AbsoluteForm<'a> {
    pub default_port: u16,
    pub authority: &'a [u8],
    /// Path and query, both possibly missing.
    pub rest: &'a [u8],
}

/// The parts of a target in absolute-form; `None`: another form, or another scheme.
pub(super) fn absolute_form(target: &[u8]) -> Option<AbsoluteForm<'_>> {
    if target.starts_with(b"/") {
        return None;
    }
    let after = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let (default_port, rest) = match after(b"http://") {
        Some(rest) => (80, rest),
        None => (443, after(b"https://")?),
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    Some(AbsoluteForm { default_port, authority, rest })
}

const BAD_FORM: HeadError = HeadError::Bad("the target is neither a path nor an http or https URI");
const BAD_ESCAPE: HeadError = HeadError::Bad("a % in the path without two hex digits behind it");
const BAD_BYTE: HeadError = HeadError::Bad("a byte in the target that must not stand there unescaped");
const NUL: HeadError = HeadError::Bad("an escaped NUL in the path");

/// Writes the normal form of a request target into `out`, replacing its content: the path, then `?` and the query as
/// received, if there is one.
///
/// In the path, unreserved octets are decoded, the hex of other escapes is upper case, and dot segments are resolved
/// after that (RFC 3986, 6.2.2 and 5.2.4; `..` above the root stays there). `%2F` stays encoded and `//` as it is.
/// Normalising the result changes nothing. Accepts origin-form, absolute-form, and asterisk-form for
/// OPTIONS; CONNECT is refused, since its target has no path.
pub fn normalise(target: &[u8], method: Method, out: &mut Vec<u8>) -> Result<NormalTarget, HeadError> {
    out.clear();
    if method == Method::Connect {
        return Err(HeadError::Bad("CONNECT is not served"));
    }
    if target.starts_with(b"/") {
        return normalise_origin(target, out);
    }
    let whole_server = match absolute_form(target) {
        Some(AbsoluteForm { rest: rest @ [b'/', ..], .. }) => return normalise_origin(rest, out),
        Some(AbsoluteForm { rest: [], .. }) => method == Method::Options,
        Some(AbsoluteForm { rest: query, .. }) => {
            out.push(b'/');
            return append_query(query, out);
        }
        None if target == b"*" && method == Method::Options => true,
        None => return Err(BAD_FORM),
    };
    // RFC 9112, 3.2.4: OPTIONS for a URI without path is for the server as a whole.
    out.push(if whole_server { b'*' } else { b'/' });
    Ok(NormalTarget { path_len: 1 })
}

/// `target` begins with a slash.
fn normalise_origin(target: &[u8], out: &mut Vec<u8>) -> Result<NormalTarget, HeadError> {
    let (mut end, mut normal) = (0, true);
    let special = |byte: &u8| CLASS[usize::from(*byte)] != ByteClass::Plain;
    loop {
        let rest = &target[end..];
        end += rest.iter().position(special).unwrap_or(rest.len());
        match target.get(end).map(|&byte| CLASS[usize::from(byte)]) {
            Some(ByteClass::Dot) => normal &= target[end - 1] != b'/' || !is_dot_segment(&target[end..]),
            Some(ByteClass::Escape) => normal = false,
            Some(ByteClass::Bad) => return Err(BAD_BYTE),
            Some(ByteClass::Query) | None => break,
            Some(ByteClass::Plain) => {}
        }
        end += 1;
    }
    let (path, query) = target.split_at(end);
    if normal {
        out.extend_from_slice(path);
    } else {
        rewrite_path(path, out)?;
    }
    append_query(query, out)
}

/// `query` is empty or begins with its `?`.
fn append_query(query: &[u8], out: &mut Vec<u8>) -> Result<NormalTarget, HeadError> {
    let path_len = out.len();
    // All bytes, without stopping at the first bad one: such a loop is vectorised.
    if query.iter().fold(false, |bad, byte| bad | matches!(byte, 0..=b' ' | b'#' | 0x7f)) {
        return Err(BAD_BYTE);
    }
    out.extend_from_slice(query);
    Ok(NormalTarget { path_len })
}

/// What a byte means in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ByteClass {
    /// Stands for itself. More than RFC 3986's pchar: browsers send `|`, `[` or `^` as they are.
    Plain,
    /// Stands for itself, unless it is part of a dot segment.
    Dot,
    Escape,
    Query,
    Bad,
}

static CLASS: [ByteClass; 256] = {
    let mut class = [ByteClass::Bad; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        class[byte as usize] = match byte {
            b'#' | b'\\' => ByteClass::Bad,
            b'.' => ByteClass::Dot,
            b'%' => ByteClass::Escape,
            b'?' => ByteClass::Query,
            _ => ByteClass::Plain,
        };
        byte += 1;
    }
    class
};

/// Whether the segment at the start of `rest` is `.` or `..`.
fn is_dot_segment(rest: &[u8]) -> bool {
    matches!(rest, [b'.'] | [b'.', b'/' | b'?', ..] | [b'.', b'.'] | [b'.', b'.', b'/' | b'?', ..])
}

/// Writes the normal form of a path that is not yet normal: decodes byte by byte and resolves each segment when it is
/// complete. Linear in the path: the bytes that `..` searches backwards are the ones it removes.
fn rewrite_path(path: &[u8], out: &mut Vec<u8>) -> Result<(), HeadError> {
    let mut segment = 0;
    let mut bytes = path.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'/' => {
                if !close_segment(out, segment) {
                    out.push(b'/');
                }
                segment = out.len();
            }
            b'%' => {
                let (Some(high), Some(low)) = (bytes.next().and_then(hex), bytes.next().and_then(hex)) else {
                    return Err(BAD_ESCAPE);
                };
                match high << 4 | low {
                    0 => return Err(NUL),
                    octet if is_unreserved(octet) => out.push(octet),
                    _ => out.extend_from_slice(&[b'%', HEX[usize::from(high)], HEX[usize::from(low)]]),
                }
            }
            _ => out.push(byte),
        }
    }
    close_segment(out, segment);
    Ok(())
}

/// Resolves the segment that starts at `segment` if it is a dot segment, and returns whether it was one. `out` then ends
/// with a slash: the one before the segment, or for `..` the one before its parent.
fn close_segment(out: &mut Vec<u8>, segment: usize) -> bool {
    match out.get(segment..) {
        Some(b".") => out.truncate(segment),
        Some(b"..") => {
            // The slash before the segment goes too, except for the root's.
            out.truncate(segment.saturating_sub(1).max(1));
            let parent = out.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
            out.truncate(parent);
        }
        _ => return false,
    }
    true
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn hex(digit: &u8) -> Option<u8> {
    char::from(*digit).to_digit(16).map(|value| value as u8)
}

fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~')
}

/// The parameters of a query, undecoded, in order. One without `=` has an empty value; empty parameters are skipped.
pub fn query_pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        (&pair[..end], pair.get(end + 1..).unwrap_or_default())
    })
}

/// A name or value of a query decoded: escapes resolved, `+` a space. A malformed escape stands for itself.
pub fn form_decoded(raw: &[u8]) -> impl Iterator<Item = u8> {
    FormDecoder { raw, plus: b' ' }
}

/// Like [`form_decoded`] where `+` is a plus, as in paths.
#[cfg(test)]
fn percent_decoded(raw: &[u8]) -> impl Iterator<Item = u8> {
    FormDecoder { raw, plus: b'+' }
}

struct FormDecoder<'a> {
    raw: &'a [u8],
    plus: u8,
}

impl Iterator for FormDecoder<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = match self.raw {
            [b'%', high, low, rest @ ..] => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => (b'%', &self.raw[1..]),
            },
            [b'+', rest @ ..] => (self.plus, rest),
            [byte, rest @ ..] => (*byte, rest),
            [] => return None,
        };
        self.raw = rest;
        Some(byte)
    }
}

#[cfg(test)]
mod tests;
