//! Encodings, ids, environment variables, and log lines.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rhai::{Dynamic, Engine, ImmutableString};

use crate::script::call_stage::{CallStage, ScriptResult, bytes_of, script_error, text, text_or_blob};
use crate::script::objects::encoded;

pub fn register(engine: &mut Engine, stage: &Rc<CallStage>) {
    engine.register_fn("base64_encode", |data: Dynamic| -> ScriptResult<String> {
        Ok(STANDARD.encode(bytes_of(&data, "`base64_encode`")?))
    });
    engine.register_fn("base64_decode", |text: &str| {
        let decoded = STANDARD.decode(text);
        decoded
            .map(|bytes| text_or_blob(&bytes))
            .map_err(|error| script_error(format!("`base64_decode`: {error}")))
    });
    engine.register_fn("url_encode", encoded);
    engine.register_fn("url_decode", |encoded: &str| -> ScriptResult<ImmutableString> {
        let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8();
        decoded.map(|text| (&*text).into()).map_err(|error| script_error(format!("`url_decode`: {error}")))
    });
    let on = stage.clone();
    engine.register_fn("uuid", move || {
        let mut id = Vec::with_capacity(36);
        on.host.uuid(&mut id);
        text(&id)
    });
    let on = stage.clone();
    engine.register_fn("env", move |name: &str| -> ScriptResult<Dynamic> {
        if !on.env.iter().any(|allowed| **allowed == *name) {
            return Err(script_error(format!("`env` may not read {name:?}: list it in `[scripts] env`")));
        }
        Ok(on.host.env(name).map_or(Dynamic::UNIT, Dynamic::from))
    });
    let on = stage.clone();
    engine.register_fn("log", move |value: Dynamic| on.log(&value.to_string()));
    let on = stage.clone();
    // For a float, the language's own `log` is the logarithm.
    engine.register_fn("log", move |value: f64| on.log(&Dynamic::from(value).to_string()));
    let on = stage.clone();
    engine.on_print(move |text| on.log(text));
    let on = stage.clone();
    engine.on_debug(move |text, _, place| match (place.line(), place.position()) {
        (Some(line), Some(column)) => on.log(&format!("{line}:{column}: {text}")),
        _ => on.log(text),
    });
}
