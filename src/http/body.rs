//! Where a message body ends: counts or decodes what comes, whatever the framing, and never buffers.

use super::chunked::{Chunked, OwnedNames};
use super::framing::Body;
use super::head::HeadError;

/// A body being read. Bytes go in as they come; out comes how many of them belong to it.
pub struct BodyReader {
    framing: Framing,
    payload_bytes: u64,
    limit_bytes: u64,
    done: bool,
}

enum Framing {
    Length { left_bytes: u64 },
    Chunked(Chunked),
    UntilClose,
}

/// Why a body cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Its framing is wrong.
    Bad(&'static str),
    /// It is longer than its limit.
    TooLarge,
}

impl BodyReader {
    /// A reader for a body framed like this, of at most `limit_bytes` of payload, with trailers of at
    /// most `trailer_bytes`.
    pub fn new(body: Body, limit_bytes: u64, trailer_bytes: usize) -> BodyReader {
        let framing = match body {
            Body::None => Framing::Length { left_bytes: 0 },
            Body::Length(left_bytes) => Framing::Length { left_bytes },
            Body::Chunked => Framing::Chunked(Chunked::new(trailer_bytes)),
            Body::UntilClose => Framing::UntilClose,
        };
        let done = matches!(framing, Framing::Length { left_bytes: 0 });
        BodyReader { framing, payload_bytes: 0, limit_bytes, done }
    }

    /// Refuses trailers of these names too.
    pub fn without(self, owned: &OwnedNames) -> BodyReader {
        match self.framing {
            Framing::Chunked(chunked) => {
                BodyReader { framing: Framing::Chunked(chunked.without(owned)), ..self }
            }
            Framing::Length { .. } | Framing::UntilClose => self,
        }
    }

    /// No body.
    pub fn empty() -> BodyReader {
        BodyReader::new(Body::None, u64::MAX, 0)
    }

    /// Whether its last byte was seen.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Takes what of `input` belongs to the body, framing included; the rest is the next message's.
    ///
    /// # Errors
    /// [`BodyError`]; the reader is of no use afterwards.
    pub fn take(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        self.take_payload(input, |_| ())
    }

    /// Like [`take`](Self::take), and shows each run of payload.
    ///
    /// # Errors
    /// As there.
    pub fn take_payload(&mut self, input: &[u8], mut payload: impl FnMut(&[u8])) -> Result<usize, BodyError> {
        if self.done || input.is_empty() {
            return Ok(0);
        }
        let mut bytes = 0;
        let taken = match &mut self.framing {
            Framing::UntilClose => {
                bytes = input.len();
                payload(input);
                input.len()
            }
            Framing::Length { left_bytes } => {
                let taken = input.len().min(usize::try_from(*left_bytes).unwrap_or(usize::MAX));
                bytes = taken;
                *left_bytes -= taken as u64;
                self.done = *left_bytes == 0;
                payload(&input[..taken]);
                taken
            }
            Framing::Chunked(chunked) => {
                let fed = chunked.feed(input, |run| {
                    bytes += run.len();
                    payload(&input[run]);
                });
                let fed = fed.map_err(|error| match error {
                    HeadError::Bad(detail) | HeadError::TooLarge(detail) => BodyError::Bad(detail),
                    HeadError::UriTooLong => BodyError::Bad("malformed chunk"),
                })?;
                self.done = fed.done;
                fed.consumed
            }
        };
        self.payload_bytes += bytes as u64;
        if self.payload_bytes > self.limit_bytes {
            // Seen to its end perhaps, but not taken: to call it done would make the next request of it.
            self.done = false;
            return Err(BodyError::TooLarge);
        }
        Ok(taken)
    }

    /// How many of the bytes to come are payload for sure, whatever they are: they need not be looked at.
    /// 0 where framing stands between.
    pub fn opaque_bytes(&self) -> u64 {
        match &self.framing {
            Framing::Length { left_bytes } => *left_bytes,
            Framing::Chunked(_) | Framing::UntilClose => 0,
        }
    }

    /// Counts bytes that went by unseen: at most [`opaque_bytes`](Self::opaque_bytes) of them.
    pub fn pass(&mut self, bytes: u64) {
        if let Framing::Length { left_bytes } = &mut self.framing {
            *left_bytes = left_bytes.saturating_sub(bytes);
            self.done = *left_bytes == 0;
            self.payload_bytes += bytes;
        }
    }

    /// The sender closed: the end of a body that is read until then, too early for any other.
    pub fn end_of_input(&mut self) -> Result<(), BodyError> {
        if matches!(self.framing, Framing::UntilClose) {
            self.done = true;
        }
        if self.done { Ok(()) } else { Err(BodyError::Bad("the body ended too early")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_counted_and_the_rest_left() {
        let mut reader = BodyReader::new(Body::Length(5), u64::MAX, 0);
        assert_eq!(reader.take(b"abc"), Ok(3));
        assert!(!reader.is_done());
        assert_eq!(reader.take(b"deNEXT"), Ok(2));
        assert!(reader.is_done());
        assert_eq!(reader.take(b"NEXT"), Ok(0));
    }

    #[test]
    fn chunks_are_shown_as_payload_and_taken_with_their_framing() {
        let mut reader = BodyReader::new(Body::Chunked, u64::MAX, 1024);
        let mut payload = Vec::new();
        let input = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nNEXT";
        let taken = reader.take_payload(input, |run| payload.extend_from_slice(run));
        assert_eq!(taken, Ok(input.len() - 4));
        assert_eq!(payload, b"abcde");
        assert!(reader.is_done());
    }

    #[test]
    fn the_rest_of_a_length_may_go_by_unseen() {
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
        assert_eq!(reader.take(b"1\r\nf"), Err(BodyError::TooLarge));
    }

    #[test]
    fn a_body_over_its_limit_is_never_done_though_its_end_was_seen() {
        for (body, input) in [(Body::Chunked, &b"6\r\nabcdef\r\n0\r\n\r\n"[..]), (Body::Length(6), b"abcdef")]
        {
            let mut reader = BodyReader::new(body, 5, 1024);
            assert_eq!(reader.take(input), Err(BodyError::TooLarge));
            assert!(!reader.is_done());
        }
    }
}
