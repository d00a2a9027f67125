//! JSON to values and back. Whole numbers are 64-bit integers, others floats; the members of an object are written in
//! the order of their names.

use std::fmt;
use std::rc::Rc;

use rhai::{Array, Dynamic, Engine, Map};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};

use crate::script::budget::Budget;
use crate::script::call_stage::{CallStage, ScriptResult, script_error};

pub fn register(engine: &mut Engine, stage: &Rc<CallStage>) {
    engine.register_fn("to_json", |value: Dynamic| to_text(&value));
    // The language has its own for maps, which writes some values as invalid JSON.
    engine.register_fn("to_json", |map: Map| to_text(&map.into()));
    let budget = stage.budget.clone();
    engine.register_fn("parse_json", move |text: &str| {
        parse(text.as_bytes(), &budget).map_err(|error| script_error(format!("`parse_json`: {error}")))
    });
}

fn to_text(value: &Dynamic) -> ScriptResult<String> {
    Ok(String::from_utf8(write(value)?).expect("JSON is written as UTF-8"))
}

/// Parses one JSON text (RFC 8259), nested at most 128 deep. Memory is checked at every element: an object may take a
/// hundred times the memory of its text.
pub fn parse(bytes: &[u8], budget: &Budget) -> serde_json::Result<Dynamic> {
    budget.without_depth_check(|| {
        let mut parser = serde_json::Deserializer::from_slice(bytes);
        let value = JsonSeed(budget).deserialize(&mut parser)?;
        parser.end()?;
        Ok(value)
    })
}

/// Writes a value without whitespace.
///
/// # Errors
/// Functions and the gateway's objects, which have no JSON form.
pub fn write(value: &Dynamic) -> ScriptResult<Vec<u8>> {
    serde_json::to_vec(&JsonValue(value))
        .map_err(|error| script_error(format!("this cannot be written as JSON: {error}")))
}

/// Serialises a script's value.
struct JsonValue<'d>(&'d Dynamic);

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let value = self.0;
        if value.is_shared() {
            let inner =
                value.read_lock::<Dynamic>().ok_or_else(|| S::Error::custom("it is being changed"))?;
            return JsonValue(&inner).serialize(to);
        }
        if let Ok(items) = value.as_array_ref() {
            return to.collect_seq(items.iter().map(JsonValue));
        }
        if let Ok(members) = value.as_map_ref() {
            return to.collect_map(members.iter().map(|(name, member)| (name.as_str(), JsonValue(member))));
        }
        if let Ok(bytes) = value.as_blob_ref() {
            return to.collect_seq(bytes.iter());
        }
        if let Ok(text) = value.as_immutable_string_ref() {
            return to.serialize_str(&text);
        }
        scalar(value, to)
    }
}

fn scalar<S: Serializer>(value: &Dynamic, to: S) -> Result<S::Ok, S::Error> {
    if let Ok(number) = value.as_int() {
        return to.serialize_i64(number);
    }
    if let Ok(number) = value.as_float() {
        return to.serialize_f64(number);
    }
    if let Ok(truth) = value.as_bool() {
        return to.serialize_bool(truth);
    }
    if let Ok(letter) = value.as_char() {
        return to.serialize_char(letter);
    }
    match value.is_unit() {
        true => to.serialize_unit(),
        false => Err(S::Error::custom(format!("there is a {} in it", value.type_name()))),
    }
}

/// Deserialises a script's value within the budget.
#[derive(Clone, Copy)]
struct JsonSeed<'b>(&'b Budget);

impl<'de> DeserializeSeed<'de> for JsonSeed<'_> {
    type Value = Dynamic;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Dynamic, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JsonSeed<'_> {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::UNIT)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Dynamic, E> {
        Ok(i64::try_from(value).map_or_else(|_| Dynamic::from(value as f64), Dynamic::from))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Dynamic, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let mut array = Array::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
            self.0.check_memory().map_err(A::Error::custom)?;
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Dynamic, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            map.insert(name.into(), members.next_value_seed(self)?);
            self.0.check_memory().map_err(A::Error::custom)?;
        }
        Ok(map.into())
    }
}
