//! One request: its head read and refused or understood, its route found, its action taken, its end recorded.

use std::sync::Arc;

use super::connection::{Connection, Next, refusal};
use super::record::Record;
use super::scratch::Scratch;
use super::{answer, exchange};
use crate::base::error::{Error, Reason};
use crate::base::fault::{self, Fault};
use crate::config::plan::{self, Action};
use crate::http::body::BodyReader;
use crate::http::fields::{Fields, Name};
use crate::http::framing::{self, Body};
use crate::http::head::{self, HeadLimits, Method};
use crate::http::{host, path};
use crate::policy::client::Client;
use crate::route::{self, Found};

/// A request id from a trusted proxy is taken over up to this length.
const MOST_ID_BYTES: usize = 128;

/// Reads one request and sees to it that it is answered, counted and logged.
pub async fn serve_one(connection: &mut Connection) -> Next {
    let shard = connection.shard.clone();
    let mut record = Record::new(shard.live(), connection.peer);
    let mut scratch = shard.take_scratch();
    scratch.begin();
    let next = match handle(connection, &mut scratch, &mut record).await {
        Ok(Some(next)) => next,
        // Nothing was asked, so there is nothing to record.
        Ok(None) => {
            shard.give_back_scratch(scratch);
            return Next::Close;
        }
        Err(error) => Box::pin(answer::refuse(connection, &mut scratch, &mut record, error)).await,
    };
    record.finish(&shard, &scratch);
    shard.give_back_scratch(scratch);
    next
}

async fn handle(
    connection: &mut Connection,
    scratch: &mut Scratch,
    record: &mut Record,
) -> Result<Option<Next>, Error> {
    let live = record.live.clone();
    let limits = &live.plan.server.limits;
    let head_limits = HeadLimits { bytes: limits.header_bytes, count: limits.header_count };
    let Some(head_bytes) = connection.read_head(&head_limits, limits.header_timeout).await? else {
        return Ok(None);
    };
    record.add_in(head_bytes);
    let parsed = head::parse_request(&connection.input[..head_bytes], &head_limits, &mut scratch.request);
    connection.consume(head_bytes);
    parsed.map_err(refusal)?;

    let (client, body) = understand(connection, scratch, record, limits)?;
    match fault::asked_for(scratch.path()) {
        Some(Fault::Connection) => panic!("a test asked for a panic in this connection"),
        Some(Fault::Shard) => connection.shard.doomed.set(true),
        None => {}
    }
    let route = find_route(&live.table, scratch)?;
    record.route = Some(route);
    let route: Arc<plan::Route> = live.routes[route].plan.clone();
    match &route.action {
        Action::Respond(respond) => answer::respond(connection, scratch, record, &route, respond).await,
        Action::Redirect(redirect) => answer::redirect(connection, scratch, record, &route, redirect).await,
        Action::Proxy(proxy) => {
            let request = exchange::Request { client, body, route: &route, proxy };
            exchange::proxy(connection, scratch, record, request).await
        }
    }
    .map(Some)
}

/// Framing, host, path, id: all that is decided before any route looks at the request.
fn understand(
    connection: &mut Connection,
    scratch: &mut Scratch,
    record: &mut Record,
    limits: &plan::Limits,
) -> Result<(Client, Body), Error> {
    let body = framing::request_body(&scratch.request).map_err(refusal)?;
    connection.body = BodyReader::new(body, limits.body_bytes, limits.header_bytes);
    record.keep_alive = framing::wants_keep_alive(scratch.request.version(), &scratch.request.fields);

    let trusted_proxies = &record.live.plan.server.trusted_proxies;
    let client = Client::of(connection.peer, &scratch.request.fields, trusted_proxies);
    record.client_ip = client.ip;
    let told = scratch.request.fields.get(Name::XRequestId);
    match told.filter(|id| client.trusted && (1..=MOST_ID_BYTES).contains(&id.len())) {
        Some(id) => scratch.id.extend_from_slice(id),
        None => connection.shard.ids.borrow_mut().write(&mut scratch.id),
    }

    let method = scratch.request.method();
    if method == Method::Connect {
        record.keep_alive = false;
        return Err(Error::client(Reason::MethodNotAllowed, "CONNECT is not for a gateway"));
    }
    host::request_host(&scratch.request, &mut scratch.host).map_err(refusal)?;
    scratch.client_host.extend_from_slice(scratch.request.fields.get(Name::Host).unwrap_or_default());
    let normal = path::normalise(scratch.request.target(), method, &mut scratch.target).map_err(refusal)?;
    scratch.path_bytes = normal.path_len;
    if matches!(body, Body::Length(bytes) if bytes > limits.body_bytes) {
        return Err(Error::client(Reason::BodyTooLarge, "Content-Length is over body_bytes"));
    }
    Ok((client, body))
}

struct FieldLookup<'a>(&'a Fields);

impl route::HeaderLookup for FieldLookup<'_> {
    fn any(&self, lower_name: &[u8], pred: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.find_all(lower_name).any(pred)
    }
}

fn find_route(table: &route::Table, scratch: &mut Scratch) -> Result<usize, Error> {
    let Scratch { request, host, target, path_bytes, captures, onward, .. } = scratch;
    let query = target.get(*path_bytes + 1..).unwrap_or_default();
    let asked = route::Request {
        host,
        path: &target[..*path_bytes],
        query,
        method: request.method_bytes(),
        header: &FieldLookup(&request.fields),
    };
    match table.find(&asked, captures) {
        Found::Route(route) => Ok(route),
        Found::None => Err(Error::client(Reason::NoRoute, "no route matches this host and path")),
        Found::MethodNotAllowed => {
            // The answer's `Allow` travels in the room for a target that will not be needed.
            table.allowed(&asked, onward);
            Err(Error::client(Reason::MethodNotAllowed, "no route for this path takes this method"))
        }
    }
}
