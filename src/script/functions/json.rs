//! JSON to values and back. Whole numbers are 64-bit integers, others floats; the members of an object come out in
//! the order of their names.

use rhai::{Dynamic, Engine};

use crate::script::stage::{Outcome, thrown};

pub fn register(engine: &mut Engine) {
    engine.register_fn("to_json", |value: Dynamic| -> Outcome<String> {
        let bytes = write(&value)?;
        Ok(String::from_utf8(bytes).expect("JSON is written as UTF-8"))
    });
    engine.register_fn("parse_json", |text: &str| {
        parse(text.as_bytes()).map_err(|error| thrown(format!("`parse_json`: {error}")))
    });
}

/// Parses one JSON text (RFC 8259), nested at most 128 deep.
pub fn parse(bytes: &[u8]) -> serde_json::Result<Dynamic> {
    serde_json::from_slice(bytes)
}

/// Writes a value without spaces.
pub fn write(value: &Dynamic) -> Outcome<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| thrown(format!("this cannot be written as JSON: {error}")))
}
