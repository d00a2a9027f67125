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
enum Fault {
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

impl Fault {
    #[cold]
    fn error(self) -> HeadError {
        HeadError::Bad(match self {
            Fault::Size => "a chunk size that is not 1 to 16 hex digits",
            Fault::Extension => "a chunk extension that is not ;name or ;name=value",
            Fault::LongExtensions => "chunk extensions longer than allowed",
            Fault::LineEnd => "a line of the chunked coding that does not end with CRLF",
            Fault::DataEnd => "a chunk that is not as long as its size says",
            Fault::TrailerName => "a trailer's name is not a token followed by a colon",
            Fault::TrailerValue => "a control byte in a trailer's value",
            Fault::ForbiddenTrailer => "a field that must not come as a trailer",
            Fault::ManyTrailers => return HeadError::TooLarge("more trailers than allowed"),
            Fault::LongTrailers => return HeadError::TooLarge("the trailers have more bytes than allowed"),
        })
    }
}

/// What one call of [`Chunked::feed`] took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes of the input that belong to this body: all of it, unless the body is done.
    pub consumed: usize,
    /// The last byte of the coding has been seen; what follows is the next message's.
    pub done: bool,
}

/// Where in the grammar the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
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
    Failed(Fault),
}

/// A decoder of one chunked body. It says where the payload lies and keeps no byte of it.
#[derive(Clone, Debug)]
pub struct Chunked {
    state: State,
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
    owned: Option<Owned>,
}

/// Field names (lower case) in which the gateway alone speaks, beside those that it always does.
pub type Owned = Arc<[Arc<str>]>;

impl Chunked {
    /// `trailer_limit_bytes` bounds the trailer section, its line ends included, the final blank line not.
    pub fn new(trailer_limit_bytes: usize) -> Chunked {
        Chunked {
            state: State::Size,
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
    pub fn without(self, owned: &Owned) -> Chunked {
        Chunked { owned: (!owned.is_empty()).then(|| owned.clone()), ..self }
    }

    /// Takes the next bytes of the body, calling `data` for each run of payload in them. An error is final: every
    /// later call returns it again.
    pub fn feed(&mut self, input: &[u8], mut data: impl FnMut(Range<usize>)) -> Result<Fed, HeadError> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Data => {
                    let run = self.take_payload(input.len() - at);
                    data(at..at + run);
                    at += run;
                }
                State::Done => break,
                state => {
                    self.state = self.next(state, byte).unwrap_or_else(State::Failed);
                    if let State::Failed(fault) = self.state {
                        return Err(fault.error());
                    }
                    at += 1;
                }
            }
        }
        Ok(Fed { consumed: at, done: self.state == State::Done })
    }

    /// Payload so far.
    pub fn payload_bytes(&self) -> u64 {
        self.payload
    }

    /// Whether the last byte of the coding has been seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// So many of the next `available` bytes are payload: at least one, in state `Data`.
    fn take_payload(&mut self, available: usize) -> usize {
        let run = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available);
        self.remaining -= run as u64;
        self.payload = self.payload.saturating_add(run as u64);
        if self.remaining == 0 {
            self.state = State::DataCr;
        }
        run
    }

    fn next(&mut self, state: State, byte: u8) -> Result<State, Fault> {
        match state {
            State::Size | State::SizeDigits(_) => self.size(state, byte),
            State::SizeLf => {
                expect(byte, b'\n', Fault::LineEnd)?;
                Ok(if self.remaining == 0 { State::Trailer } else { State::Data })
            }
            State::DataCr => expect(byte, b'\r', Fault::DataEnd).map(|()| State::DataLf),
            State::DataLf => expect(byte, b'\n', Fault::DataEnd).map(|()| State::Size),
            State::Trailer if byte == b'\r' => Ok(State::EndLf),
            State::EndLf => expect(byte, b'\n', Fault::LineEnd).map(|()| State::Done),
            State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                self.trailer(state, byte)
            }
            State::Data | State::Done | State::Failed(_) => Ok(state),
            _ => self.extension(state, byte),
        }
    }

    fn size(&mut self, state: State, byte: u8) -> Result<State, Fault> {
        let digits = if let State::SizeDigits(digits) = state { digits } else { 0 };
        if let Some(value) = char::from(byte).to_digit(16) {
            self.remaining = if digits == 0 { 0 } else { self.remaining << 4 } | u64::from(value);
            return if digits < MAX_SIZE_DIGITS {
                Ok(State::SizeDigits(digits + 1))
            } else {
                Err(Fault::Size)
            };
        }
        match byte {
            b'\r' if digits > 0 => Ok(State::SizeLf),
            b';' if digits > 0 => {
                self.extension = 0;
                self.count_extension_byte().map(|()| State::ExtensionName)
            }
            _ => Err(Fault::Size),
        }
    }

    /// `;name`, `;name=token` or `;name="quoted \" string"`.
    fn extension(&mut self, state: State, byte: u8) -> Result<State, Fault> {
        use State::*;
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
            _ => return Err(Fault::Extension),
        };
        self.count_extension_byte().map(|()| next)
    }

    fn count_extension_byte(&mut self) -> Result<(), Fault> {
        self.extension += 1;
        self.extension_total += 1;
        let over = self.extension > MAX_EXTENSION_BYTES || self.extension_total > MAX_EXTENSION_BYTES_TOTAL;
        if over { Err(Fault::LongExtensions) } else { Ok(()) }
    }

    /// The grammar of a head's field lines.
    fn trailer(&mut self, state: State, byte: u8) -> Result<State, Fault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > self.trailer_limit {
            return Err(Fault::LongTrailers);
        }
        match (state, byte) {
            (State::Trailer, _) if is_token_byte(byte) => {
                self.trailers += 1;
                self.name_len = 0;
                self.keep_name_byte(byte);
                if self.trailers > MAX_TRAILERS { Err(Fault::ManyTrailers) } else { Ok(State::TrailerName) }
            }
            (State::TrailerName, b':') => {
                let name = self.name.get(..self.name_len).unwrap_or(&self.name);
                let is_owned = |owned: &Arc<str>| {
                    // Of a longer name than is kept, the beginning decides.
                    let owned = owned.as_bytes();
                    reads_as(name, &owned[..owned.len().min(NAME_BYTES)])
                };
                if is_forbidden_trailer(name) || self.owned.iter().flat_map(|owned| &**owned).any(is_owned) {
                    Err(Fault::ForbiddenTrailer)
                } else {
                    Ok(State::TrailerValue)
                }
            }
            (State::TrailerName, _) if is_token_byte(byte) => {
                self.keep_name_byte(byte);
                Ok(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, _) if is_value_byte(byte) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::Trailer),
            (State::TrailerLf, _) => Err(Fault::LineEnd),
            (State::TrailerValue, _) => Err(Fault::TrailerValue),
            _ => Err(Fault::TrailerName),
        }
    }

    fn keep_name_byte(&mut self, byte: u8) {
        if let Some(kept) = self.name.get_mut(self.name_len) {
            *kept = byte;
        }
        self.name_len += 1;
    }
}

fn expect(byte: u8, expected: u8, fault: Fault) -> Result<(), Fault> {
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
