//! SHA-256 (FIPS 180-4), and bytes as hexadecimal digits.

use aws_lc_rs::digest;

/// Bytes of a SHA-256.
pub const SHA256_BYTES: usize = 32;

/// The SHA-256 of the parts, one behind the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; SHA256_BYTES] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// Two hexadecimal digits a byte, lower case.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// The bytes that exactly `2 * N` hexadecimal digits of either case stand for.
pub fn from_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let mut bytes = [0; N];
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        // Two digits fit a byte.
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 of `test`.
    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn a_hash_is_of_all_parts_together() {
        assert_eq!(to_hex(&sha256(&[b"test"])), HEX);
        assert_eq!(sha256(&[b"te", b"", b"st"]), sha256(&[b"test"]));
    }

    #[test]
    fn hexadecimal_digits_are_read_in_either_case_and_in_full_length_only() {
        let bytes = sha256(&[b"test"]);
        assert_eq!(from_hex(HEX), Some(bytes));
        assert_eq!(from_hex(&HEX.to_uppercase()), Some(bytes));
        let wrong = ["", &HEX[1..], &format!("{HEX}0"), &HEX.replace('9', "g"), &HEX.replace("9f", "é")];
        for wrong in wrong {
            assert_eq!(from_hex::<SHA256_BYTES>(wrong), None, "{wrong}");
        }
        assert_eq!(from_hex(""), Some([]));
    }
}
