//! The chunked coding (RFC 9112, 7.1), decoded and validated byte by byte without buffering any of the payload.
//!
//! A chunk is judged by its size line, before anything of it is passed on: that line belongs to the body only once it is
//! whole, and leaves room for the chunk within the limit.
//!
//! One state per place in the grammar. Stricter than the RFC in one point: whitespace is refused outside of quoted
//! strings and field values. A sender must not write any, and recipients differ in how they read it.

use std::ops::Range;
use std::sync::Arc;

use super::body::BodyError;
use super::fields::Fields;
use super::hygiene::{is_forbidden_trailer, is_token_byte, is_value_byte, reads_as};

/// Hex digits of a chunk size, leading zeros included; the value has to fit in 64 bits.
const MAX_SIZE_DIGITS: u8 = 32;
/// Bytes of payload of any body: more does not fit in the signed 64 bits that many recipients count in.
const MAX_PAYLOAD_BYTES: u64 = i64::MAX as u64;
/// Bytes of one chunk's extensions, their semicolons included.
const MAX_EXTENSION_BYTES: usize = 256;
/// Bytes of all extensions of a body.
const MAX_EXTENSION_BYTES_TOTAL: usize = 16 * 1024;
/// Fields of a trailer section.
const MAX_TRAILERS: usize = 64;
/// Bytes of a trailer field's name that are kept for comparison: more than any forbidden name has.
const NAME_BYTES: usize = 24;

/// Why a body is refused. One byte, so that the result of a step fits into registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkFault {
    Size,
    OverLimit,
    Extension,
    LongExtensions,
    LineEnd,
    DataEnd,
    TrailerName,
    TrailerValue,
    ForbiddenTrailer,
    ManyTrailers,
    LongTrailers,
}

impl ChunkFault {
    #[cold]
    fn error(self) -> BodyError {
        BodyError::Bad(match self {
            ChunkFault::Size => "a chunk size that is not 1 to 32 hex digits, or not below 2^64",
            ChunkFault::OverLimit => return BodyError::TooLarge,
            ChunkFault::Extension => "a chunk extension that is not ;name or ;name=value",
            ChunkFault::LongExtensions => "chunk extensions longer than allowed",
            ChunkFault::LineEnd => "a line of the chunked coding that does not end with CRLF",
            ChunkFault::DataEnd => "a chunk that is not as long as its size says",
            ChunkFault::TrailerName => "a trailer's name is not a token followed by a colon",
            ChunkFault::TrailerValue => "a control byte in a trailer's value",
            ChunkFault::ForbiddenTrailer => "a field that must not come as a trailer",
            ChunkFault::ManyTrailers => "more trailers than allowed",
            ChunkFault::LongTrailers => "the trailers have more bytes than allowed",
        })
    }
}

/// How far one call of [`Chunked::feed`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedProgress {
    /// Bytes of the input that belong to this body: all of it, unless the body is done, or the input ends within a chunk
    /// size. Its digits (at most 32) are then held back: the next input has to begin with them.
    pub consumed: usize,
    /// The coding has ended; the bytes that follow are the next message's.
    pub done: bool,
}

/// The place of the next byte in the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    /// At the first digit of a chunk size.
    Size,
    /// After this many digits.
    SizeDigits(u8),
    SizeLf,
    ExtensionName,
    ExtensionNameRest,
    ExtensionValue,
    ExtensionToken,
    Quoted,
    QuotedPair,
    /// After a closing quote.
    QuotedEnd,
    /// In the chunk data, of which `remaining` bytes are still to come.
    Data,
    DataCr,
    DataLf,
    /// At the start of a line of the trailer section.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
    Failed(ChunkFault),
}

/// A decoder of one chunked body. It reports where the payload lies and copies none of it.
#[derive(Clone, Debug)]
pub struct Chunked {
    state: ChunkState,
    /// Of the current chunk: its size as read so far, then the data still to come.
    remaining: u64,
    payload: u64,
    payload_limit: u64,
    extension: usize,
    extension_total: usize,
    trailers: usize,
    trailer_bytes: usize,
    trailer_limit: usize,
    name: [u8; NAME_BYTES],
    name_len: usize,
    /// Names forbidden beside those of [`is_forbidden_trailer`].
    owned: Option<OwnedNames>,
    /// The field lines of the trailer section so far, CRLF included; `None`: they are not kept.
    kept: Option<Vec<u8>>,
}

/// Names (lower case) of the fields that this configuration lets the gateway alone set, beside those that it always does.
pub type OwnedNames = Arc<[Arc<str>]>;

impl Chunked {
    /// `payload_limit_bytes` bounds the payload. `trailer_limit_bytes` bounds the trailer section, its line ends included,
    /// the final blank line not.
    pub fn new(payload_limit_bytes: u64, trailer_limit_bytes: usize) -> Chunked {
        Chunked {
            state: ChunkState::Size,
            remaining: 0,
            payload: 0,
            payload_limit: payload_limit_bytes.min(MAX_PAYLOAD_BYTES),
            extension: 0,
            extension_total: 0,
            trailers: 0,
            trailer_bytes: 0,
            trailer_limit: trailer_limit_bytes,
            name: [0; NAME_BYTES],
            name_len: 0,
            owned: None,
            kept: None,
        }
    }

    /// Refuses trailer fields of these names too.
    pub fn forbid_trailers(self, owned: &OwnedNames) -> Chunked {
        Chunked { owned: (!owned.is_empty()).then(|| owned.clone()), ..self }
    }

    /// Keeps the trailer section for [`trailers`](Self::trailers).
    pub fn keep_trailers(self) -> Chunked {
        Chunked { kept: Some(Vec::new()), ..self }
    }

    /// Decodes the next bytes of the body and calls `data` with each run of payload in them.
    ///
    /// # Errors
    /// A malformed coding, or a chunk over the limit. Every later call returns the same error.
    pub fn feed(
        &mut self,
        input: &[u8],
        mut data: impl FnMut(Range<usize>),
    ) -> Result<FeedProgress, BodyError> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                ChunkState::Data => {
                    let run = self.take_payload(input.len() - at);
                    data(at..at + run);
                    at += run;
                }
                ChunkState::Done => break,
                state => {
                    self.state = self.next(state, byte).unwrap_or_else(ChunkState::Failed);
                    if let ChunkState::Failed(fault) = self.state {
                        return Err(fault.error());
                    }
                    at += 1;
                }
            }
        }
        if let ChunkState::SizeDigits(digits) = self.state {
            // Not judged yet, so not to be passed on either. All of them are in this input: it began with the first.
            at -= usize::from(digits);
            self.state = ChunkState::Size;
        }
        Ok(FeedProgress { consumed: at, done: self.state == ChunkState::Done })
    }

    /// The fields of the trailer section, once it has ended; none where they were not kept.
    pub fn trailers(&self) -> Fields {
        let mut fields = Fields::default();
        let lines = self.kept.as_deref().filter(|_| self.is_done()).unwrap_or_default();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            // Each has been held to the grammar of a field line, so it has a colon.
            if let Some(colon) = memchr::memchr(b':', line) {
                fields.add(&line[..colon], line[colon + 1..].trim_ascii());
            }
        }
        fields
    }

    /// Whether the coding was refused: where the body ends is not known then.
    pub fn has_failed(&self) -> bool {
        matches!(self.state, ChunkState::Failed(_))
    }

    /// Bytes of payload so far.
    pub fn payload_bytes(&self) -> u64 {
        self.payload
    }

    /// Whether the coding has ended.
    pub fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// How many of the next `available` bytes are chunk data: at least one in state `Data`.
    fn take_payload(&mut self, available: usize) -> usize {
        let run = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available);
        self.remaining -= run as u64;
        self.payload += run as u64;
        if self.remaining == 0 {
            self.state = ChunkState::DataCr;
        }
        run
    }

    fn next(&mut self, state: ChunkState, byte: u8) -> Result<ChunkState, ChunkFault> {
        match state {
            ChunkState::Size | ChunkState::SizeDigits(_) => self.size(state, byte),
            ChunkState::SizeLf => {
                expect(byte, b'\n', ChunkFault::LineEnd)?;
                Ok(if self.remaining == 0 { ChunkState::Trailer } else { ChunkState::Data })
            }
            ChunkState::DataCr => expect(byte, b'\r', ChunkFault::DataEnd).map(|()| ChunkState::DataLf),
            ChunkState::DataLf => expect(byte, b'\n', ChunkFault::DataEnd).map(|()| ChunkState::Size),
            ChunkState::Trailer if byte == b'\r' => Ok(ChunkState::EndLf),
            ChunkState::EndLf => expect(byte, b'\n', ChunkFault::LineEnd).map(|()| ChunkState::Done),
            ChunkState::Trailer
            | ChunkState::TrailerName
            | ChunkState::TrailerValue
            | ChunkState::TrailerLf => self.trailer(state, byte),
            ChunkState::Data | ChunkState::Done | ChunkState::Failed(_) => Ok(state),
            _ => self.extension(state, byte),
        }
    }

    fn size(&mut self, state: ChunkState, byte: u8) -> Result<ChunkState, ChunkFault> {
        let digits = if let ChunkState::SizeDigits(digits) = state { digits } else { 0 };
        if let Some(value) = char::from(byte).to_digit(16) {
            let before = if digits == 0 { 0 } else { self.remaining };
            let is_over = before >> 60 != 0 || digits == MAX_SIZE_DIGITS;
            self.remaining = before << 4 | u64::from(value);
            return if is_over { Err(ChunkFault::Size) } else { Ok(ChunkState::SizeDigits(digits + 1)) };
        }
        match byte {
            b'\r' | b';' if digits == 0 => Err(ChunkFault::Size),
            b'\r' | b';' if self.remaining > self.payload_limit - self.payload => Err(ChunkFault::OverLimit),
            b'\r' => Ok(ChunkState::SizeLf),
            b';' => {
                self.extension = 0;
                self.count_extension_byte().map(|()| ChunkState::ExtensionName)
            }
            _ => Err(ChunkFault::Size),
        }
    }

    /// `;name`, `;name=token` or `;name="quoted \" string"`.
    fn extension(&mut self, state: ChunkState, byte: u8) -> Result<ChunkState, ChunkFault> {
        use ChunkState::*;
        let next = match (state, byte) {
            (ExtensionNameRest | ExtensionToken | QuotedEnd, b'\r') => return Ok(SizeLf),
            (ExtensionNameRest | ExtensionToken | QuotedEnd, b';') => ExtensionName,
            (ExtensionNameRest, b'=') => ExtensionValue,
            (ExtensionName | ExtensionNameRest, _) if is_token_byte(byte) => ExtensionNameRest,
            (ExtensionValue, b'"') => Quoted,
            (ExtensionValue | ExtensionToken, _) if is_token_byte(byte) => ExtensionToken,
            (Quoted, b'"') => QuotedEnd,
            (Quoted, b'\\') => QuotedPair,
            (Quoted | QuotedPair, _) if is_value_byte(byte) => Quoted,
            _ => return Err(ChunkFault::Extension),
        };
        self.count_extension_byte().map(|()| next)
    }

    fn count_extension_byte(&mut self) -> Result<(), ChunkFault> {
        self.extension += 1;
        self.extension_total += 1;
        let over = self.extension > MAX_EXTENSION_BYTES || self.extension_total > MAX_EXTENSION_BYTES_TOTAL;
        if over { Err(ChunkFault::LongExtensions) } else { Ok(()) }
    }

    /// A byte of the trailer section, whose lines have the grammar of a head's field lines.
    fn trailer(&mut self, state: ChunkState, byte: u8) -> Result<ChunkState, ChunkFault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > self.trailer_limit {
            return Err(ChunkFault::LongTrailers);
        }
        if let Some(kept) = &mut self.kept {
            kept.push(byte);
        }
        match (state, byte) {
            (ChunkState::Trailer, _) if is_token_byte(byte) => {
                self.trailers += 1;
                self.name_len = 0;
                self.keep_name_byte(byte);
                if self.trailers > MAX_TRAILERS {
                    Err(ChunkFault::ManyTrailers)
                } else {
                    Ok(ChunkState::TrailerName)
                }
            }
            (ChunkState::TrailerName, b':') => {
                let name = self.name.get(..self.name_len).unwrap_or(&self.name);
                let is_owned = |owned: &Arc<str>| {
                    // Of a name longer than `NAME_BYTES` only the start is known, and decides.
                    let owned = owned.as_bytes();
                    reads_as(name, &owned[..owned.len().min(NAME_BYTES)])
                };
                if is_forbidden_trailer(name) || self.owned.iter().flat_map(|owned| &**owned).any(is_owned) {
                    Err(ChunkFault::ForbiddenTrailer)
                } else {
                    Ok(ChunkState::TrailerValue)
                }
            }
            (ChunkState::TrailerName, _) if is_token_byte(byte) => {
                self.keep_name_byte(byte);
                Ok(ChunkState::TrailerName)
            }
            (ChunkState::TrailerValue, b'\r') => Ok(ChunkState::TrailerLf),
            (ChunkState::TrailerValue, _) if is_value_byte(byte) => Ok(ChunkState::TrailerValue),
            (ChunkState::TrailerLf, b'\n') => Ok(ChunkState::Trailer),
            (ChunkState::TrailerLf, _) => Err(ChunkFault::LineEnd),
            (ChunkState::TrailerValue, _) => Err(ChunkFault::TrailerValue),
            _ => Err(ChunkFault::TrailerName),
        }
    }

    fn keep_name_byte(&mut self, byte: u8) {
        if let Some(kept) = self.name.get_mut(self.name_len) {
            *kept = byte;
        }
        self.name_len += 1;
    }
}

fn expect(byte: u8, expected: u8, fault: ChunkFault) -> Result<(), ChunkFault> {
    if byte == expected { Ok(()) } else { Err(fault) }
}

/// Writes the chunk-size line of a chunk of `len` bytes into `out`; 0 makes that of the last chunk.
pub fn encode_chunk_size(len: usize, out: &mut [u8; 18]) -> &[u8] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let (mut start, mut rest) = (16, len);
    out[16..].copy_from_slice(b"\r\n");
    loop {
        start -= 1;
        out[start] = HEX[rest % 16];
        rest /= 16;
        if rest == 0 {
            return &out[start..];
        }
    }
}

#[cfg(test)]
mod tests;
