//! What a configuration means: plain immutable data, shared by all shards, no spans and no text left to parse.

mod identity;
mod limits;
mod secret;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use identity::*;
pub use limits::*;
pub use secret::Secret;

/// A whole configuration. Equal configurations compare equal, so a reload knows what did not change.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub server: Server,
    /// The admin listener's address; `None`: no admin listener.
    pub admin: Option<SocketAddr>,
    pub log: LogSettings,
    pub scripts: ScriptSettings,
    /// `None`: the embedded store.
    pub store: Option<StoreSettings>,
    /// In file order; a route's [`AuthMethod::Jwt`] names one by index.
    pub jwts: Vec<Arc<Jwt>>,
    pub api_keys: ApiKeySettings,
    /// In file order; no two of one name, and no key that two have.
    pub consumers: Vec<Arc<Consumer>>,
    /// In file order; a route names its upstream by index.
    pub upstreams: Vec<Arc<UpstreamPlan>>,
    /// In file order, `[defaults]` already applied.
    pub routes: Vec<Arc<RoutePlan>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// At least one.
    pub listen: Vec<SocketAddr>,
    /// `None`: one per CPU that this process may use.
    pub shards: Option<usize>,
    pub pin_cores: bool,
    pub driver: Driver,
    pub trusted_proxies: Vec<IpNet>,
    pub drain_timeout: Duration,
    pub limits: ServerLimits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Auto,
    IoUring,
    Epoll,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServerLimits {
    /// Bytes of a request head, request line included.
    pub header_bytes: usize,
    /// Fields of a request head.
    pub header_count: usize,
    /// Bytes of a request body; `u64::MAX`: unlimited.
    pub body_bytes: u64,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Between two reads of a request body, and between two writes that the client takes.
    pub body_timeout: Duration,
    /// Idle, between two requests.
    pub keepalive_timeout: Duration,
    /// Client connections per shard.
    pub max_connections: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    pub access: AccessFormat,
    pub target: LogTarget,
    pub level: LogLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    Json,
    Common,
    Off,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    Stdout,
    File(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `[store]`: the view that all gateways of the same Redis share.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreSettings {
    /// As written; it may hold a password.
    pub url: Secret,
    /// Of one exchange.
    pub timeout: Duration,
    /// In front of every key; visible ASCII, not empty.
    pub key_prefix: Arc<str>,
}

/// `[scripts]`, and the files it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptSettings {
    pub dir: PathBuf,
    /// Operations of one call.
    pub max_operations: u64,
    /// Of one call, by the clock on the wall.
    pub max_time: Duration,
    /// Bytes of a body that is buffered for a hook.
    pub max_body: usize,
    pub on_error: OnError,
    /// The variables of the environment that scripts may read.
    pub env: Vec<Arc<str>>,
    /// Every script of the directory, by rising name; empty where no route has scripts.
    pub files: Vec<Arc<ScriptFile>>,
}

/// What becomes of a request whose script fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// 500 `script_error`.
    Fail,
    /// It goes on as if the hook had not run.
    Ignore,
}

/// A script as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptFile {
    /// Relative to the directory: `lib/jwt.rhai`.
    pub name: Arc<str>,
    pub text: Arc<str>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamPlan {
    pub name: Arc<str>,
    /// At least one.
    pub targets: Vec<TargetPlan>,
    pub balance: Balance,
    pub connect_timeout: Duration,
    /// From the last byte of the request sent to the last of the response head.
    pub response_timeout: Duration,
    /// Between two reads of a response body, and between two bytes of a tunnel.
    pub idle_timeout: Duration,
    /// Idle connections kept per shard and target.
    pub keepalive: usize,
    /// How long one is kept.
    pub keepalive_idle: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TargetPlan {
    /// As written, for logs and `/status`.
    pub url: Arc<str>,
    /// 1 to 65535.
    pub weight: u32,
    pub address: TargetAddress,
    /// What `host_header = "upstream"` sends: host, and the port where it is not 80.
    pub authority: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetAddress {
    Ip(SocketAddr),
    /// Resolved on the control side, never by a shard.
    Name {
        host: Arc<str>,
        port: u16,
    },
    Unix(Arc<std::path::Path>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Balance {
    /// Smooth weighted.
    RoundRobin,
    LeastConnections,
    /// The better of two at random.
    P2c,
    Random,
    Hash(HashOn),
}

#[derive(Clone, Debug, PartialEq)]
pub enum HashOn {
    Ip,
    /// The consumer's name.
    Consumer,
    Path,
    /// Lower case.
    Header(Arc<str>),
    Cookie(Arc<str>),
    Query(Arc<str>),
}

#[derive(Clone, Debug, PartialEq)]
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
    /// The names of its scripts' files, in order.
    pub scripts: Vec<Arc<str>>,
    /// By name; what scripts read as `vars`.
    pub vars: Vec<(Arc<str>, Arc<str>)>,
}

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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    Literal(Arc<str>),
    /// `{name}`: one non-empty segment.
    Capture(Arc<str>),
}

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

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Proxy(Proxy),
    Respond(Respond),
    Redirect(Redirect),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Index into `Plan::upstreams`.
    pub upstream: usize,
    pub path: PathEdit,
    pub host: HostHeader,
}

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

#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Text(Arc<str>),
    Capture(Arc<str>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum HostHeader {
    Upstream,
    Client,
    Literal(Arc<str>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    pub status: u16,
    pub body: Arc<[u8]>,
    pub content_type: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// Which clients may come: none of `deny`, and of `allow` alone where it has any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IpRules {
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

/// What pages of other origins may do (the Fetch standard, 3.3).
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    /// At least one.
    pub origins: Vec<Origin>,
    /// At least one.
    pub methods: Vec<Arc<str>>,
    /// Request headers that a page may set.
    pub headers: Vec<Arc<str>>,
    /// Response headers that a page may read.
    pub expose: Vec<Arc<str>>,
    /// Never with `Origin::Any`, nor with a `*` in one of the lists.
    pub credentials: bool,
    /// Whole seconds for which a preflight's answer may be remembered; `None`: the browser's own time.
    pub max_age: Option<Duration>,
}

/// An origin as a browser writes it: lower case, no default port, no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Any,
    Exact(Arc<str>),
    /// `https://*.example.com:8443` is held as `https://` and `.example.com:8443`; between them stand one or more
    /// labels of a host.
    Below {
        scheme: Arc<str>,
        domain: Arc<str>,
    },
}

/// Applied in this order: remove, set, add. Names as written; values validated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderEdits {
    pub remove: Vec<Arc<str>>,
    pub set: Vec<(Arc<str>, Arc<str>)>,
    pub add: Vec<(Arc<str>, Arc<str>)>,
}

/// The values of the three fields that a deprecated route's responses carry, ready to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Deprecated {
    /// `Deprecation` (RFC 9745).
    pub deprecation: Arc<str>,
    /// `Sunset` (RFC 8594), an IMF-fixdate.
    pub sunset: Option<Arc<str>>,
    /// `Link` with `rel="deprecation"`.
    pub link: Option<Arc<str>>,
}
