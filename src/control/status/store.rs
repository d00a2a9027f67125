//! The store and the JWT providers, for `/status` and the metrics.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::auth::jwt::Provider;
use crate::base::time;
use crate::control::Control;
use crate::metrics::{KeySetFacts, StoreFacts};
use crate::store::{LATENCY_BOUNDS_US, StoreSnapshot, StoreState};

/// The store, or this process's own where none is configured.
#[derive(Serialize)]
pub struct StoreStatus {
    kind: &'static str,
    /// `up`, `slow` or `down`.
    state: &'static str,
    /// Since when it is down (RFC 3339).
    since: Option<String>,
    /// The last error, whether or not it is over.
    last_error: Option<Arc<str>>,
    /// Requests of shards that wait now, and those that were refused because too many waited.
    queue: usize,
    refused: u64,
    /// Exchanges that succeeded, and the commands in them.
    exchanges: u64,
    commands: u64,
    /// Exchanges and attempts to connect that failed, and requests of shards that got no response.
    failures: u64,
    unanswered: u64,
    /// The mean over all exchanges.
    latency_ms: Option<f64>,
    /// `None`: they have not been read yet.
    api_keys: Option<ApiKeyCounts>,
}

/// The API keys in the store.
#[derive(Serialize)]
struct ApiKeyCounts {
    added: usize,
    revoked: usize,
}

impl StoreStatus {
    pub fn of(store: &StoreSnapshot) -> StoreStatus {
        let traffic = &store.traffic;
        let latency_ms = traffic.latency.sum_us as f64 / 1e3 / traffic.exchanges as f64;
        let api_keys = store.keys.as_ref();
        StoreStatus {
            kind: store.backend,
            state: store.state.name(),
            since: down_since(store.state),
            last_error: store.last_error.clone(),
            queue: store.queue,
            refused: store.refused,
            exchanges: traffic.exchanges,
            commands: traffic.commands,
            failures: traffic.failures,
            unanswered: traffic.unanswered,
            latency_ms: (traffic.exchanges > 0).then_some(latency_ms),
            api_keys: api_keys
                .map(|keys| ApiKeyCounts { added: keys.added.len(), revoked: keys.revoked.len() }),
        }
    }
}

fn down_since(state: StoreState) -> Option<String> {
    let StoreState::Down { since } = state else { return None };
    let since = SystemTime::now().checked_sub(since.elapsed())?;
    let unix_ms = since.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis();
    let text = time::rfc3339_ms(u64::try_from(unix_ms).ok()?);
    String::from_utf8(text.to_vec()).ok()
}

/// The same for the metrics.
pub fn facts(store: &StoreSnapshot) -> StoreFacts {
    let traffic = &store.traffic;
    let bounds = LATENCY_BOUNDS_US.iter().copied().map(Some).chain([None]);
    let counts = traffic.latency.buckets.iter().scan(0, |sum, count| {
        *sum += count;
        Some(*sum)
    });
    StoreFacts {
        up: !matches!(store.state, StoreState::Down { .. }),
        exchanges: traffic.exchanges,
        failures: traffic.failures,
        unanswered: traffic.unanswered,
        refused: store.refused,
        commands: traffic.commands,
        queue: store.queue,
        latency: bounds.zip(counts).collect(),
        latency_sum_us: traffic.latency.sum_us,
        keys_added: store.keys.as_ref().map_or(0, |keys| keys.added.len()),
        keys_revoked: store.keys.as_ref().map_or(0, |keys| keys.revoked.len()),
    }
}

/// One `[jwt.NAME]`.
#[derive(Serialize)]
pub struct JwtStatus<'a> {
    name: Arc<str>,
    /// How many keys it has.
    keys: usize,
    /// Whether they are fetched.
    fetched: bool,
    /// Keys of its JWK set that are not used, with the reasons.
    refused: &'a [String],
    /// Why the last fetch failed, if it did.
    last_error: Option<&'a str>,
}

/// All JWT providers, in the plan's order.
pub fn jwts<'a>(control: &'a Control) -> Vec<JwtStatus<'a>> {
    let status = |provider: &'a Arc<Provider>| {
        let set = control.current.key_sets.of(provider.plan());
        JwtStatus {
            name: provider.plan().name.clone(),
            keys: provider.keys().len(),
            fetched: set.is_some(),
            refused: provider.keys().refused(),
            last_error: set.and_then(|set| set.error.as_deref()),
        }
    };
    control.current.providers.iter().map(status).collect()
}

/// Those whose keys are fetched, for the metrics.
pub fn key_sets(control: &Control) -> Vec<KeySetFacts> {
    let providers = control.current.providers.iter();
    let facts = providers.filter_map(|provider| {
        let failures = control.current.key_sets.of(provider.plan())?.refetch.failures();
        Some(KeySetFacts { jwt: provider.plan().name.to_string(), keys: provider.keys().len(), failures })
    });
    facts.collect()
}
