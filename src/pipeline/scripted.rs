//! What becomes of heads when scripts look at bodies or change them.

use crate::http::fields::{FieldName, Fields};

/// Fields that speak of the very bytes of a body (RFC 9110, 8.3 to 8.8 and 14; RFC 9530; RFC 1864).
const OF_THE_BYTES: [&[u8]; 8] = [
    b"etag",
    b"content-encoding",
    b"content-range",
    b"accept-ranges",
    b"content-md5",
    b"digest",
    b"content-digest",
    b"repr-digest",
];

/// Has the upstream send the whole body without a coding, so that a hook can read it.
pub fn ask_for_plain(request: &mut Fields) {
    request.remove_id(FieldName::AcceptEncoding);
    request.remove(b"range");
    request.remove(b"if-range");
}

/// After a script has set the body: what the head says of other bytes goes.
pub fn forget_bytes(fields: &mut Fields) {
    OF_THE_BYTES.iter().for_each(|name| fields.remove(name));
}

/// A head whose body is all here now: its length replaces every other framing.
pub fn frame(fields: &mut Fields, body_bytes: usize) {
    fields.remove_id(FieldName::TransferEncoding);
    fields.remove_id(FieldName::Trailer);
    let mut length = Vec::new();
    crate::http::write::decimal(&mut length, body_bytes as u64);
    fields.put(FieldName::ContentLength, &length);
}

/// Whether responses with this status have no body (RFC 9110, 6.4.1).
pub fn is_bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// Whether responses with this status have a body, and all of it.
pub fn may_be_whole(status: u16) -> bool {
    !is_bodiless(status) && !matches!(status, 205 | 206)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write_to(&mut out);
        String::from_utf8(out).expect("only text went in")
    }

    #[test]
    fn a_changed_body_loses_what_was_true_of_the_old_bytes_alone() {
        let mut fields = Fields::default();
        for name in
            ["ETag", "Content-Type", "Content-Encoding", "Accept-Ranges", "Repr-Digest", "Last-Modified"]
        {
            fields.add(name.as_bytes(), b"x");
        }
        forget_bytes(&mut fields);
        assert_eq!(text(&fields), "Content-Type: x\r\nLast-Modified: x\r\n");
    }

    #[test]
    fn a_body_that_is_here_is_framed_by_its_length_alone() {
        let mut fields = Fields::default();
        for (name, value) in [("Transfer-Encoding", "chunked"), ("Trailer", "x"), ("Content-Length", "9")] {
            fields.add(name.as_bytes(), value.as_bytes());
        }
        frame(&mut fields, 12);
        assert_eq!(text(&fields), "Content-Length: 12\r\n");
    }
}
