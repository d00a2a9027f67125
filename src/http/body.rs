//! Reads a message body of any framing (RFC 9112, 6): finds its end, validates its framing, buffers no payload.
//!
//! A body is payload plus framing plus, where it is chunked, a trailer section. All of it is the reader's part: whoever
//! passes a body on verbatim passes the bytes that [`BodyReader::take`] has counted, trailer section included; whoever
//! frames the payload anew asks for the validated fields by [`BodyReader::keep_trailers`].

use super::chunked::{Chunked, OwnedNames};
use super::fields::Fields;
use super::framing::Body;

/// A body being read. It is given bytes as they arrive and answers how many of them belong to the body.
pub struct BodyReader {
    decoder: Decoder,
    payload_bytes: u64,
    limit_bytes: u64,
    done: bool,
}

enum Decoder {
    Length { left_bytes: u64 },
    Chunked(Chunked),
    UntilClose,
}

/// Why a body cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Its framing is malformed.
    Bad(&'static str),
    /// It is longer than its limit.
    TooLarge,
}

impl BodyReader {
    /// A reader for a body of this framing, with at most `limit_bytes` of payload (where it is chunked, also never more
    /// than 2^63 - 1) and a trailer section of at most `trailer_bytes`.
    pub fn new(body: Body, limit_bytes: u64, trailer_bytes: usize) -> BodyReader {
        let decoder = match body {
            Body::None => Decoder::Length { left_bytes: 0 },
            Body::Length(left_bytes) => Decoder::Length { left_bytes },
            Body::Chunked => Decoder::Chunked(Chunked::new(limit_bytes, trailer_bytes)),
            Body::UntilClose => Decoder::UntilClose,
        };
        let done = matches!(decoder, Decoder::Length { left_bytes: 0 });
        BodyReader { decoder, payload_bytes: 0, limit_bytes, done }
    }

    /// Refuses trailer fields of these names too.
    pub fn forbid_trailers(self, owned: &OwnedNames) -> BodyReader {
        match self.decoder {
            Decoder::Chunked(chunked) => {
                BodyReader { decoder: Decoder::Chunked(chunked.forbid_trailers(owned)), ..self }
            }
            Decoder::Length { .. } | Decoder::UntilClose => self,
        }
    }

    /// Keeps the trailer section for [`trailers`](Self::trailers). By default it is validated and forgotten.
    pub fn keep_trailers(self) -> BodyReader {
        match self.decoder {
            Decoder::Chunked(chunked) => {
                BodyReader { decoder: Decoder::Chunked(chunked.keep_trailers()), ..self }
            }
            Decoder::Length { .. } | Decoder::UntilClose => self,
        }
    }

    /// The trailer fields of a body that is done and was read with [`keep_trailers`](Self::keep_trailers); none of any
    /// other.
    pub fn trailers(&self) -> Fields {
        match &self.decoder {
            Decoder::Chunked(chunked) if self.done => chunked.trailers(),
            _ => Fields::default(),
        }
    }

    /// No body.
    pub fn empty() -> BodyReader {
        BodyReader::new(Body::None, u64::MAX, 0)
    }

    /// Whether its last byte was taken.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the bytes at the start of `input` that belong to the body, framing included, and returns their number. Once
    /// the body is done, the rest is the next message's; before, the next input has to begin with it: a chunk size that
    /// is not whole is not taken.
    ///
    /// # Errors
    /// [`BodyError`]; the reader must not be used afterwards.
    pub fn take(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        self.take_payload(input, |_| ())
    }

    /// Like [`take`](Self::take), and calls `payload` with each run of payload.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_payload(&mut self, input: &[u8], mut payload: impl FnMut(&[u8])) -> Result<usize, BodyError> {
        if self.done || input.is_empty() {
            return Ok(0);
        }
        let mut bytes = 0;
        let taken = match &mut self.decoder {
            Decoder::UntilClose => {
                bytes = input.len();
                payload(input);
                input.len()
            }
            Decoder::Length { left_bytes } => {
                let taken = input.len().min(usize::try_from(*left_bytes).unwrap_or(usize::MAX));
                bytes = taken;
                *left_bytes -= taken as u64;
                self.done = *left_bytes == 0;
                payload(&input[..taken]);
                taken
            }
            Decoder::Chunked(chunked) => {
                let fed = chunked.feed(input, |run| {
                    bytes += run.len();
                    payload(&input[run]);
                })?;
                self.done = fed.done;
                fed.consumed
            }
        };
        self.payload_bytes += bytes as u64;
        if self.payload_bytes > self.limit_bytes {
            // Its end may have been found, but its bytes are not taken: if it were done, they would be read as a request.
            self.done = false;
            return Err(BodyError::TooLarge);
        }
        Ok(taken)
    }

    /// Whether the rest can be read only to find the end: it is in order so far, and not known to be longer than
    /// `max_bytes`. Of a body with a length, nothing else limits it from here on.
    pub fn can_be_discarded(&mut self, max_bytes: u64) -> bool {
        match &self.decoder {
            Decoder::Length { left_bytes } => {
                self.limit_bytes = u64::MAX;
                *left_bytes <= max_bytes
            }
            Decoder::Chunked(chunked) => !chunked.has_failed(),
            Decoder::UntilClose => false,
        }
    }

    /// How many of the next bytes are payload whatever their values, so that they may be spliced unread. 0 where
    /// framing lies between or the length is not known.
    pub fn opaque_bytes(&self) -> u64 {
        match &self.decoder {
            Decoder::Length { left_bytes } => *left_bytes,
            Decoder::Chunked(_) | Decoder::UntilClose => 0,
        }
    }

    /// Counts bytes that were passed on unread: at most [`opaque_bytes`](Self::opaque_bytes) of them.
    pub fn pass(&mut self, bytes: u64) {
        if let Decoder::Length { left_bytes } = &mut self.decoder {
            *left_bytes = left_bytes.saturating_sub(bytes);
            self.done = *left_bytes == 0;
            self.payload_bytes += bytes;
        }
    }

    /// The sender closed its connection: the end of a close-delimited body.
    ///
    /// # Errors
    /// Any other body that is not done.
    pub fn end_of_input(&mut self) -> Result<(), BodyError> {
        if matches!(self.decoder, Decoder::UntilClose) {
            self.done = true;
        }
        if self.done { Ok(()) } else { Err(BodyError::Bad("the body ended too early")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_counted_and_the_bytes_after_it_are_left() {
        let mut reader = BodyReader::new(Body::Length(5), u64::MAX, 0);
        assert_eq!(reader.take(b"abc"), Ok(3));
        assert!(!reader.is_done());
        assert_eq!(reader.take(b"deNEXT"), Ok(2));
        assert!(reader.is_done());
        assert_eq!(reader.take(b"NEXT"), Ok(0));
    }

    #[test]
    fn chunks_are_decoded_to_payload_and_taken_with_their_framing() {
        let mut reader = BodyReader::new(Body::Chunked, u64::MAX, 1024);
        let mut payload = Vec::new();
        let input = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nNEXT";
        let taken = reader.take_payload(input, |run| payload.extend_from_slice(run));
        assert_eq!(taken, Ok(input.len() - 4));
        assert_eq!(payload, b"abcde");
        assert!(reader.is_done());
    }

    #[test]
    fn kept_trailers_are_handed_out_when_the_body_is_done() {
        let lines = |fields: &Fields| {
            let mut out = Vec::new();
            fields.write_to(&mut out);
            String::from_utf8(out).unwrap()
        };
        let body = b"3\r\nabc\r\n0;x\r\nDigest: a  b \r\nX-Empty:\r\nDigest:\tc\r\n\r\n";
        for piece in [1, 7, body.len()] {
            let mut reader = BodyReader::new(Body::Chunked, u64::MAX, 1024).keep_trailers();
            let mut held = Vec::new();
            for input in body.chunks(piece) {
                assert!(reader.trailers().is_empty(), "not before the body is done");
                held.extend_from_slice(input);
                held.drain(..reader.take(&held).unwrap());
            }
            assert!(held.is_empty() && reader.is_done());
            assert_eq!(lines(&reader.trailers()), "Digest: a  b\r\nX-Empty: \r\nDigest: c\r\n");
        }
        let mut reader = BodyReader::new(Body::Chunked, u64::MAX, 1024);
        assert_eq!(reader.take(body), Ok(body.len()));
        assert!(reader.is_done() && reader.trailers().is_empty(), "kept only where asked for");
        let mut reader = BodyReader::new(Body::Length(1), u64::MAX, 1024).keep_trailers();
        assert_eq!(reader.take(b"a"), Ok(1));
        assert!(reader.trailers().is_empty());
    }

    #[test]
    fn keeping_trailers_forgives_none() {
        for trailer in ["Content-Length: 1", "x_request_id: 1", "bad name: 1", "no colon", "a: \0"] {
            let mut reader = BodyReader::new(Body::Chunked, u64::MAX, 1024).keep_trailers();
            assert!(reader.take(format!("0\r\n{trailer}\r\n\r\n").as_bytes()).is_err(), "{trailer:?}");
            assert!(reader.trailers().is_empty());
        }
    }

    #[test]
    fn the_rest_of_a_length_may_be_passed_on_unread() {
        let mut reader = BodyReader::new(Body::Length(10), u64::MAX, 0);
        assert_eq!(reader.take(b"abc"), Ok(3));
        assert_eq!(reader.opaque_bytes(), 7);
        reader.pass(7);
        assert!(reader.is_done());
        assert_eq!(BodyReader::new(Body::Chunked, u64::MAX, 0).opaque_bytes(), 0);
    }

    #[test]
    fn only_a_close_delimited_body_may_end_with_the_connection() {
        assert!(BodyReader::new(Body::UntilClose, u64::MAX, 0).end_of_input().is_ok());
        assert!(BodyReader::new(Body::Length(1), u64::MAX, 0).end_of_input().is_err());
        assert!(BodyReader::new(Body::Chunked, u64::MAX, 0).end_of_input().is_err());
        assert!(BodyReader::empty().end_of_input().is_ok());
    }

    #[test]
    fn the_limit_counts_payload_not_framing() {
        let mut reader = BodyReader::new(Body::Chunked, 5, 1024);
        assert!(reader.take(b"3\r\nabc\r\n2\r\nde\r\n").is_ok());
        assert_eq!(reader.take(b"1\r"), Err(BodyError::TooLarge));
    }

    #[test]
    fn a_body_that_nobody_wants_is_read_to_its_end_where_that_is_near() {
        // Over its limit by its length: refused before a byte of it was taken.
        let mut reader = BodyReader::new(Body::Length(6), 5, 0);
        assert!(!reader.can_be_discarded(5) && reader.can_be_discarded(6));
        assert_eq!(reader.take(b"abcdefGET"), Ok(6));
        assert!(reader.is_done());
        let mut reader = BodyReader::new(Body::Chunked, 5, 0);
        assert!(reader.can_be_discarded(0));
        assert!(reader.take(b"6\r\n").is_err() && !reader.can_be_discarded(100));
    }

    #[test]
    fn a_body_over_its_limit_is_never_done_though_its_end_was_found() {
        for (body, input) in [(Body::Chunked, &b"6\r\nabcdef\r\n0\r\n\r\n"[..]), (Body::Length(6), b"abcdef")]
        {
            let mut reader = BodyReader::new(body, 5, 1024);
            assert_eq!(reader.take(input), Err(BodyError::TooLarge));
            assert!(!reader.is_done());
        }
    }
}
