//! `res`: the response's properties.

use std::cell::RefMut;
use std::rc::Rc;

use rhai::{Dynamic, Engine};

use super::body;
use super::headers::{Headers, ResponseSide};
use crate::exchange::Transaction;
use crate::script::call_stage::{CallStage, ScriptResult, script_error};

/// The handle of the response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseObject;

pub fn register(engine: &mut Engine, stage: &Rc<CallStage>) {
    engine.register_type_with_name::<ResponseObject>("Response");
    engine.register_get("headers", |_: &mut ResponseObject| Headers::<ResponseSide>::new());
    engine.register_set("headers", |_: &mut ResponseObject, _: Headers<ResponseSide>| ());
    let on = stage.clone();
    engine.register_get("status", move |_: &mut ResponseObject| {
        i64::from(on.transaction.borrow().response.status())
    });
    let on = stage.clone();
    engine.register_set("status", move |_: &mut ResponseObject, status: i64| {
        let status = final_status(status)?;
        before_client(&on, "`res.status`")?.response.set_status(status);
        Ok(())
    });
    let on = stage.clone();
    engine.register_get("duration_ms", move |_: &mut ResponseObject| {
        on.transaction.borrow().edits.duration.as_secs_f64() * 1e3
    });
    register_content(engine, stage);
}

fn register_content(engine: &mut Engine, stage: &Rc<CallStage>) {
    let on = stage.clone();
    engine.register_get("body", move |_: &mut ResponseObject| {
        body::get(&on.transaction.borrow().edits.response_body)
    });
    let on = stage.clone();
    engine.register_set("body", move |_: &mut ResponseObject, value: Dynamic| {
        body::set(&mut before_client(&on, "`res.body`")?.edits.response_body, &value)
    });
    let on = stage.clone();
    engine.register_get("json", move |_: &mut ResponseObject| {
        body::get_json(&on.transaction.borrow().edits.response_body, "response", &on.budget)
    });
    let on = stage.clone();
    engine.register_set("json", move |_: &mut ResponseObject, value: Dynamic| {
        let mut transaction = before_client(&on, "`res.json`")?;
        let Transaction { response, edits, .. } = &mut *transaction;
        body::set_json(&mut edits.response_body, &mut response.fields, &value)
    });
}

fn before_client<'s>(stage: &'s CallStage, what: &str) -> ScriptResult<RefMut<'s, Transaction>> {
    stage.before_client(what)?;
    Ok(stage.transaction.borrow_mut())
}

/// A final status (RFC 9110, 15).
pub fn final_status(status: i64) -> ScriptResult<u16> {
    u16::try_from(status)
        .ok()
        .filter(|status| (200..=599).contains(status))
        .ok_or_else(|| script_error(format!("{status} is no status of a final response: 200 to 599")))
}
