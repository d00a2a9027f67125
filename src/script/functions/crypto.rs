//! Digests, message authentication codes, and comparison in constant time.

use std::cell::RefCell;

use aws_lc_rs::{constant_time, digest, hmac};
use rhai::{Dynamic, Engine};

use crate::base::hash::to_hex;
use crate::script::call_stage::{ScriptResult, bytes_of};

pub fn register(engine: &mut Engine) {
    engine.register_fn("sha256", |data: Dynamic| -> ScriptResult<String> {
        Ok(to_hex(digest::digest(&digest::SHA256, &bytes_of(&data, "`sha256`")?).as_ref()))
    });
    let prepared = RefCell::default();
    engine.register_fn("hmac_sha256", move |key: Dynamic, data: Dynamic| -> ScriptResult<String> {
        let key = bytes_of(&key, "`hmac_sha256`")?;
        let data = bytes_of(&data, "`hmac_sha256`")?;
        Ok(to_hex(sign(&mut prepared.borrow_mut(), key, &data).as_ref()))
    });
    // For two texts of the same length, the time does not depend on where they differ.
    engine.register_fn("secure_eq", |a: &str, b: &str| {
        constant_time::verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()
    });
}

/// A key's bytes, and the two hash states (RFC 2104, 4) that signing starts from.
type PreparedKey = (Vec<u8>, hmac::Key);

/// The HMAC-SHA-256 of `data`. To prepare a key costs as much as to sign a short text, and a script mostly has one
/// key: the last one is kept.
fn sign(prepared: &mut Option<PreparedKey>, key: Vec<u8>, data: &[u8]) -> hmac::Tag {
    let is_it = |known: &PreparedKey| constant_time::verify_slices_are_equal(&known.0, &key).is_ok();
    match prepared {
        Some(known) if is_it(known) => hmac::sign(&known.1, data),
        _ => {
            let new = hmac::Key::new(hmac::HMAC_SHA256, &key);
            hmac::sign(&prepared.insert((key, new)).1, data)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_of_its_own_key_whichever_key_came_before() {
        let mut prepared = None;
        let fresh = |key: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"data");
        for key in [&b"a"[..], b"a", b"b", b"", b"a", b"ab"] {
            assert_eq!(sign(&mut prepared, key.to_vec(), b"data").as_ref(), fresh(key).as_ref());
        }
    }
}
