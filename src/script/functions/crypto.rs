//! Digests, message authentication, and comparison that tells no time.

use hmac::{Hmac, Mac};
use rhai::{Dynamic, Engine};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::script::call_stage::{ScriptResult, bytes_of, thrown};

pub fn register(engine: &mut Engine) {
    engine.register_fn("sha256", |data: Dynamic| -> ScriptResult<String> {
        Ok(hex(&Sha256::digest(bytes_of(&data, "`sha256`")?)))
    });
    engine.register_fn("hmac_sha256", |key: Dynamic, data: Dynamic| -> ScriptResult<String> {
        let key = bytes_of(&key, "`hmac_sha256`")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| thrown(error.to_string()))?;
        mac.update(&bytes_of(&data, "`hmac_sha256`")?);
        Ok(hex(&mac.finalize().into_bytes()))
    });
    // As long as both have the same length, it takes the same time wherever they differ.
    engine.register_fn("secure_eq", |a: &str, b: &str| bool::from(a.as_bytes().ct_eq(b.as_bytes())));
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
