//! A request and its response as policies and scripts see and change them. Scripts get the transaction for the length
//! of a call and give it back after it.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rhai::Dynamic;

use super::Client;
use crate::auth::jwt::Claims;
use crate::http::framing::Body;
use crate::http::head::{RequestHead, ResponseHead};
use crate::plan::Consumer;
use crate::route::Captures;

/// One request and its response.
#[derive(Default)]
pub struct Transaction {
    /// The client's head, as the steps of the pipeline leave it. What an upstream gets is made of a copy for each
    /// attempt.
    pub request: RequestHead,
    pub meta: RequestMeta,
    /// The response head, whoever has made it.
    pub response: ResponseHead,
    /// The request's id (`X-Request-Id`).
    pub id: Vec<u8>,
    /// As routes match it: lower case, no port.
    pub host: Vec<u8>,
    /// Normalised path, then `?` and the query if there is one.
    pub target: Vec<u8>,
    pub path_bytes: usize,
    pub captures: Captures,
    /// The page's `Origin` as the client sent it; the field may be edited on its way.
    pub origin: Vec<u8>,
    /// The known client, once one is.
    pub consumer: Option<Arc<Consumer>>,
    /// The claims of a verified token.
    pub claims: Option<Rc<Claims>>,
    pub edits: Edits,
}

/// What is known of a request beyond its fields.
pub struct RequestMeta {
    /// Who is asking.
    pub client: Client,
    /// The peer's address as text, for `X-Forwarded-For`.
    pub peer: Vec<u8>,
    /// The host as the client wrote it; empty: HTTP/1.0 without `Host`.
    pub host: Vec<u8>,
    /// How the body arrives; once request body hooks have run, how it goes on.
    pub body: Body,
    /// The client waits for a 100 (Continue).
    pub expects_continue: bool,
    /// The protocols that the client offers to change to, as far as the route allows them; empty: none.
    pub upgrade: Vec<u8>,
}

impl Default for RequestMeta {
    fn default() -> RequestMeta {
        RequestMeta {
            client: Client { trusted: false, ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED) },
            peer: Vec::new(),
            host: Vec::new(),
            body: Body::None,
            expects_continue: false,
            upgrade: Vec::new(),
        }
    }
}

impl RequestMeta {
    /// The protocols that the upstream is offered. Never on a request with a body: an upstream that takes the upgrade
    /// for the end of the message would read the body as requests that no policy has seen.
    pub fn offered_upgrade(&self) -> &[u8] {
        match self.body {
            Body::None | Body::Length(0) => &self.upgrade,
            Body::Length(_) | Body::Chunked | Body::UntilClose => b"",
        }
    }

    fn clear(&mut self) {
        self.peer.clear();
        self.host.clear();
        self.body = Body::None;
        self.expects_continue = false;
        self.upgrade.clear();
    }
}

/// What scripts have made of a request and its response beyond their heads.
#[derive(Clone, Default)]
pub struct Edits {
    /// `req.ctx`, a shared map once a script has asked for it.
    pub ctx: Dynamic,
    /// The path that goes to the upstream as it is.
    pub path: Option<Vec<u8>>,
    /// The query that goes to the upstream, without its `?`.
    pub query: Option<Vec<u8>>,
    /// The upstream to ask instead of the route's, by its index in the plan.
    pub upstream: Option<usize>,
    pub request_body: Content,
    pub response_body: Content,
    /// From the request's first byte to its last; for `on_log`.
    pub duration: Duration,
}

/// A body as scripts see it.
#[derive(Clone, Default)]
pub struct Content {
    /// `None`: it streams by, and scripts do not see it.
    pub bytes: Option<Vec<u8>>,
    /// A script set it.
    pub changed: bool,
}

impl Content {
    /// A body that was buffered for scripts.
    pub fn buffered(bytes: Vec<u8>) -> Content {
        Content { bytes: Some(bytes), changed: false }
    }

    /// Takes the body if a script has set it.
    pub fn take_changed(&mut self) -> Option<Vec<u8>> {
        if std::mem::take(&mut self.changed) { self.bytes.take() } else { None }
    }
}

impl Transaction {
    /// Forgets the request before, keeps the room.
    pub fn begin(&mut self) {
        self.request.clear();
        self.meta.clear();
        self.response.clear();
        self.id.clear();
        self.host.clear();
        self.target.clear();
        self.path_bytes = 0;
        self.origin.clear();
        self.consumer = None;
        self.claims = None;
        self.edits = Edits::default();
    }

    /// The normalised path.
    pub fn path(&self) -> &[u8] {
        &self.target[..self.path_bytes]
    }

    /// Appends `?` and the query as it goes on, if there is one.
    pub fn write_query(&self, out: &mut Vec<u8>) {
        match &self.edits.query {
            None => out.extend_from_slice(&self.target[self.path_bytes..]),
            Some(query) if query.is_empty() => {}
            Some(query) => {
                out.push(b'?');
                out.extend_from_slice(query);
            }
        }
    }

    /// The query without its `?`, as the client sent it.
    pub fn query(&self) -> &[u8] {
        self.target.get(self.path_bytes + 1..).unwrap_or_default()
    }
}
