//! A request and its response as scripts see and change them: plain data, handed to the engine for the length of a
//! call and taken back after it.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rhai::Dynamic;

use crate::auth::jwt::Claims;
use crate::http::head::{RequestHead, ResponseHead};
use crate::plan::Consumer;
use crate::route::Captures;

/// What the hooks of one request work on.
pub struct Transaction {
    pub request: RequestHead,
    pub response: ResponseHead,
    pub id: Vec<u8>,
    /// As routes match it: lower case, no port.
    pub host: Vec<u8>,
    /// Normalised path, then `?` and the query if there is one.
    pub target: Vec<u8>,
    pub path_bytes: usize,
    pub captures: Captures,
    pub client_ip: IpAddr,
    /// The page's `Origin` as the client sent it, where the route has `cors`; the field may be edited on its way.
    pub origin: Vec<u8>,
    /// The known client, once one is.
    pub consumer: Option<Arc<Consumer>>,
    /// The claims of a verified token.
    pub claims: Option<Rc<Claims>>,
    pub edits: Edits,
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

impl Default for Transaction {
    fn default() -> Transaction {
        Transaction {
            request: RequestHead::default(),
            response: ResponseHead::default(),
            id: Vec::new(),
            host: Vec::new(),
            target: Vec::new(),
            path_bytes: 0,
            captures: Captures::default(),
            client_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            origin: Vec::new(),
            consumer: None,
            claims: None,
            edits: Edits::default(),
        }
    }
}

impl Transaction {
    /// Forgets the request before, keeps the room.
    pub fn begin(&mut self) {
        self.request.clear();
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
