//! The words of a configuration that only authentication understands: places of credentials, API keys, algorithms,
//! and whether a shared secret is long enough.

use jsonwebtoken::{Algorithm, AlgorithmFamily};

use crate::plan::{ApiKeyHash, CredentialPlace};

/// Reads `header:NAME`, `cookie:NAME` or `query:NAME`.
///
/// # Errors
/// What is wrong, in a sentence's words.
pub fn credential_place(text: &str) -> Result<CredentialPlace, String> {
    match text.split_once(':') {
        Some((_, "")) => Err(format!("`{text}` names nothing behind the colon")),
        Some(("header", name)) => Ok(CredentialPlace::Header(name.to_ascii_lowercase().into())),
        Some(("cookie", name)) => Ok(CredentialPlace::Cookie(name.into())),
        Some(("query", name)) => Ok(CredentialPlace::Query(name.into())),
        _ => Err(format!("`{text}` is none of `header:NAME`, `cookie:NAME`, `query:NAME`")),
    }
}

/// Reads an API key as it is configured: `sha256:HEX`, or the key itself, which is hashed.
///
/// # Errors
/// What is wrong, in words that show nothing of the key.
pub fn api_key(text: &str) -> Result<ApiKeyHash, String> {
    match text.strip_prefix("sha256:") {
        Some(hex) => ApiKeyHash::from_hex(hex).ok_or_else(|| "`sha256:` wants 64 hex digits".to_owned()),
        // Bytes outside of visible ASCII cannot be sent in a header as they are written here.
        None if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err("an API key is made of visible ASCII characters".to_owned())
        }
        None => ApiKeyHash::of(text.as_bytes())
            .ok_or_else(|| format!("an API key has 1 to {} characters", ApiKeyHash::MAX_KEY_BYTES)),
    }
}

/// Reads the name of a signature algorithm (RFC 7518, 3.1 and RFC 8037, 3.1); names are case-sensitive.
///
/// # Errors
/// What is wrong, in a sentence's words.
pub fn algorithm(name: &str) -> Result<Algorithm, String> {
    match name {
        "ES512" => Err("ES512 is not supported; ES256, ES384 and EdDSA are".to_owned()),
        _ if name.eq_ignore_ascii_case("none") => {
            Err("`none` is never accepted: anyone could write such a token".to_owned())
        }
        _ => name.parse().map_err(|_| {
            let known = "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";
            format!("`{name}` is not a known algorithm; there are {known}")
        }),
    }
}

/// Refuses an empty list, and one that mixes shared secrets with public keys: who mistakes one for the other lets
/// anyone sign (RFC 8725, 2.1 and 3.1).
///
/// # Errors
/// What is wrong, in a sentence's words.
pub fn check_algorithms(algorithms: &[Algorithm]) -> Result<(), String> {
    let is_hmac = |algorithm: &Algorithm| algorithm.family() == AlgorithmFamily::Hmac;
    match algorithms {
        [] => Err("`algorithms` must name at least one".to_owned()),
        list if list.iter().any(is_hmac) && !list.iter().all(is_hmac) => {
            Err("`algorithms` mixes HS256 and its like (a shared secret) with those of public keys"
                .to_owned())
        }
        _ => Ok(()),
    }
}

/// The bytes of the hash of an `HS…` algorithm, and so of the shortest secret that is as strong (RFC 7518, 3.2).
pub fn min_secret_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS512 => 64,
        Algorithm::HS384 => 48,
        _ => 32,
    }
}

/// The warning about a shared secret that is shorter than the hash's output, which can be guessed from a single token
/// (RFC 7518, 3.2 forbids it; gateways take it all the same, and so does this one).
pub fn weak_secret(secret: &[u8], algorithms: &[Algorithm]) -> Option<String> {
    let min_bytes = algorithms.iter().copied().map(min_secret_bytes).max().unwrap_or(32);
    let bytes = secret.len();
    (bytes < min_bytes)
        .then(|| format!("the secret has {bytes} bytes; RFC 7518, 3.2 asks for at least {min_bytes}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_header_names_folded() {
        for (text, want) in [
            ("header:Authorization", CredentialPlace::Header("authorization".into())),
            ("cookie:Sid", CredentialPlace::Cookie("Sid".into())),
            ("query:access_token", CredentialPlace::Query("access_token".into())),
        ] {
            assert_eq!(credential_place(text), Ok(want));
        }
        for wrong in ["", "header", "header:", "Header:x", "body:x"] {
            assert!(credential_place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_api_key_is_known_by_its_hash_written_or_made() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let made = api_key("test").unwrap();
        assert_eq!(made, api_key(&format!("sha256:{hex}")).unwrap());
        assert_eq!(made, api_key(&format!("sha256:{}", hex.to_uppercase())).unwrap());
        assert_eq!(made.to_hex(), hex);
        let short = format!("sha256:{}", &hex[1..]);
        for wrong in ["", "a b", "é", "sha256:", "sha256:9f86", &short, &"k".repeat(513)] {
            assert!(api_key(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn algorithms_are_known_by_their_exact_names_and_not_mixed() {
        assert_eq!(algorithm("PS384"), Ok(Algorithm::PS384));
        for wrong in ["none", "NONE", "ES512", "hs256", "HS1", ""] {
            assert!(algorithm(wrong).is_err(), "{wrong}");
        }
        assert!(check_algorithms(&[]).is_err());
        assert!(check_algorithms(&[Algorithm::HS256, Algorithm::RS256]).is_err());
        assert!(check_algorithms(&[Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA]).is_ok());
    }

    #[test]
    fn a_short_secret_is_warned_of() {
        assert!(weak_secret(&[0; 31], &[Algorithm::HS256]).is_some());
        assert!(weak_secret(&[0; 32], &[Algorithm::HS256]).is_none());
        assert!(weak_secret(&[0; 32], &[Algorithm::HS256, Algorithm::HS512]).is_some());
    }
}
