//! `[[route]]`: which requests a route matches, what answers them, and its policies.

use std::sync::Arc;
use std::time::Duration;

use super::{AuthMethod, Cors, Deprecated, HeaderEdits, IpRules, RateLimit, Require};

/// One `[[route]]` with its policies, `[defaults]` applied. The default one matches nothing and has no policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoutePlan {
    pub name: Arc<str>,
    /// Empty: any host.
    pub hosts: Vec<HostPattern>,
    /// At least one.
    pub paths: Vec<PathPattern>,
    /// Upper case as written (methods are case-sensitive); empty: any.
    pub methods: Vec<Arc<str>>,
    pub headers: Vec<Condition>,
    pub query: Vec<Condition>,
    pub priority: i64,
    pub action: Action,
    pub ip: IpRules,
    pub cors: Option<Cors>,
    /// Any of them lets a request in; empty: all come in.
    pub auth: Vec<AuthMethod>,
    pub require: Require,
    /// In file order; no two of one name.
    pub rate_limits: Vec<RateLimit>,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    pub deprecated: Option<Deprecated>,
    /// The whole exchange, from its head on.
    pub timeout: Option<Duration>,
    /// How many of its requests may be in flight at once, over all shards; `None`: any number.
    pub max_inflight: Option<usize>,
    /// Protocols that requests without a body may upgrade to (RFC 9110, 7.8), lower case; empty: none.
    pub upgrade: Vec<Arc<str>>,
    /// The names of its scripts' files, in order.
    pub scripts: Vec<Arc<str>>,
    /// By name; what scripts read as `vars`.
    pub vars: Vec<(Arc<str>, Arc<str>)>,
}

/// A host that a route matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Lower case, no port, no trailing dot.
    Exact(Arc<str>),
    /// `*.example.com` is held as `example.com`: any depth of labels before it, at least one.
    Wildcard(Arc<str>),
}

/// A path, cut at its slashes. `/x/*` holds `[Literal("x")]` and `Tail::Any`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// As written.
    pub text: Arc<str>,
    /// Between the slashes, normalised like a request's path. `/x/` has the segments `x` and the empty one.
    pub segments: Vec<Segment>,
    pub tail: Tail,
}

/// What stands between two slashes of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    Literal(Arc<str>),
    /// `{name}`: one non-empty segment.
    Capture(Arc<str>),
}

/// How a path ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tail {
    /// The path ends here.
    Exact,
    /// `*`: the path before it and everything below; captured as `rest`.
    Any,
    /// `{*name}`: like `*`, captured by that name.
    Capture(Arc<str>),
}

/// A header (name in lower case) or query parameter that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    pub name: Arc<str>,
    /// `None` (written `"*"`): present with any value.
    pub value: Option<Arc<str>>,
}

/// What answers a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Proxy(Proxy),
    Respond(Respond),
    Redirect(Redirect),
}

/// Stands where no action could be read: such a plan is never run, but its routes can still be compared.
impl Default for Action {
    fn default() -> Action {
        Action::Respond(Respond { status: 500, body: [].into(), content_type: None })
    }
}

/// The request goes to an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Index into `Plan::upstreams`.
    pub upstream: usize,
    pub path: PathEdit,
    pub host: HostHeader,
}

/// What the upstream gets for a path.
#[derive(Clone, Debug, PartialEq)]
pub enum PathEdit {
    Keep,
    /// Removes what stands before the pattern's tail; the result always starts with `/`.
    StripPrefix,
    Rewrite(Template),
}

/// Literal text and captures by name, in order; `check` has verified that every path of the route has the captures.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(pub Vec<Piece>);

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Text(Arc<str>),
    Capture(Arc<str>),
}

/// Which `Host` the upstream gets.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum HostHeader {
    /// That of the target.
    #[default]
    Upstream,
    /// That of the request.
    Client,
    Literal(Arc<str>),
}

/// The route answers by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    pub status: u16,
    pub body: Arc<[u8]>,
    pub content_type: Option<Arc<str>>,
}

/// The route answers with a redirect.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}
