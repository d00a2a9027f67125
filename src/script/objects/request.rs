//! `req`: the request's properties.

use std::cell::RefMut;
use std::rc::Rc;
use std::sync::Arc;

use rhai::{Dynamic, Engine, ImmutableString, Map};

use super::headers::{Headers, RequestSide};
use super::{body, query};
use crate::exchange::Transaction;
use crate::http::fields::FieldName;
use crate::http::path;
use crate::plan::Consumer;
use crate::script::call_stage::{CallStage, ScriptResult, script_error, text};

/// The handle of the request.
#[derive(Clone, Copy, Debug)]
pub struct RequestObject;

pub fn register(engine: &mut Engine, stage: &Rc<CallStage>) {
    engine.register_type_with_name::<RequestObject>("Request");
    register_read_only(engine, stage);
    register_target(engine, stage);
    register_content(engine, stage);
    engine.register_get("headers", |_: &mut RequestObject| Headers::<RequestSide>::new());
    // Called after every `req.headers[…] = …`; the handle itself is empty.
    engine.register_set("headers", |_: &mut RequestObject, _: Headers<RequestSide>| ());
}

/// Registers a property that cannot be set.
fn read_only<T>(
    engine: &mut Engine,
    stage: &Rc<CallStage>,
    name: &str,
    read: impl Fn(&Transaction) -> T + 'static,
) where
    T: rhai::Variant + Clone,
{
    let on = stage.clone();
    engine.register_get(name, move |_: &mut RequestObject| read(&on.transaction.borrow()));
}

fn register_read_only(engine: &mut Engine, stage: &Rc<CallStage>) {
    read_only(engine, stage, "id", |transaction| text(&transaction.id));
    read_only(engine, stage, "method", |transaction| text(transaction.request.method_bytes()));
    read_only(engine, stage, "host", |transaction| text(&transaction.host));
    read_only(engine, stage, "scheme", |transaction| {
        // The field is kept only from a trusted proxy.
        text(transaction.request.fields.get(FieldName::XForwardedProto).unwrap_or(b"http"))
    });
    read_only(engine, stage, "client_ip", |transaction| {
        ImmutableString::from(transaction.meta.client.ip.to_string())
    });
    read_only(engine, stage, "params", |transaction| {
        let captured = transaction.captures.iter(transaction.path());
        captured.map(|(name, value)| (name.into(), text(value).into())).collect::<Map>()
    });
    read_only(engine, stage, "consumer", |transaction| {
        transaction.consumer.as_ref().map_or(Dynamic::UNIT, |consumer| consumer_map(consumer).into())
    });
    read_only(engine, stage, "claims", |transaction| {
        transaction
            .claims
            .as_ref()
            .and_then(|claims| rhai::serde::to_dynamic(&claims.map).ok())
            .unwrap_or_default()
    });
    let on = stage.clone();
    engine.register_get("route", move |_: &mut RequestObject| {
        on.route.borrow().as_ref().map_or(ImmutableString::new(), |route| route.name.clone())
    });
    let on = stage.clone();
    engine.register_get("ctx", move |_: &mut RequestObject| {
        let mut transaction = on.transaction.borrow_mut();
        let ctx = &mut transaction.edits.ctx;
        if ctx.is_unit() {
            *ctx = Dynamic::from_map(Map::new()).into_shared();
        }
        ctx.clone()
    });
    let on = stage.clone();
    engine.register_set("ctx", move |_: &mut RequestObject, value: Dynamic| {
        if !value.is_map() {
            return Err(script_error("`req.ctx` is a map; set its members"));
        }
        // Reading returns the shared map, so the assigned value mostly is that map.
        let same = value.is_shared();
        on.transaction.borrow_mut().edits.ctx = if same { value } else { value.into_shared() };
        Ok(())
    });
}

fn consumer_map(consumer: &Consumer) -> Map {
    let list = |items: &[Arc<str>]| {
        items.iter().map(|item| Dynamic::from(item.to_string())).collect::<rhai::Array>()
    };
    Map::from([
        ("name".into(), consumer.name.to_string().into()),
        ("groups".into(), list(&consumer.groups).into()),
        ("permissions".into(), list(&consumer.permissions).into()),
    ])
}

fn register_target(engine: &mut Engine, stage: &Rc<CallStage>) {
    read_only(engine, stage, "path", |transaction| {
        text(transaction.edits.path.as_deref().unwrap_or_else(|| transaction.path()))
    });
    let on = stage.clone();
    engine.register_set("path", move |_: &mut RequestObject, value: &str| {
        on.before_upstream("`req.path`")?;
        let path = normal_path(value)?;
        on.transaction.borrow_mut().edits.path = Some(path);
        Ok(())
    });
    read_only(engine, stage, "query", |transaction| {
        query::to_map(transaction.edits.query.as_deref().unwrap_or_else(|| transaction.query()))
    });
    let on = stage.clone();
    engine.register_set("query", move |_: &mut RequestObject, value: Map| {
        let mut transaction = on.transaction.borrow_mut();
        let old = transaction.edits.query.as_deref().unwrap_or_else(|| transaction.query());
        // A method call on `req.query` assigns it as well, changed or not.
        if query::is_same(old, &value) {
            return Ok(());
        }
        let new = query::from_map(old, &value)?;
        on.before_upstream("`req.query`")?;
        if new.len() > MAX_TARGET_BYTES {
            return Err(script_error(format!("`req.query` would be longer than {MAX_TARGET_BYTES} bytes")));
        }
        transaction.edits.query = Some(new);
        Ok(())
    });
    register_upstream(engine, stage);
}

/// Bytes of a path or query set by a script.
const MAX_TARGET_BYTES: usize = 64 * 1024;

/// A path set by a script, normalised like a client's; it must start with a slash.
fn normal_path(path: &str) -> ScriptResult<Vec<u8>> {
    let wrong = |why: &str| script_error(format!("`req.path` cannot be {path:?}: {why}"));
    if !path.starts_with('/') {
        return Err(wrong("it must begin with `/`"));
    }
    if path.contains(['?', '#']) {
        return Err(wrong("a query is set by `req.query`, and `#` must be escaped"));
    }
    if path.len() > MAX_TARGET_BYTES || path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(wrong("it is too long, or has a space or a control character; see `url_encode`"));
    }
    let mut normal = Vec::new();
    path::normalise(path.as_bytes(), crate::http::head::Method::Get, &mut normal)
        .map_err(|error| wrong(error.detail()))?;
    Ok(normal)
}

fn register_upstream(engine: &mut Engine, stage: &Rc<CallStage>) {
    let on = stage.clone();
    engine.register_get("upstream", move |_: &mut RequestObject| -> Dynamic {
        let (route, transaction) = (on.route.borrow(), on.transaction.borrow());
        let name = route
            .as_ref()
            .and_then(|route| route.upstreams.get(transaction.edits.upstream.or(route.upstream)?));
        name.map_or(Dynamic::UNIT, |name| (&**name).into())
    });
    let on = stage.clone();
    engine.register_set("upstream", move |_: &mut RequestObject, name: &str| {
        on.before_upstream("`req.upstream`")?;
        let route = on.route.borrow();
        let Some(route) = route.as_ref().filter(|route| route.upstream.is_some()) else {
            return Err(script_error("`req.upstream` cannot be set on a route that answers by itself"));
        };
        let Some(index) = route.upstreams.iter().position(|upstream| **upstream == *name) else {
            return Err(script_error(format!("there is no upstream {name:?}")));
        };
        on.transaction.borrow_mut().edits.upstream = Some(index);
        Ok(())
    });
}

fn register_content(engine: &mut Engine, stage: &Rc<CallStage>) {
    read_only(engine, stage, "body", |transaction| body::get(&transaction.edits.request_body));
    let on = stage.clone();
    engine.register_set("body", move |_: &mut RequestObject, value: Dynamic| {
        let mut transaction = before_upstream(&on, "`req.body`")?;
        body::set(&mut transaction.edits.request_body, &value)
    });
    let on = stage.clone();
    engine.register_get("json", move |_: &mut RequestObject| {
        body::get_json(&on.transaction.borrow().edits.request_body, "request", &on.budget)
    });
    let on = stage.clone();
    engine.register_set("json", move |_: &mut RequestObject, value: Dynamic| {
        let mut transaction = before_upstream(&on, "`req.json`")?;
        let Transaction { request, edits, .. } = &mut *transaction;
        body::set_json(&mut edits.request_body, &mut request.fields, &value)
    });
}

fn before_upstream<'s>(stage: &'s CallStage, what: &str) -> ScriptResult<RefMut<'s, Transaction>> {
    stage.before_upstream(what)?;
    Ok(stage.transaction.borrow_mut())
}
