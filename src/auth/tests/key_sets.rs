//! Keys from secrets, PEM files and JWK sets, and which of them are tried for a token.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::signature::KeyPair;
use jsonwebtoken::Algorithm::{self, *};
use serde_json::{Value, json};

use super::super::jwt::TokenFailure;
use super::super::keys::{KeySet, MAX_KEYS};
use super::providers::*;
use super::sign::*;
use crate::plan::{Jwt, JwtKey, Secret};

fn set(keys: Value) -> Value {
    json!({ "keys": keys })
}

fn by_kid(algorithm: Algorithm, kid: &str) -> Vec<u8> {
    token(algorithm, &json!({ "alg": algorithm, "kid": kid }).to_string(), &good_claims().to_string())
}

/// An RSA public key in DER (RFC 8017, A.1.1) of a modulus of so many bytes.
fn rsa_der(modulus_bytes: usize) -> Vec<u8> {
    let long = |tag: u8, bytes: &[u8]| match bytes.len() {
        len @ 128..256 => [&[tag, 0x81, len as u8], bytes].concat(),
        len => [&[tag, 0x82, (len >> 8) as u8, len as u8], bytes].concat(),
    };
    let modulus = [&[0][..], &vec![0xc5; modulus_bytes]].concat();
    long(0x30, &[&long(0x02, &modulus)[..], &[0x02, 3, 1, 0, 1]].concat())
}

#[test]
fn pem_files_of_each_kind_are_read() {
    for algorithm in [RS256, PS512, ES256, ES384, EdDSA] {
        let text = pem("PUBLIC KEY", &spki(algorithm));
        for text in [text.clone(), text.replace('\n', "\r\n"), format!("Subject: a key\n{text}\n")] {
            assert_eq!(KeySet::from_pem(&text, &[algorithm]).unwrap().len(), 1);
        }
    }
    let pkcs1 = pem("RSA PUBLIC KEY", RSA.public_key().as_ref());
    let keys = KeySet::from_pem(&pkcs1, &[RS256, PS256]).unwrap();
    assert_eq!(keys, *provider(&[RS256, PS256]).keys().as_ref(), "one key in two forms");
}

#[test]
fn other_pem_files_are_refused_with_an_error_that_names_them() {
    let private = AsDer::<Pkcs8V1Der>::as_der(&*RSA).unwrap().as_ref().to_vec();
    let p521 = AsDer::<PublicKeyX509Der>::as_der(P521.public_key()).unwrap();
    let good = pem("PUBLIC KEY", &spki(RS256));
    for (text, why) in [
        (pem("PRIVATE KEY", &private), "private key"),
        (pem("RSA PRIVATE KEY", &private), "private key"),
        (pem("EC PRIVATE KEY", b"x"), "private key"),
        (pem("ENCRYPTED PRIVATE KEY", b"x"), "private key"),
        (pem("OPENSSH PRIVATE KEY", b"x"), "private key"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----"
                .into(),
            "private key",
        ),
        (pem("PUBLIC KEY", &private), "no RSA, P-256"),
        (pem("CERTIFICATE", b"x"), "certificate"),
        (pem("PGP PUBLIC KEY BLOCK", b"x"), "PGP"),
        (pem("PUBLIC KEY", p521.as_ref()), "P-521"),
        (pem("PUBLIC KEY", b"junk"), "no RSA, P-256"),
        (pem("PUBLIC KEY", b""), "no RSA, P-256"),
        (pem("RSA PUBLIC KEY", &rsa_der(128)), "1024 bits"),
        (pem("RSA PUBLIC KEY", &rsa_der(1025)), "8200 bits"),
        (format!("{good}{good}"), "more than one"),
        (good.replace("-----END", "-----FIN"), "no PEM"),
        (good.replace("A", "*"), "base64"),
        ("MIIB".into(), "no PEM"),
        (String::new(), "no PEM"),
    ] {
        let error = KeySet::from_pem(&text, &[RS256]).unwrap_err();
        assert!(error.contains(why), "{error:?}, not {why:?}");
    }
    assert!(KeySet::from_pem(&pem("RSA PUBLIC KEY", &rsa_der(256)), &[RS256]).is_ok());
}

#[test]
fn a_bare_key_in_a_pem_file_is_not_taken_for_one_in_its_wrapping() {
    let point = P256.public_key().as_ref();
    let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
    let begins_like_der = [&[0x30], &[7; 31][..]].concat();
    for bare in [point, &compressed, ED.public_key().as_ref(), &begins_like_der] {
        for algorithm in [ES256, EdDSA] {
            assert!(
                KeySet::from_pem(&pem("PUBLIC KEY", bare), &[algorithm])
                    .unwrap_err()
                    .contains("no RSA, P-256")
            );
        }
    }
}

#[test]
fn a_key_that_cannot_serve_all_algorithms_is_refused() {
    let pem = |algorithm| pem("PUBLIC KEY", &spki(algorithm));
    for (key, algorithms) in [
        (RS256, &[RS256, ES256][..]),
        (RS256, &[HS256]),
        (ES256, &[ES384]),
        (ES384, &[RS256]),
        (EdDSA, &[ES256]),
    ] {
        let error = KeySet::from_pem(&pem(key), algorithms).unwrap_err();
        assert!(error.contains("`algorithms`"), "{error}");
    }
    assert!(KeySet::from_secret(SECRET, &[RS256]).is_err());
    assert!(KeySet::from_secret(SECRET, &[HS256, RS256]).is_err());
    assert!(KeySet::from_secret(SECRET, &[]).is_err());
    assert!(KeySet::from_secret(b"", &[HS256]).is_err());
    assert!(KeySet::from_secret(b"short", &[HS256, HS512]).is_ok());
}

#[test]
fn jwk_sets_of_each_kind_verify() {
    for algorithm in ALL {
        for more in [json!({}), json!({ "alg": algorithm }), json!({ "use": "sig", "key_ops": ["verify"] })] {
            let provider = jwks_provider(&[algorithm], &set(json!([jwk(algorithm, more)])));
            assert!(verify(&provider, &usual(algorithm, &good_claims())).is_ok(), "{algorithm:?}");
        }
    }
}

#[test]
fn a_key_is_bound_to_its_alg_its_kind_and_its_curve() {
    let all: Vec<Algorithm> = ALL[3..].to_vec();
    let bound =
        jwks_provider(&all, &set(json!([jwk(RS256, json!({ "alg": "PS256" })), jwk(ES256, json!({}))])));
    assert!(verify(&bound, &usual(PS256, &good_claims())).is_ok());
    assert!(verify(&bound, &usual(ES256, &good_claims())).is_ok());
    for other in [RS256, RS512, PS384, ES384, EdDSA] {
        assert!(verify(&bound, &usual(other, &good_claims())).is_err(), "{other:?}");
    }
}

#[test]
fn unusable_keys_are_skipped() {
    let good = jwk(RS256, json!({ "kid": "good" }));
    let small = json!({ "kty": "RSA", "n": b64([0xc5; 128]), "e": "AQAB" });
    let off_curve = jwk(ES256, json!({ "x": b64([1; 32]) }));
    let wrong_curve = jwk(ES256, json!({ "crv": "secp256k1" }));
    for useless in [
        json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" }),
        json!({ "kty": "OKP", "crv": "X25519", "x": b64([9; 32]) }),
        json!({ "kid": "1" }),
        json!(1),
        jwk(RS256, json!({ "use": "enc" })),
        jwk(RS256, json!({ "key_ops": ["encrypt"] })),
        jwk(RS256, json!({ "key_ops": "verify" })),
        jwk(RS256, json!({ "alg": "RSA-OAEP" })),
        jwk(RS256, json!({ "alg": "HS256" })),
        jwk(RS256, json!({ "alg": "none" })),
        jwk(RS256, json!({ "kid": 1 })),
        jwk(RS256, json!({ "d": "AAAA" })),
        jwk(RS256, json!({ "n": "" })),
        jwk(RS256, json!({ "n": "a+b" })),
        jwk(RS256, json!({ "e": "" })),
        jwk(RS256, json!({ "e": null })),
        jwk(HS256, json!({})),
        jwk(ES256, json!({ "x": b64([1; 31]) })),
        small,
        off_curve,
        wrong_curve,
    ] {
        let pinned = [RS256, ES256];
        let alone = KeySet::from_jwks(&set(json!([useless.clone()])).to_string(), &pinned);
        assert!(alone.unwrap_err().contains("no usable key"), "{useless}");
        let beside =
            KeySet::from_jwks(&set(json!([useless.clone(), good.clone()])).to_string(), &pinned).unwrap();
        assert_eq!(beside.len(), 1, "{useless}");
    }
}

/// RFC 7518, 3.2 and 3.3. Keys that are meant for something else are nothing to report.
#[test]
fn weak_and_private_keys_are_refused_with_their_names_and_reasons() {
    let oct = |kid: &str, bytes: usize| json!({ "kty": "oct", "kid": kid, "k": b64(vec![7; bytes]) });
    let refused = |keys: Value, pinned: &[Algorithm]| {
        KeySet::from_jwks(&set(keys).to_string(), pinned).unwrap().refused().to_vec()
    };
    let secrets = json!([oct("good", 32), oct("short", 31), oct("none", 0), jwk(RS256, json!({}))]);
    assert_eq!(
        refused(secrets, &[HS256]),
        [
            r#"key 2 ("short"): the secret has 31 bytes; HS256 needs at least 32"#,
            r#"key 3 ("none"): the secret has 0 bytes; HS256 needs at least 32"#
        ]
    );
    let weak = json!({ "kty": "RSA", "kid": "x".repeat(99), "n": b64([0xc5; 255]), "e": "AQAB" });
    let private = jwk(RS256, json!({ "d": "AAAA" }));
    let keys = json!([jwk(RS256, json!({})), weak, private, jwk(ES256, json!({ "x": "" }))]);
    assert_eq!(
        refused(keys, &[RS256]),
        [
            format!("key 2 ({:?}): the RSA key has 2040 bits; 2048 to 8192 are accepted", "x".repeat(64)),
            "key 3: it is a private key".to_owned()
        ]
    );

    // A secret serves the algorithms that it is long enough for.
    let read =
        |pinned: &[Algorithm]| KeySet::from_jwks(&set(json!([oct("a", 48)])).to_string(), pinned).unwrap();
    assert_eq!(read(&[HS256, HS384, HS512]), read(&[HS256, HS384]));
}

#[test]
fn sets_without_a_usable_key_or_in_bad_form_are_errors() {
    let many = vec![jwk(RS256, json!({})); MAX_KEYS + 1];
    for text in [
        String::new(),
        "<html>".into(),
        "[]".into(),
        "{}".into(),
        r#"{"keys":{}}"#.into(),
        r#"{"keys":[]}"#.into(),
        r#"{"keys":[],"keys":[]}"#.into(),
        format!(r#"{{"keys":[{{"kty":"oct","k":"{}","k":"{}"}}]}}"#, b64(SECRET), b64(SECRET)),
        jwk(RS256, json!({})).to_string(),
        set(json!(many)).to_string(),
    ] {
        assert!(KeySet::from_jwks(&text, &[RS256]).is_err(), "{text}");
    }
    let one = set(json!([jwk(HS256, json!({}))])).to_string();
    assert!(KeySet::from_jwks(&one, &[HS256, RS256]).is_err(), "secrets and public keys are not mixed");
}

#[test]
fn a_leading_zero_in_a_modulus_is_dropped() {
    let plain = rsa_jwk(&RSA);
    let mut padded = plain.clone();
    padded["n"] = json!(b64([&[0], RSA.public_key().modulus().big_endian_without_leading_zero()].concat()));
    let read = |jwk| KeySet::from_jwks(&set(json!([jwk])).to_string(), &[RS256]).unwrap();
    assert_eq!(read(plain), read(padded));
}

/// RFC 7515, 4.1.4: a kid is a hint.
#[test]
fn a_token_is_tried_against_keys_of_its_kid_and_those_without() {
    let other = |kid: Value| {
        let mut key = rsa_jwk(&OTHER_RSA);
        key["kid"] = kid;
        key
    };
    let mine = |kid: &str| jwk(RS256, json!({ "kid": kid }));
    let nameless = jwk(RS256, json!({}));
    let outcome = |keys: Value, token: &[u8]| verify(&jwks_provider(&[RS256], &set(keys)), token).map(drop);
    let (wrong, unknown) =
        (Err(TokenFailure::Invalid("the signature is wrong")), Err(TokenFailure::UnknownKey));

    assert_eq!(outcome(json!([other(json!("a")), mine("b")]), &by_kid(RS256, "b")), Ok(()));
    assert_eq!(outcome(json!([other(json!("a")), mine("b")]), &by_kid(RS256, "a")), wrong);
    assert_eq!(outcome(json!([other(json!("a")), mine("b")]), &by_kid(RS256, "c")), unknown);
    assert_eq!(outcome(json!([other(json!("a")), nameless]), &by_kid(RS256, "c")), Ok(()));
    assert_eq!(outcome(json!([other(json!("a")), mine("b")]), &usual(RS256, &good_claims())), Ok(()));
    assert_eq!(
        outcome(json!([other(json!("a")), mine("a")]), &by_kid(RS256, "a")),
        Ok(()),
        "one kid, two keys"
    );
    // The kid is known, so the algorithm is at fault, and no newer set would help.
    let provider = jwks_provider(&[RS256, ES256], &set(json!([mine("a")])));
    assert_eq!(verify(&provider, &by_kid(ES256, "a")).map(drop), wrong);
}

#[test]
fn a_key_is_unknown_to_an_empty_set_and_never_to_a_single_key() {
    let plan = std::sync::Arc::new(jwt_plan(&[RS256]));
    let none = super::super::jwt::Provider::new(plan, std::sync::Arc::new(KeySet::empty()));
    assert_eq!(verify(&none, &usual(RS256, &good_claims())), Err(TokenFailure::UnknownKey));
    assert_eq!(verify(&none, &by_kid(RS256, "a")), Err(TokenFailure::UnknownKey));
    assert!(
        matches!(verify(&none, &usual(ES256, &good_claims())), Err(TokenFailure::Invalid(_))),
        "not even pinned"
    );
    assert!(verify(&provider(&[RS256]), &by_kid(RS256, "whatever")).is_ok());
}

#[test]
fn a_token_without_kid_is_tried_against_a_few_keys_alone() {
    let others = (0..8).map(|number| {
        let mut key = rsa_jwk(&OTHER_RSA);
        key["kid"] = json!(number.to_string());
        key
    });
    let mut keys: Vec<Value> = others.collect();
    keys.push(jwk(RS256, json!({ "kid": "mine" })));
    let provider = jwks_provider(&[RS256], &set(json!(keys)));
    assert!(verify(&provider, &usual(RS256, &good_claims())).is_err());
    assert!(verify(&provider, &by_kid(RS256, "mine")).is_ok());
}

#[test]
fn sets_are_equal_when_keys_and_algorithms_are() {
    let read = |keys: Value, pinned: &[Algorithm]| KeySet::from_jwks(&set(keys).to_string(), pinned).unwrap();
    let (a, b) = (jwk(RS256, json!({ "kid": "a" })), jwk(RS256, json!({ "kid": "b" })));
    let one = read(json!([a]), &[RS256]);
    assert_eq!(
        one,
        read(json!([a, a, jwk(RS256, json!({ "use": "enc" }))]), &[RS256]),
        "duplicates do not count"
    );
    assert_ne!(one, read(json!([b]), &[RS256]));
    assert_ne!(one, read(json!([a, b]), &[RS256]));
    assert_ne!(one, read(json!([a]), &[RS256, RS512]));
    assert_ne!(one, read(json!([jwk(RS256, json!({}))]), &[RS256]));
    assert_ne!(one, KeySet::empty());
}

#[test]
fn each_way_to_configure_keys_builds_its_set() {
    let build = |key, algorithms: &[Algorithm]| KeySet::build(&Jwt { key, ..jwt_plan(algorithms) });
    let secret = JwtKey::Secret(Secret(SECRET.into()));
    let pem = JwtKey::PublicKey(pem("PUBLIC KEY", &spki(ES256)).into());
    let jwks = JwtKey::Jwks(set(json!([jwk(EdDSA, json!({}))])).to_string().into());
    let url = JwtKey::JwksUrl("https://id.example.com/jwks".into());
    for (key, algorithm) in [(&secret, HS256), (&pem, ES256), (&jwks, EdDSA)] {
        assert_eq!(build(key.clone(), &[algorithm]).unwrap().len(), 1);
        assert!(build(key.clone(), &[PS256]).is_err());
    }
    assert_eq!(build(url.clone(), &[RS256]), Ok(KeySet::empty()));
    assert!(build(url, &[RS256, HS256]).is_err());
}
