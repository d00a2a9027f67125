//! Forged, altered and stolen tokens.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::KeyPair;
use jsonwebtoken::Algorithm;
use serde_json::json;

use super::super::jwt::{MAX_TOKEN_BYTES, Provider, TokenFailure};
use super::providers::*;
use super::sign::*;

fn refused(provider: &Provider, token: impl AsRef<[u8]>, why: &str) {
    let text = String::from_utf8_lossy(token.as_ref()).into_owned();
    match provider.verify(token.as_ref(), NOW) {
        Err(TokenFailure::Invalid(said)) => assert!(said.contains(why), "{said:?}, not {why:?}: {text}"),
        other => panic!("{other:?} for {text}"),
    }
}

#[test]
fn every_algorithm_verifies_its_own_tokens_and_those_of_no_other() {
    for pinned in ALL {
        let provider = provider(&[pinned]);
        assert_eq!(
            verify(&provider, &usual(pinned, &good_claims())).unwrap().map["sub"],
            "alice",
            "{pinned:?}"
        );
        for other in ALL.into_iter().filter(|other| *other != pinned) {
            refused(&provider, usual(other, &good_claims()), "`alg`");
            // The same signature under the pinned name.
            let header = json!({ "alg": pinned }).to_string();
            refused(&provider, token(other, &header, &good_claims().to_string()), "signature");
        }
    }
}

/// RFC 8725, 2.1 and 3.1; RFC 7518, 3.6.
#[test]
fn unsigned_tokens_are_refused() {
    let provider = provider(&[Algorithm::HS256]);
    let claims = b64(good_claims().to_string());
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = b64(json!({ "alg": alg }).to_string());
        refused(&provider, format!("{header}.{claims}."), "not signed");
        refused(&provider, format!("{header}.{claims}.AAAA"), "`alg`");
        let signed = token(Algorithm::HS256, &json!({ "alg": alg }).to_string(), &good_claims().to_string());
        refused(&provider, signed, "`alg`");
    }
    let header = b64(r#"{"alg":"HS256"}"#);
    refused(&provider, format!("{header}.{claims}."), "not signed");
}

/// RFC 8725, 2.1: a public key is no secret, in whichever of its forms it is tried as one.
#[test]
fn a_public_key_is_never_a_shared_secret() {
    let der = spki(Algorithm::RS256);
    let text = pem("PUBLIC KEY", &der);
    let pkcs1 = RSA.public_key().as_ref().to_vec();
    let forms = [text.as_bytes(), text.trim_end().as_bytes(), &der[..], &pkcs1[..], b""];
    let pinned = [Algorithm::RS256, Algorithm::PS256];
    let by_jwks = jwks_provider(&pinned, &json!({ "keys": [jwk(Algorithm::RS256, json!({ "kid": "1" }))] }));
    for (form, provider) in forms.iter().flat_map(|form| [(form, provider(&pinned)), (form, by_jwks.clone())])
    {
        refused(&provider, hs256(form, &good_claims()), "`alg`");
        for alg in ["RS256", "PS256"] {
            let message =
                format!("{}.{}", b64(json!({ "alg": alg }).to_string()), b64(good_claims().to_string()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, form), message.as_bytes());
            refused(&provider, format!("{message}.{}", b64(tag)), "signature");
        }
    }
}

/// RFC 7515, 4.1.2, 4.1.3, 4.1.5, 4.1.11; RFC 8725, 3.10; RFC 7797, 3.
#[test]
fn a_header_with_keys_or_extensions_is_refused() {
    let provider = jwks_provider(&[Algorithm::RS256], &json!({ "keys": [jwk(Algorithm::RS256, json!({}))] }));
    let own = rsa_jwk(&OTHER_RSA);
    for (name, value) in [
        ("jwk", own.clone()),
        ("jwk", json!(null)),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("zip", json!("DEF")),
    ] {
        let mut header = json!({ "alg": "RS256", name: value });
        refused(&provider, token(Algorithm::RS256, &header.to_string(), &good_claims().to_string()), name);
        header["kid"] = json!("1");
        refused(&provider, token(Algorithm::RS256, &header.to_string(), &good_claims().to_string()), name);
    }
    // Certificates and thumbprints are ignored: the key is the configured one.
    for (name, value) in
        [("x5c", json!(["MIIB"])), ("x5t", json!("abc")), ("typ", json!("at+jwt")), ("cty", json!("json"))]
    {
        let header = json!({ "alg": "RS256", name: value }).to_string();
        assert!(
            verify(&provider, &token(Algorithm::RS256, &header, &good_claims().to_string())).is_ok(),
            "{name}"
        );
    }
}

#[test]
fn a_key_of_the_tokens_own_choice_signs_nothing() {
    let provider = provider(&[Algorithm::RS256]);
    let message = format!("{}.{}", b64(r#"{"alg":"RS256"}"#), b64(good_claims().to_string()));
    let signed = rsa_signature(&OTHER_RSA, &aws_lc_rs::signature::RSA_PKCS1_SHA256, message.as_bytes());
    refused(&provider, format!("{message}.{}", b64(signed)), "signature");
}

/// RFC 7515, 4 and RFC 7519, 4.
#[test]
fn duplicate_members_are_refused_in_header_and_claims() {
    let provider = provider(&[Algorithm::HS256]);
    let claims = good_claims().to_string();
    for header in [
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        r#"{"alg":"HS256","x":{"a":1,"a":2}}"#,
    ] {
        refused(&provider, token(Algorithm::HS256, header, &claims), "header");
    }
    for claims in [
        format!(r#"{{"exp":{},"sub":"a","sub":"b"}}"#, NOW + 9),
        format!(r#"{{"exp":1,"exp":{}}}"#, NOW + 9),
        format!(r#"{{"exp":{},"e\u0078p":{}}}"#, NOW + 9, NOW + 9),
        format!(r#"{{"exp":{},"realm":{{"roles":[{{"a":1,"a":1}}]}}}}"#, NOW + 9),
    ] {
        refused(&provider, token(Algorithm::HS256, r#"{"alg":"HS256"}"#, &claims), "claims");
    }
}

#[test]
fn headers_and_claims_of_the_wrong_kind_are_refused() {
    let provider = provider(&[Algorithm::HS256]);
    let claims = good_claims().to_string();
    for header in ["", "null", "[]", "\"HS256\"", "{", r#"{"alg":"HS256"}x"#, "\u{feff}{\"alg\":\"HS256\"}"] {
        refused(&provider, token(Algorithm::HS256, header, &claims), "header");
    }
    for header in ["{}", r#"{"typ":"JWT"}"#, r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, r#"{"alg":256}"#] {
        refused(&provider, token(Algorithm::HS256, header, &claims), "`alg`");
    }
    for alg in ["hs256", "HS256 ", "HS-256", "HS1", "ES512", "Ed25519", "dir"] {
        refused(&provider, token(Algorithm::HS256, &json!({ "alg": alg }).to_string(), &claims), "`alg`");
    }
    for kid in ["1", "null", "[\"1\"]", "{}"] {
        let header = format!(r#"{{"alg":"HS256","kid":{kid}}}"#);
        refused(&provider, token(Algorithm::HS256, &header, &claims), "`kid`");
    }
    for claims in ["", "null", "[]", "1", "\"a\"", "{", "{}{}", "\0"] {
        refused(&provider, token(Algorithm::HS256, r#"{"alg":"HS256"}"#, claims), "claims");
    }
}

/// RFC 7515, 7.1: three parts of base64url (2) without padding, in the one way to write it.
#[test]
fn a_token_is_three_parts_of_canonical_base64url() {
    let provider = provider(&[Algorithm::HS256]);
    let good = String::from_utf8(usual(Algorithm::HS256, &good_claims())).unwrap();
    assert!(verify(&provider, good.as_bytes()).is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("three parts") };

    for token in ["", ".", "..", "...", "a", "a.b", "a.b.c.d", "a.b.c.d.e"] {
        assert!(verify(&provider, token.as_bytes()).is_err(), "{token}");
    }
    refused(&provider, format!("{header}.{claims}"), "three parts");
    refused(&provider, format!("{good}."), "three parts");
    refused(&provider, format!(".{good}"), "three parts");
    // Five parts are an encrypted token (RFC 7516, 7.1).
    refused(&provider, format!("{header}.{claims}.{signature}.{claims}.{signature}"), "three parts");
    refused(&provider, format!(".{claims}.{signature}"), "header");

    for bent in [
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{header}\n.{claims}.{signature}"),
        format!("{header}.{claims} .{signature}"),
        format!("{good}="),
        format!("{header}=.{claims}.{signature}"),
        format!("{header}==.{claims}.{signature}"),
        format!("{good}\0"),
        format!("Bearer {good}"),
        format!("\"{good}\""),
        good.replace('.', "%2E"),
        good.replacen(&signature[..1], "+", 1),
    ] {
        assert!(matches!(verify(&provider, bent.as_bytes()), Err(TokenFailure::Invalid(_))), "{bent:?}");
    }
    assert!(verify(&provider, &[good.as_bytes(), b"\xff"].concat()).is_err());
}

/// RFC 4648, 3.5: 32 bytes leave two bits in the last character, which must be zero.
#[test]
fn stray_bits_in_a_signature_are_refused() {
    let provider = provider(&[Algorithm::HS256]);
    let good = usual(Algorithm::HS256, &good_claims());
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = good.last().unwrap();
    let accepted = alphabet.iter().filter(|character| {
        let mut bent = good.clone();
        *bent.last_mut().unwrap() = **character;
        verify(&provider, &bent).is_ok()
    });
    assert_eq!(accepted.collect::<Vec<_>>(), [last]);
}

/// RFC 7519, 5.2 and 7.2.
#[test]
fn nested_tokens_are_refused() {
    let provider = provider(&[Algorithm::HS256]);
    let inner = String::from_utf8(usual(Algorithm::HS256, &good_claims())).unwrap();
    for cty in [json!("JWT"), json!("jwt"), json!("application/jwt"), json!(1)] {
        let header = json!({ "alg": "HS256", "cty": cty }).to_string();
        refused(&provider, token(Algorithm::HS256, &header, &good_claims().to_string()), "cty");
        refused(&provider, token(Algorithm::HS256, &header, &inner), "cty");
    }
    refused(&provider, token(Algorithm::HS256, r#"{"alg":"HS256"}"#, &inner), "claims");
}

#[test]
fn tokens_are_bounded_in_length_and_depth() {
    let provider = provider(&[Algorithm::HS256]);
    let padded = |bytes: usize| usual(Algorithm::HS256, &json!({ "exp": NOW + 1, "x": "y".repeat(bytes) }));
    let base = padded(0).len();
    let fits = padded((MAX_TOKEN_BYTES - base) / 4 * 3 - 3);
    assert!(fits.len() <= MAX_TOKEN_BYTES && verify(&provider, &fits).is_ok());
    refused(&provider, padded(MAX_TOKEN_BYTES), "too long");
    refused(&provider, vec![b'.'; 10_000_000], "too long");
    let deep = format!(r#"{{"exp":{},"x":{}1{}}}"#, NOW + 9, "[".repeat(2000), "]".repeat(2000));
    refused(&provider, token(Algorithm::HS256, r#"{"alg":"HS256"}"#, &deep), "claims");
    let deep = format!(r#"{{"alg":"HS256","x":{}1{}}}"#, "[".repeat(2000), "]".repeat(2000));
    refused(&provider, token(Algorithm::HS256, &deep, &good_claims().to_string()), "header");
}

/// Signatures of zeros and of other lengths: "psychic signatures" (CVE-2022-21449) and their like.
#[test]
fn degenerate_signatures_are_refused() {
    for algorithm in ALL {
        let provider = provider(&[algorithm]);
        let good = usual(algorithm, &good_claims());
        let message = &good[..good.iter().rposition(|byte| *byte == b'.').unwrap() + 1];
        let length = signature(algorithm, b"").len();
        for bytes in
            [vec![0; length], vec![0xff; length], vec![0; 1], vec![0; length + 1], vec![1; length - 1]]
        {
            refused(&provider, [message, b64(bytes).as_bytes()].concat(), "signature");
        }
    }
}

#[test]
fn refusals_quote_nothing_of_the_token() {
    let provider = provider(&[Algorithm::HS256]);
    let marked = token(Algorithm::HS256, r#"{"alg":"MARK"}"#, r#"{"MARK":1}"#);
    let said = format!("{:?}", verify(&provider, &marked).unwrap_err());
    assert!(!said.contains("MARK"), "{said}");
    assert_eq!(format!("{:?}", provider.keys()), "KeySet(1 keys)", "keys and fingerprints do not show");
}
