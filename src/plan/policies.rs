//! Policies of routes that fit no other file: client addresses, CORS, edits of fields, deprecation.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

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
