//! The upstream's path, or the target of a redirect, made from the request's path.

use super::Captures;
use crate::plan::{Piece, Template};

/// Appends the part of the path that the pattern's tail matched. The result always starts with `/`: `/api/users/*` makes
/// `/42` of `/api/users/42`, and `/` of `/api/users`.
pub fn strip_prefix(path: &[u8], captures: &Captures, out: &mut Vec<u8>) {
    let rest = path.get(captures.prefix_len()..).unwrap_or_default();
    if !rest.starts_with(b"/") {
        out.push(b'/');
    }
    out.extend_from_slice(rest);
}

/// Appends the template with its captures filled in, percent-encoded as received.
///
/// Unless the template itself starts with `//`, the result never starts with `//` or `/\`, which in `Location` would name
/// another host: `/{rest}` for `/old//evil.example`. Such a run of slashes becomes one.
pub fn expand(template: &Template, path: &[u8], captures: &Captures, out: &mut Vec<u8>) {
    let start = out.len();
    for piece in &template.0 {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Capture(name) => out.extend_from_slice(captures.get(name, path).unwrap_or_default()),
        }
    }
    let is_intended = matches!(template.0.first(), Some(Piece::Text(text)) if text.starts_with("//"));
    let slashes = out.iter().skip(start).take_while(|byte| matches!(byte, b'/' | b'\\')).count();
    if slashes > 1 && !is_intended {
        out[start] = b'/';
        out.drain(start + 1..start + slashes);
    }
}
