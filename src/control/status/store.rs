//! The store and the keys that are fetched, for `/status` and the metrics.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::auth::jwt::Provider;
use crate::base::time;
use crate::control::Control;
use crate::metrics::{KeySetFacts, StoreFacts};
use crate::store::{LATENCY_BOUNDS_US, StoreSnapshot, StoreState};

#[derive(Serialize)]
pub struct StoreStatus {
    kind: &'static str,
    /// `up`, `slow` or `down`.
    state: &'static str,
    /// Since when it is down.
    since: Option<String>,
    /// What went wrong last, whether or not it is over.
    last_error: Option<Arc<str>>,
    /// Requests of shards that wait, and those that were not taken because too many did.
    queue: usize,
    refused: u64,
    /// Those that succeeded, and the commands in them.
    exchanges: u64,
    commands: u64,
    /// Exchanges and attempts to connect that failed, and requests of shards that got no answer.
    failures: u64,
    unanswered: u64,
    /// On average, over all exchanges.
    latency_ms: Option<f64>,
    api_keys: ApiKeys,
}

/// Those in the store.
#[derive(Serialize)]
struct ApiKeys {
    added: usize,
    revoked: usize,
}

impl StoreStatus {
    pub fn of(store: &StoreSnapshot) -> StoreStatus {
        let traffic = &store.traffic;
        let latency_ms = traffic.latency.sum_us as f64 / 1e3 / traffic.exchanges as f64;
        let (added, revoked) = store.keys;
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
            api_keys: ApiKeys { added, revoked },
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

/// The same for a scrape.
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
        keys_added: store.keys.0,
        keys_revoked: store.keys.1,
    }
}

/// A `[jwt.NAME]`.
#[derive(Serialize)]
pub struct JwtStatus<'a> {
    name: Arc<str>,
    /// Keys in its set.
    keys: usize,
    /// Whether they are fetched.
    fetched: bool,
    /// Why the last fetch failed, if it did.
    last_error: Option<&'a str>,
}

pub fn jwts(control: &Control) -> Vec<JwtStatus<'_>> {
    let status = |provider: &'_ Arc<Provider>| {
        let set = control.current.key_sets.of(provider.plan());
        JwtStatus {
            name: provider.plan().name.clone(),
            keys: provider.keys().len(),
            fetched: set.is_some(),
            last_error: set.and_then(|set| set.error.as_deref()),
        }
    };
    control.current.providers.iter().map(status).collect()
}

/// The same for a scrape, of those that are fetched.
pub fn key_sets(control: &Control) -> Vec<KeySetFacts> {
    let providers = control.current.providers.iter();
    let facts = providers.filter_map(|provider| {
        let failures = control.current.key_sets.of(provider.plan())?.refetch.failures();
        Some(KeySetFacts { jwt: provider.plan().name.to_string(), keys: provider.keys().len(), failures })
    });
    facts.collect()
}
