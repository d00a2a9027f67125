//! Decodes content codings (RFC 9110, 8.4.1): gzip, deflate, br. Bounded, since a few bytes may decode to gigabytes.

use std::fmt;
use std::io::{self, Read};

use super::fields::{FieldName, Fields};

/// Codings applied one after the other: more is an attack, or a mistake.
const MAX_LAYERS: usize = 2;

/// Why a body was not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodingError {
    /// A coding that the gateway does not know.
    Unknown(String),
    /// The bytes are not of their coding.
    Corrupt,
    /// The decoded content is over the limit.
    TooLarge,
}

impl fmt::Display for CodingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodingError::Unknown(coding) => write!(f, "{coding:?} is not known here"),
            CodingError::Corrupt => f.write_str("is not what the body has"),
            CodingError::TooLarge => f.write_str("decodes to more than allowed"),
        }
    }
}

/// The decoded content of a body whose head has these fields; `None`: it has no coding.
///
/// # Errors
/// [`CodingError`]: the body is not decoded.
pub fn decode(fields: &Fields, body: &[u8], limit_bytes: usize) -> Result<Option<Vec<u8>>, CodingError> {
    let lines = fields.all(FieldName::ContentEncoding);
    let codings: Vec<&[u8]> = lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
        .collect();
    if codings.len() > MAX_LAYERS {
        return Err(CodingError::Unknown(format!("{} codings on top of each other", codings.len())));
    }
    let mut content: Option<Vec<u8>> = None;
    // The last one named was applied last.
    for coding in codings.iter().rev() {
        content = Some(decode_one(coding, content.as_deref().unwrap_or(body), limit_bytes)?);
    }
    Ok(content)
}

fn decode_one(coding: &[u8], body: &[u8], limit_bytes: usize) -> Result<Vec<u8>, CodingError> {
    const WINDOW_BYTES: usize = 4096;
    match coding.to_ascii_lowercase().as_slice() {
        b"gzip" | b"x-gzip" => read(flate2::read::MultiGzDecoder::new(body), limit_bytes),
        b"deflate" => read(flate2::read::ZlibDecoder::new(body), limit_bytes),
        b"br" => read(brotli_decompressor::Decompressor::new(body, WINDOW_BYTES), limit_bytes),
        other => Err(CodingError::Unknown(String::from_utf8_lossy(other).into_owned())),
    }
}

fn read(decoder: impl Read, limit_bytes: usize) -> Result<Vec<u8>, CodingError> {
    let mut content = Vec::new();
    let one_too_many = u64::try_from(limit_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let done: io::Result<usize> = decoder.take(one_too_many).read_to_end(&mut content);
    match done {
        Err(_) => Err(CodingError::Corrupt),
        Ok(_) if content.len() > limit_bytes => Err(CodingError::TooLarge),
        Ok(_) => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn fields(coding: &str) -> Fields {
        let mut fields = Fields::default();
        fields.add(b"Content-Encoding", coding.as_bytes());
        fields
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).and_then(|()| encoder.finish()).expect("memory")
    }

    fn deflate(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).and_then(|()| encoder.finish()).expect("memory")
    }

    /// `hello` as brotli writes it: one uncompressed metablock, then the empty last one.
    const BR_HELLO: [u8; 10] = [0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03, 0x00];

    #[test]
    fn each_coding_is_decoded_and_a_body_without_one_left() {
        let decoded = |coding, body: &[u8]| decode(&fields(coding), body, 100);
        assert_eq!(decoded("gzip", &gzip(b"hello")), Ok(Some(b"hello".to_vec())));
        assert_eq!(decoded("X-GZip", &gzip(b"hello")), Ok(Some(b"hello".to_vec())));
        assert_eq!(decoded("deflate", &deflate(b"hello")), Ok(Some(b"hello".to_vec())));
        assert_eq!(decoded("br", &BR_HELLO[..9]), Ok(Some(b"hello".to_vec())));
        assert_eq!(decoded("deflate, gzip", &gzip(&deflate(b"hello"))), Ok(Some(b"hello".to_vec())));
        assert_eq!(decoded("identity", b"hello"), Ok(None));
        assert_eq!(decode(&Fields::default(), b"hello", 100), Ok(None));
    }

    #[test]
    fn decoding_stops_at_the_limit() {
        let bomb = gzip(&vec![0; 10_000_000]);
        assert!(bomb.len() < 100_000);
        assert_eq!(decode(&fields("gzip"), &bomb, 1_000_000), Err(CodingError::TooLarge));
        assert_eq!(decode(&fields("gzip"), &gzip(&[0; 100]), 100), Ok(Some(vec![0; 100])));
    }

    #[test]
    fn what_cannot_be_decoded_says_why() {
        assert_eq!(decode(&fields("zstd"), b"x", 100), Err(CodingError::Unknown("zstd".into())));
        assert!(matches!(decode(&fields("gzip, gzip, gzip"), b"x", 100), Err(CodingError::Unknown(_))));
        for coding in ["gzip", "deflate", "br"] {
            assert_eq!(decode(&fields(coding), b"no such thing", 100), Err(CodingError::Corrupt), "{coding}");
        }
        let cut = gzip(b"hello");
        assert_eq!(decode(&fields("gzip"), &cut[..cut.len() - 1], 100), Err(CodingError::Corrupt));
    }
}
