//! One request: its head read and refused or understood, its route found, its action taken, its end recorded.

use std::time::Instant;

use super::buffers::RequestBuffers;
use super::generation::LiveGeneration;
use super::h1::connection::{Connection, Next, refusal};
use super::proxy::attempt;
use super::request_log::RequestLog;
use super::scripted::{self, Outcome, Whole};
use super::{Shard, answer, limits};
use crate::auth::decide::Authenticator;
use crate::base::error::{Error, Reason};
use crate::base::fault::{self, InjectedFault};
use crate::exchange::Transaction;
use crate::http::body::BodyReader;
use crate::http::fields::{FieldName, Fields};
use crate::http::framing::{self, Body};
use crate::http::head::{self, HeadLimits, Method};
use crate::http::{host, path};
use crate::pipeline::client::Client;
use crate::pipeline::{cors, identity, ip, request_head};
use crate::plan::{self, Action};
use crate::route::{self, Found};

/// Reads one request and sees to it that it is answered, counted and logged.
pub async fn serve_one(connection: &mut Connection) -> Next {
    let shard = connection.shard.clone();
    let mut record = RequestLog::new(shard.live(), connection.peer);
    let mut buffers = shard.take_request_buffers();
    let next = match handle(connection, &mut buffers, &mut record).await {
        Ok(Some(next)) => next,
        // Nothing was asked, so there is nothing to record.
        Ok(None) => {
            shard.give_back_request_buffers(buffers);
            return Next::Close;
        }
        Err(error) => Box::pin(answer::refuse(connection, &mut buffers, &mut record, error)).await,
    };
    record.finish(&shard, &mut buffers);
    shard.give_back_request_buffers(buffers);
    next
}

async fn handle(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &mut RequestLog,
) -> Result<Option<Next>, Error> {
    let live = record.live.clone();
    let server = &live.plan.server;
    let head_limits = HeadLimits { bytes: server.limits.header_bytes, count: server.limits.header_count };
    let Some(head_bytes) = connection.read_head(&head_limits, server.limits.header_timeout).await? else {
        return Ok(None);
    };
    record.add_in(head_bytes);
    let request = &mut buffers.transaction.request;
    let parsed = head::parse_request(&connection.input[..head_bytes], &head_limits, request);
    connection.consume(head_bytes);
    parsed.map_err(refusal)?;

    let mut asked = understand(connection, buffers, record, &server.limits)?;
    match fault::requested(buffers.transaction.path()) {
        Some(InjectedFault::Connection) => panic!("a test asked for a panic in this connection"),
        Some(InjectedFault::Shard) => connection.shard.doomed.set(true),
        None => {}
    }
    let route = find_route(&live, buffers)?;
    record.route = Some(route);
    let scripts = live.scripts_of(route);
    let limited = live.routes[route].limits.as_ref();
    let route: &plan::RoutePlan = &live.routes[route].plan;

    cors::note_origin(route, &mut buffers.transaction);

    // The route's steps, in order.
    ip::check(&route.ip, asked.client.ip)?;
    if let Some(cors) = &route.cors
        && cors::preflight(&buffers.transaction.request).is_some()
    {
        return answer::preflight(connection, buffers, record, cors).await.map(Some);
    }
    request_head::clean(&mut buffers.transaction.request.fields, asked.client, &live.owned);
    if let Some(limited) = limited {
        let RequestBuffers { transaction, told, .. } = &mut *buffers;
        limits::before_auth(&connection.shard, limited, transaction, told).await?;
    }
    if !route.auth.is_empty() {
        identify(&connection.shard, &live, route, &mut buffers.transaction)?;
    }
    if let Some(limited) = limited {
        let RequestBuffers { transaction, told, .. } = &mut *buffers;
        limits::after_auth(&connection.shard, limited, transaction, told).await?;
    }
    if let Some(scripts) = scripts
        && scripted::request(connection, buffers, record, scripts, &mut asked).await? == Outcome::Answered
    {
        return answer::scripted(connection, buffers, record, route).await.map(Some);
    }
    match &route.action {
        Action::Respond(respond) => {
            answer::respond(connection, buffers, record, route, respond, scripts).await
        }
        Action::Redirect(redirect) => {
            answer::redirect(connection, buffers, record, route, redirect, scripts).await
        }
        Action::Proxy(proxy) => {
            let request = attempt::Request { asked, route, proxy, scripts };
            attempt::proxy(connection, buffers, record, request).await
        }
    }
    .map(Some)
}

/// `auth`, then `require`.
fn identify(
    shard: &Shard,
    live: &LiveGeneration,
    route: &plan::RoutePlan,
    transaction: &mut Transaction,
) -> Result<(), Error> {
    let mut gate = Authenticator {
        providers: &live.providers.borrow(),
        consumers: &live.consumers,
        dynamic_keys: &shard.dynamic_keys.borrow(),
        key_places: &live.plan.api_keys.from,
        tokens: &mut shard.tokens.borrow_mut(),
    };
    let now_s = shard.clock.unix_ms(Instant::now()) / 1000;
    identity::check(&mut gate, route, transaction, now_s).map_err(|(error, unknown_key_of)| {
        if let Some(provider) = unknown_key_of {
            (shard.unknown_key)(provider);
        }
        error
    })
}

/// What a request asks for, beyond its fields.
pub struct RequestMeta {
    pub client: Client,
    pub body: Body,
    /// The body, where it was read as a whole for scripts.
    pub whole_body: Option<Whole>,
    /// The client waits for a 100 (Continue).
    pub expects_continue: bool,
    /// The protocols that it offers to change to.
    pub upgrade: Option<Vec<u8>>,
}

/// Framing, host, path, id: all that is decided before any route looks at the request.
fn understand(
    connection: &mut Connection,
    buffers: &mut RequestBuffers,
    record: &mut RequestLog,
    limits: &plan::ServerLimits,
) -> Result<RequestMeta, Error> {
    let RequestBuffers { transaction, client_host, .. } = buffers;
    let request = &transaction.request;
    let body = framing::request_body(request).map_err(refusal)?;
    connection.body =
        BodyReader::new(body, limits.body_bytes, limits.header_bytes).forbid_trailers(&record.live.owned);
    record.keep_alive = framing::wants_keep_alive(request.version(), &request.fields);

    let trusted_proxies = &record.live.plan.server.trusted_proxies;
    let client = Client::of(connection.peer, &request.fields, trusted_proxies);
    record.client_ip = client.ip;
    transaction.client_ip = client.ip;
    match client.request_id(&request.fields) {
        Some(id) => transaction.id.extend_from_slice(id),
        None => connection.shard.ids.borrow_mut().write(&mut transaction.id),
    }

    let method = request.method();
    if method == Method::Connect {
        record.keep_alive = false;
        return Err(Error::client(Reason::MethodNotAllowed, "CONNECT is not for a gateway"));
    }
    host::request_host(request, &mut transaction.host).map_err(refusal)?;
    client_host.extend_from_slice(request.fields.get(FieldName::Host).unwrap_or_default());
    let normal = path::normalise(request.target(), method, &mut transaction.target).map_err(refusal)?;
    transaction.path_bytes = normal.path_len;
    if matches!(body, Body::Length(bytes) if bytes > limits.body_bytes) {
        return Err(Error::client(Reason::BodyTooLarge, "Content-Length is over body_bytes"));
    }
    let expects_continue = framing::expects_continue(request);
    let upgrade = framing::upgrade(request).map(<[u8]>::to_vec);
    Ok(RequestMeta { client, body, whole_body: None, expects_continue, upgrade })
}

struct FieldLookup<'a>(&'a Fields);

impl route::HeaderLookup for FieldLookup<'_> {
    fn any(&self, lower_name: &[u8], pred: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.find_all(lower_name).any(pred)
    }
}

/// The route of a request. A preflight goes to the route of what it asks for, if that answers preflights.
fn find_route(live: &LiveGeneration, buffers: &mut RequestBuffers) -> Result<usize, Error> {
    let RequestBuffers { transaction, onward, .. } = buffers;
    let Transaction { request, host, target, path_bytes, captures, .. } = transaction;
    let mut asked = route::MatchInput {
        host,
        path: &target[..*path_bytes],
        query: target.get(*path_bytes + 1..).unwrap_or_default(),
        method: request.method_bytes(),
        header: &FieldLookup(&request.fields),
    };
    if let Some(method) = cors::preflight(request) {
        let of_itself = std::mem::replace(&mut asked.method, method);
        match live.table.find(&asked, captures) {
            Found::Route(route) if live.routes[route].plan.cors.is_some() => return Ok(route),
            _ => asked.method = of_itself,
        }
    }
    match live.table.find(&asked, captures) {
        Found::Route(route) => Ok(route),
        Found::None => Err(Error::client(Reason::NoRoute, "no route matches this host and path")),
        Found::MethodNotAllowed => {
            // The answer's `Allow` travels in the room for a target that will not be needed.
            live.table.allowed(&asked, onward);
            Err(Error::client(Reason::MethodNotAllowed, "no route for this path takes this method"))
        }
    }
}
