//! `req`.

use std::cell::RefMut;
use std::rc::Rc;
use std::sync::Arc;

use rhai::{Dynamic, Engine, ImmutableString, Map};

use super::headers::{Headers, OfRequest};
use super::{body, query};
use crate::exchange::Transaction;
use crate::http::fields::FieldName;
use crate::http::path;
use crate::plan::Consumer;
use crate::script::stage::{Outcome, Stage, text, thrown};

/// A handle of the request on the stage.
#[derive(Clone, Copy, Debug)]
pub struct Request;

pub fn register(engine: &mut Engine, stage: &Rc<Stage>) {
    engine.register_type_with_name::<Request>("Request");
    register_facts(engine, stage);
    register_target(engine, stage);
    register_content(engine, stage);
    engine.register_get("headers", |_: &mut Request| Headers::<OfRequest>::new());
    // Called after every `req.headers[…] = …`; the handle itself holds nothing that could change.
    engine.register_set("headers", |_: &mut Request, _: Headers<OfRequest>| ());
}

/// A property that cannot be set.
fn fact<T>(engine: &mut Engine, stage: &Rc<Stage>, name: &str, read: impl Fn(&Transaction) -> T + 'static)
where
    T: rhai::Variant + Clone,
{
    let on = stage.clone();
    engine.register_get(name, move |_: &mut Request| read(&on.transaction.borrow()));
}

fn register_facts(engine: &mut Engine, stage: &Rc<Stage>) {
    fact(engine, stage, "id", |transaction| text(&transaction.id));
    fact(engine, stage, "method", |transaction| text(transaction.request.method_bytes()));
    fact(engine, stage, "host", |transaction| text(&transaction.host));
    fact(engine, stage, "scheme", |transaction| {
        // Only a trusted proxy's word about it is still there.
        text(transaction.request.fields.get(FieldName::XForwardedProto).unwrap_or(b"http"))
    });
    fact(engine, stage, "client_ip", |transaction| {
        ImmutableString::from(transaction.meta.client.ip.to_string())
    });
    fact(engine, stage, "params", |transaction| {
        let captured = transaction.captures.iter(transaction.path());
        captured.map(|(name, value)| (name.into(), text(value).into())).collect::<Map>()
    });
    fact(engine, stage, "consumer", |transaction| {
        transaction.consumer.as_ref().map_or(Dynamic::UNIT, |consumer| consumer_map(consumer).into())
    });
    fact(engine, stage, "claims", |transaction| {
        transaction
            .claims
            .as_ref()
            .and_then(|claims| rhai::serde::to_dynamic(&claims.map).ok())
            .unwrap_or_default()
    });
    let on = stage.clone();
    engine.register_get("route", move |_: &mut Request| {
        on.route.borrow().as_ref().map_or(ImmutableString::new(), |route| route.name.clone())
    });
    let on = stage.clone();
    engine.register_get("ctx", move |_: &mut Request| {
        let mut transaction = on.transaction.borrow_mut();
        let ctx = &mut transaction.edits.ctx;
        if ctx.is_unit() {
            *ctx = Dynamic::from_map(Map::new()).into_shared();
        }
        ctx.clone()
    });
    let on = stage.clone();
    engine.register_set("ctx", move |_: &mut Request, value: Dynamic| {
        if !value.is_map() {
            return Err(thrown("`req.ctx` is a map; set its members"));
        }
        // Reading gave out the shared map, so what comes back mostly is that map.
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

fn register_target(engine: &mut Engine, stage: &Rc<Stage>) {
    fact(engine, stage, "path", |transaction| {
        text(transaction.edits.path.as_deref().unwrap_or_else(|| transaction.path()))
    });
    let on = stage.clone();
    engine.register_set("path", move |_: &mut Request, value: &str| {
        on.before_upstream("`req.path`")?;
        let path = normal_path(value)?;
        on.transaction.borrow_mut().edits.path = Some(path);
        Ok(())
    });
    fact(engine, stage, "query", |transaction| {
        query::to_map(transaction.edits.query.as_deref().unwrap_or_else(|| transaction.query()))
    });
    let on = stage.clone();
    engine.register_set("query", move |_: &mut Request, value: Map| {
        let mut transaction = on.transaction.borrow_mut();
        let old = transaction.edits.query.as_deref().unwrap_or_else(|| transaction.query());
        // A method called on `req.query` ends here as well, whether it changed anything or not.
        if query::is_same(old, &value) {
            return Ok(());
        }
        let new = query::from_map(old, &value)?;
        on.before_upstream("`req.query`")?;
        if new.len() > MAX_TARGET_BYTES {
            return Err(thrown(format!("`req.query` would be longer than {MAX_TARGET_BYTES} bytes")));
        }
        transaction.edits.query = Some(new);
        Ok(())
    });
    register_upstream(engine, stage);
}

/// What a path or a query set by a script may be long.
const MAX_TARGET_BYTES: usize = 64 * 1024;

/// A path as the upstream may get it: one that begins with a slash, normalised like a client's.
fn normal_path(path: &str) -> Outcome<Vec<u8>> {
    let wrong = |why: &str| thrown(format!("`req.path` cannot be {path:?}: {why}"));
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

fn register_upstream(engine: &mut Engine, stage: &Rc<Stage>) {
    let on = stage.clone();
    engine.register_get("upstream", move |_: &mut Request| -> Dynamic {
        let (route, transaction) = (on.route.borrow(), on.transaction.borrow());
        let name = route
            .as_ref()
            .and_then(|route| route.upstreams.get(transaction.edits.upstream.or(route.upstream)?));
        name.map_or(Dynamic::UNIT, |name| (&**name).into())
    });
    let on = stage.clone();
    engine.register_set("upstream", move |_: &mut Request, name: &str| {
        on.before_upstream("`req.upstream`")?;
        let route = on.route.borrow();
        let Some(route) = route.as_ref().filter(|route| route.upstream.is_some()) else {
            return Err(thrown("`req.upstream` cannot be set on a route that answers by itself"));
        };
        let Some(index) = route.upstreams.iter().position(|upstream| **upstream == *name) else {
            return Err(thrown(format!("there is no upstream {name:?}")));
        };
        on.transaction.borrow_mut().edits.upstream = Some(index);
        Ok(())
    });
}

fn register_content(engine: &mut Engine, stage: &Rc<Stage>) {
    fact(engine, stage, "body", |transaction| body::get(&transaction.edits.request_body));
    let on = stage.clone();
    engine.register_set("body", move |_: &mut Request, value: Dynamic| {
        let mut transaction = before_upstream(&on, "`req.body`")?;
        body::set(&mut transaction.edits.request_body, &value)
    });
    let on = stage.clone();
    engine.register_get("json", move |_: &mut Request| {
        body::get_json(&on.transaction.borrow().edits.request_body, "request", &on.budget)
    });
    let on = stage.clone();
    engine.register_set("json", move |_: &mut Request, value: Dynamic| {
        let mut transaction = before_upstream(&on, "`req.json`")?;
        let Transaction { request, edits, .. } = &mut *transaction;
        body::set_json(&mut edits.request_body, &mut request.fields, &value)
    });
}

fn before_upstream<'s>(stage: &'s Stage, what: &str) -> Outcome<RefMut<'s, Transaction>> {
    stage.before_upstream(what)?;
    Ok(stage.transaction.borrow_mut())
}
