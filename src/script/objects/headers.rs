//! `req.headers` and `res.headers`: fields by name, in any case.
//!
//! Framing, hop-by-hop fields and those in which the gateway speaks are refused with the reason: a script must not be
//! able to split a message or to forge what upstreams rely on.

use std::marker::PhantomData;
use std::rc::Rc;

use rhai::{Array, Dynamic, Engine};

use crate::exchange::Transaction;
use crate::http::fields::{FieldName, Fields};
use crate::http::hygiene;
use crate::script::call_stage::{CallStage, ScriptResult, script_error, text};

/// Bytes of a head that scripts change, replaced values included.
const MAX_BYTES: usize = 256 * 1024;
/// Fields of a head that scripts change.
const MAX_FIELDS: usize = 256;

/// A handle of the fields of one of the two heads.
#[derive(Debug)]
pub struct Headers<S>(PhantomData<S>);

#[derive(Debug)]
pub struct RequestSide;
#[derive(Debug)]
pub struct ResponseSide;

impl<S> Clone for Headers<S> {
    fn clone(&self) -> Self {
        Headers::new()
    }
}

impl<S> Headers<S> {
    pub fn new() -> Headers<S> {
        Headers(PhantomData)
    }
}

/// One of the two heads, and which of its fields scripts may not change.
pub trait HeaderSide: 'static {
    const TYPE: &'static str;
    fn fields(transaction: &Transaction) -> &Fields;
    fn fields_mut(transaction: &mut Transaction) -> &mut Fields;
    fn may_change(stage: &CallStage) -> ScriptResult<()>;
    /// Why scripts may not change a field, or what to use instead; `None`: they may.
    fn refusal(id: FieldName) -> Option<&'static str>;
}

const FRAMING: &str =
    "it says how the message is framed, which the gateway alone decides; set `body` for another body";
const CONNECTION: &str = "it speaks of one connection, and each of the two has its own";
const ID: &str = "it names the request in logs and answers";

/// Fields that scripts may change in neither head.
fn framing_or_connection(id: FieldName) -> Option<&'static str> {
    match id {
        FieldName::ContentLength | FieldName::TransferEncoding | FieldName::Trailer => Some(FRAMING),
        FieldName::XRequestId => Some(ID),
        id if hygiene::is_hop_by_hop(id) => Some(CONNECTION),
        _ => None,
    }
}

impl HeaderSide for RequestSide {
    const TYPE: &'static str = "RequestHeaders";

    fn fields(transaction: &Transaction) -> &Fields {
        &transaction.request.fields
    }

    fn fields_mut(transaction: &mut Transaction) -> &mut Fields {
        &mut transaction.request.fields
    }

    fn may_change(stage: &CallStage) -> ScriptResult<()> {
        stage.before_upstream("a request header")
    }

    fn refusal(id: FieldName) -> Option<&'static str> {
        match id {
            FieldName::Host => Some("the route's `host_header` says what the upstream gets"),
            FieldName::Expect => Some("the gateway answers it where it reads the body"),
            FieldName::XForwardedFor
            | FieldName::XForwardedProto
            | FieldName::XForwardedHost
            | FieldName::XForwardedPrefix => {
                Some("the gateway says where a request came from; see `trusted_proxies`")
            }
            id => framing_or_connection(id),
        }
    }
}

impl HeaderSide for ResponseSide {
    const TYPE: &'static str = "ResponseHeaders";

    fn fields(transaction: &Transaction) -> &Fields {
        &transaction.response.fields
    }

    fn fields_mut(transaction: &mut Transaction) -> &mut Fields {
        &mut transaction.response.fields
    }

    fn may_change(stage: &CallStage) -> ScriptResult<()> {
        stage.before_client("a response header")
    }

    fn refusal(id: FieldName) -> Option<&'static str> {
        framing_or_connection(id)
    }
}

pub fn register(engine: &mut Engine, stage: &Rc<CallStage>) {
    register_side::<RequestSide>(engine, stage);
    register_side::<ResponseSide>(engine, stage);
}

fn register_side<S: HeaderSide>(engine: &mut Engine, stage: &Rc<CallStage>) {
    engine.register_type_with_name::<Headers<S>>(S::TYPE);
    let on = stage.clone();
    engine.register_indexer_get(move |_: &mut Headers<S>, name: &str| {
        first(S::fields(&on.transaction.borrow()), name)
    });
    let on = stage.clone();
    engine.register_indexer_set(move |_: &mut Headers<S>, name: &str, value: &str| {
        change::<S>(&on, name, |fields| checked(name, value).map(|value| fields.set(name.as_bytes(), value)))
    });
    let on = stage.clone();
    engine.register_indexer_set(move |_: &mut Headers<S>, name: &str, value: Dynamic| {
        match value.is_unit() {
            true => remove::<S>(&on, name),
            false => {
                let value = value_text(name, &value)?;
                change::<S>(&on, name, |fields| {
                    checked(name, &value).map(|value| fields.set(name.as_bytes(), value))
                })
            }
        }
    });
    let on = stage.clone();
    engine.register_fn("add", move |_: &mut Headers<S>, name: &str, value: Dynamic| {
        let value = value_text(name, &value)?;
        change::<S>(&on, name, |fields| checked(name, &value).map(|value| fields.add(name.as_bytes(), value)))
    });
    let on = stage.clone();
    engine.register_fn("remove", move |_: &mut Headers<S>, name: &str| remove::<S>(&on, name));
    let on = stage.clone();
    engine.register_fn("all", move |_: &mut Headers<S>, name: &str| -> Array {
        let transaction = on.transaction.borrow();
        S::fields(&transaction).find_all(name.as_bytes()).map(|value| text(value).into()).collect()
    });
    let on = stage.clone();
    engine.register_fn("names", move |_: &mut Headers<S>| names(S::fields(&on.transaction.borrow())));
    let on = stage.clone();
    engine.register_fn("contains", move |_: &mut Headers<S>, name: &str| {
        S::fields(&on.transaction.borrow()).find(name.as_bytes()).is_some()
    });
    let on = stage.clone();
    let show = move |_: &mut Headers<S>| {
        let mut lines = Vec::new();
        S::fields(&on.transaction.borrow()).write_to(&mut lines);
        text(&lines)
    };
    engine.register_fn("to_string", show.clone());
    engine.register_fn("to_debug", show);
}

fn first(fields: &Fields, name: &str) -> Dynamic {
    fields.find(name.as_bytes()).map_or(Dynamic::UNIT, |value| text(value).into())
}

/// Each name once, in lower case, in the order of the fields.
fn names(fields: &Fields) -> Array {
    let mut names: Vec<String> = Vec::with_capacity(fields.len());
    for field in fields.iter() {
        let name = String::from_utf8_lossy(field.name).to_ascii_lowercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(Dynamic::from).collect()
}

fn remove<S: HeaderSide>(stage: &CallStage, name: &str) -> ScriptResult<()> {
    change::<S>(stage, name, |fields| {
        fields.remove(name.as_bytes());
        Ok(())
    })
}

/// Why scripts may not change the field of this name; `None`: they may.
pub fn refusal<S: HeaderSide>(name: &str) -> Option<String> {
    let bytes = name.as_bytes();
    if !hygiene::is_token(bytes) {
        return Some(format!("{name:?} is no header name"));
    }
    let why = match S::refusal(FieldName::of(bytes)) {
        _ if hygiene::is_spoofable(bytes) => "with `-` for `_` it is one in which the gateway speaks",
        why => why?,
    };
    Some(format!("header {name:?} cannot be changed by a script: {why}"))
}

/// Changes a head, if scripts may change the field and the head is within its bounds.
fn change<S: HeaderSide>(
    stage: &CallStage,
    name: &str,
    edit: impl FnOnce(&mut Fields) -> ScriptResult<()>,
) -> ScriptResult<()> {
    S::may_change(stage)?;
    if let Some(why) = refusal::<S>(name) {
        return Err(script_error(why));
    }
    let mut transaction = stage.transaction.borrow_mut();
    let fields = S::fields_mut(&mut transaction);
    if fields.stored_bytes() > MAX_BYTES || fields.len() > MAX_FIELDS {
        return Err(script_error(format!(
            "more headers than {MAX_FIELDS}, or more than {MAX_BYTES} bytes of them"
        )));
    }
    edit(fields)
}

/// The bytes of a field value (RFC 9110, 5.5): without CR, LF, NUL and other control bytes.
fn checked<'v>(name: &str, value: &'v str) -> ScriptResult<&'v [u8]> {
    let bytes = value.trim_ascii().as_bytes();
    if bytes.len() > MAX_BYTES || !hygiene::is_field_value(bytes) {
        return Err(script_error(format!(
            "the value for header {name:?} has a control character, or is too long"
        )));
    }
    Ok(bytes)
}

/// The text of a string, number or boolean.
///
/// # Errors
/// Any other value.
pub fn value_text(name: &str, value: &Dynamic) -> ScriptResult<String> {
    let plain = value.is_string() || value.is_int() || value.is_float() || value.is_bool() || value.is_char();
    if plain {
        return Ok(value.to_string());
    }
    Err(script_error(format!(
        "header {name:?} takes a string, a number or a boolean, not {}",
        value.type_name()
    )))
}
