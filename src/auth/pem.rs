//! Reads a public key from a PEM file (RFC 7468), with an error that names what the file holds instead.

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::keys::KeyMaterial;

/// Bits of an RSA modulus: fewer are weak (RFC 7518, 3.3), more only cost time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

const NO_KEY: &str = "this is no RSA, P-256, P-384 or Ed25519 public key";

/// The key in the only block of a PEM text. Its kind is read from the key itself.
pub(super) fn public_key(text: &str) -> Result<KeyMaterial, String> {
    let (label, der) = block(text)?;
    match label {
        "PUBLIC KEY" => spki(der),
        "RSA PUBLIC KEY" => rsa_der(&der),
        "CERTIFICATE" => Err("this is a certificate; `openssl x509 -pubkey -noout -in FILE` \
             prints the public key in it"
            .to_owned()),
        label if label.ends_with("PRIVATE KEY") => {
            Err("this is a private key, which only the issuer of tokens may \
             have; `openssl pkey -pubout -in FILE` prints its public key"
                .to_owned())
        }
        label => Err(format!("`BEGIN {label}` is no public key")),
    }
}

/// Label and bytes of the only block.
fn block(text: &str) -> Result<(&str, Vec<u8>), String> {
    const BEGIN: &str = "-----BEGIN ";
    const DASHES: &str = "-----";
    let no_pem =
        || "this is no PEM file: `-----BEGIN PUBLIC KEY-----`, base64, `-----END PUBLIC KEY-----`".to_owned();
    let (_, rest) = text.split_once(BEGIN).ok_or_else(no_pem)?;
    let (label, rest) = rest.split_once(DASHES).ok_or_else(no_pem)?;
    let (body, rest) = rest.split_once(&format!("-----END {label}-----")).ok_or_else(no_pem)?;
    if rest.contains(BEGIN) {
        return Err("this file holds more than one key; a set of keys is written as `jwks`".to_owned());
    }
    let body: String = body.split_ascii_whitespace().collect();
    // A private key in the older form has header lines, which are no base64; its label is enough for the error.
    let der = STANDARD.decode(body);
    match der {
        Ok(der) => Ok((label, der)),
        Err(_) if label.ends_with("PRIVATE KEY") => Ok((label, Vec::new())),
        Err(_) => Err("what stands between the PEM file's lines is not base64".to_owned()),
    }
}

/// A `SubjectPublicKeyInfo` (RFC 5280, 4.1.2.7).
fn spki(der: Vec<u8>) -> Result<KeyMaterial, String> {
    // The checks below also accept bare keys, and any 32 bytes are one of Ed25519. A bare EC point does not start like a
    // SEQUENCE.
    if der.first() != Some(&0x30) || der.len() == 32 {
        return Err(NO_KEY.to_owned());
    }
    if is_key_for(&signature::ED25519, &der) {
        Ok(KeyMaterial::Ed25519(der))
    } else if is_key_for(&signature::ECDSA_P256_SHA256_FIXED, &der) {
        Ok(KeyMaterial::P256(der))
    } else if is_key_for(&signature::ECDSA_P384_SHA384_FIXED, &der) {
        Ok(KeyMaterial::P384(der))
    } else if is_key_for(&signature::ECDSA_P521_SHA512_FIXED, &der) {
        Err("an EC key on P-521 serves ES512 alone, which is not supported".to_owned())
    } else {
        rsa_der(&der)
    }
}

fn rsa_der(der: &[u8]) -> Result<KeyMaterial, String> {
    let key = aws_lc_rs::rsa::PublicKey::from_der(der).map_err(|_| NO_KEY.to_owned())?;
    let n = key.modulus().big_endian_without_leading_zero();
    let e = key.exponent().big_endian_without_leading_zero();
    rsa(n.to_vec(), e.to_vec())
}

/// An RSA key of a modulus and exponent without leading zeros, if it is valid and of an accepted size.
pub(super) fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<KeyMaterial, String> {
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(format!("the RSA key has {bits} bits; 2048 to 8192 are accepted"));
    }
    RsaPublicKeyComponents { n: &n, e: &e }
        .to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_| "the RSA key's modulus and exponent make no key".to_owned())?;
    Ok(KeyMaterial::Rsa { n, e })
}

/// Whether the bytes (a bare key or SPKI in DER) are a valid key for the algorithm: of its kind, on its curve.
pub(super) fn is_key_for(algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]) -> bool {
    ParsedPublicKey::new(algorithm, bytes).is_ok()
}
