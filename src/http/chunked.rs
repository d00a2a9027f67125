//! The chunked coding (RFC 9112, 7.1): validated byte for byte as it passes by, nothing of it buffered.
//!
//! Stricter than the RFC asks: no whitespace but in a quoted string. A sender must not write any, and peers differ on
//! what they do with it.

use std::ops::Range;
use std::sync::Arc;

use super::head::HeadError;
use super::hygiene::{is_forbidden_trailer, is_token_byte, is_value_byte, reads_as};

/// Hex digits of a chunk size, leading zeros included: what fits into 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;
/// Bytes of one chunk's extensions, their semicolons included.
const MAX_EXTENSION_BYTES: usize = 256;
/// Bytes of all extensions of a body.
const MAX_EXTENSION_BYTES_TOTAL: usize = 16 * 1024;
/// Fields of a trailer section.
const MAX_TRAILERS: usize = 64;
/// Bytes of a trailer's name that are kept to compare it: more than any forbidden one has.
const NAME_BYTES: usize = 24;

/// Why a body is refused: one byte, so that a step of the decoder stays in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkFault {
    Size,
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
    fn error(self) -> HeadError {
        HeadError::Bad(match self {
            ChunkFault::Size => "a chunk size that is not 1 to 16 hex digits",
            ChunkFault::Extension => "a chunk extension that is not ;name or ;name=value",
            ChunkFault::LongExtensions => "chunk extensions longer than allowed",
            ChunkFault::LineEnd => "a line of the chunked coding that does not end with CRLF",
            ChunkFault::DataEnd => "a chunk that is not as long as its size says",
            ChunkFault::TrailerName => "a trailer's name is not a token followed by a colon",
            ChunkFault::TrailerValue => "a control byte in a trailer's value",
            ChunkFault::ForbiddenTrailer => "a field that must not come as a trailer",
            ChunkFault::ManyTrailers => return HeadError::TooLarge("more trailers than allowed"),
            ChunkFault::LongTrailers => {
                return HeadError::TooLarge("the trailers have more bytes than allowed");
            }
        })
    }
}

/// What one call of [`Chunked::feed`] took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedProgress {
    /// Bytes of the input that belong to this body: all of it, unless the body is done.
    pub consumed: usize,
    /// The last byte of the coding has been seen; what follows is the next message's.
    pub done: bool,
}

/// Where in the grammar the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    /// At the first digit of a size.
    Size,
    /// Behind so many digits.
    SizeDigits(u8),
    SizeLf,
    ExtensionName,
    ExtensionNameRest,
    ExtensionValue,
    ExtensionToken,
    Quoted,
    QuotedPair,
    /// Behind a closing quote.
    QuotedEnd,
    /// In the payload, of which `remaining` bytes are to come.
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

/// A decoder of one chunked body. It says where the payload lies and keeps no byte of it.
#[derive(Clone, Debug)]
pub struct Chunked {
    state: ChunkState,
    /// Of the current chunk: its size while that is read, then the payload still to come.
    remaining: u64,
    payload: u64,
    extension: usize,
    extension_total: usize,
    trailers: usize,
    trailer_bytes: usize,
    trailer_limit: usize,
    name: [u8; NAME_BYTES],
    name_len: usize,
    /// Names (lower case) that are forbidden as well.
    owned: Option<OwnedNames>,
}

/// Field names (lower case) in which the gateway alone speaks, beside those that it always does.
pub type OwnedNames = Arc<[Arc<str>]>;

impl Chunked {
    /// `trailer_limit_bytes` bounds the trailer section, its line ends included, the final blank line not.
    pub fn new(trailer_limit_bytes: usize) -> Chunked {
        Chunked {
            state: ChunkState::Size,
            remaining: 0,
            payload: 0,
            extension: 0,
            extension_total: 0,
            trailers: 0,
            trailer_bytes: 0,
            trailer_limit: trailer_limit_bytes,
            name: [0; NAME_BYTES],
            name_len: 0,
            owned: None,
        }
    }

    /// Refuses trailers of these names too.
    pub fn without(self, owned: &OwnedNames) -> Chunked {
        Chunked { owned: (!owned.is_empty()).then(|| owned.clone()), ..self }
    }

    /// Takes the next bytes of the body, calling `data` for each run of payload in them. An error is final: every
    /// later call returns it again.
    pub fn feed(
        &mut self,
        input: &[u8],
        mut data: impl FnMut(Range<usize>),
    ) -> Result<FeedProgress, HeadError> {
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
        Ok(FeedProgress { consumed: at, done: self.state == ChunkState::Done })
    }

    /// Payload so far.
    pub fn payload_bytes(&self) -> u64 {
        self.payload
    }

    /// Whether the last byte of the coding has been seen.
    pub fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// So many of the next `available` bytes are payload: at least one, in state `Data`.
    fn take_payload(&mut self, available: usize) -> usize {
        let run = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available);
        self.remaining -= run as u64;
        self.payload = self.payload.saturating_add(run as u64);
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
            self.remaining = if digits == 0 { 0 } else { self.remaining << 4 } | u64::from(value);
            return if digits < MAX_SIZE_DIGITS {
                Ok(ChunkState::SizeDigits(digits + 1))
            } else {
                Err(ChunkFault::Size)
            };
        }
        match byte {
            b'\r' if digits > 0 => Ok(ChunkState::SizeLf),
            b';' if digits > 0 => {
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

    /// The grammar of a head's field lines.
    fn trailer(&mut self, state: ChunkState, byte: u8) -> Result<ChunkState, ChunkFault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > self.trailer_limit {
            return Err(ChunkFault::LongTrailers);
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
                    // Of a longer name than is kept, the beginning decides.
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

/// The line that goes before a chunk of `len` bytes, written into `out`. A `len` of 0 makes the last chunk's line.
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
