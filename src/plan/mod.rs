//! What a configuration means: plain immutable data, shared by all shards, no spans and no text left to parse.

mod identity;
mod keyword;
mod limits;
mod policies;
mod route;
mod scripts;
mod server;
mod upstream;

use std::sync::Arc;

pub use identity::*;
pub use keyword::Keyword;
pub use limits::*;
pub use policies::*;
pub use route::*;
pub use scripts::*;
pub use server::*;
pub use upstream::*;

/// A whole configuration. Equal configurations compare equal, so a reload knows what did not change.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub server: Server,
    /// `None`: no admin listener.
    pub admin: Option<AdminSettings>,
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
