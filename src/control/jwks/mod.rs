//! JWK sets that are fetched: at the start, every few minutes, and when a shard meets a token whose key it lacks.
//!
//! Shards never wait for a fetch: such a token is refused, and tokens of that key are accepted once the set has been
//! fetched. When to fetch is decided by [`Refetch`](crate::auth::refetch::Refetch); here is what it takes to do it.

mod fetch;
mod sets;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvError, Sender, bounded, never};

use crate::control::{Control, ControlEvent};
use crate::plan::Jwt;
use crate::shard::Command;

pub use fetch::fetch_all;
pub use sets::{KeySetFetch, KeySetFetches, KeySetSource, KeySets};

/// How long a start or a reload waits for sets that are new.
pub const FIRST_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two looks at the reports: clients can make unknown keys up as fast as they like.
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// Reports that may wait; a shard makes at most one a second for each provider.
const MAX_REPORTS: usize = 1024;

/// Shards' reports of tokens with unknown keys: the index of the provider in the plan.
pub struct UnknownKeys {
    receiver: Receiver<usize>,
    paused_until: Option<Instant>,
}

impl UnknownKeys {
    /// The sender is for the shards.
    pub fn new() -> (Sender<usize>, UnknownKeys) {
        let (sender, receiver) = bounded(MAX_REPORTS);
        (sender, UnknownKeys { receiver, paused_until: None })
    }

    /// Where reports arrive; a channel that gives nothing during the pause.
    pub fn reports(&self) -> &Receiver<usize> {
        static NEVER: LazyLock<Receiver<usize>> = LazyLock::new(never);
        if self.paused_until.is_some() { &NEVER } else { &self.receiver }
    }

    /// When the pause ends.
    pub fn deadline(&self) -> Option<Instant> {
        self.paused_until
    }
}

impl Control {
    /// The names of the providers whose keys are fetched and have never been there.
    pub(super) fn jwts_without_keys(&self) -> impl Iterator<Item = &str> {
        let providers = self.current.providers.iter().map(|provider| provider.plan());
        let lack = |jwt: &&Jwt| self.current.key_sets.of(jwt).is_some_and(|set| set.refetch.keys().is_none());
        providers.filter(lack).map(|jwt| &*jwt.name)
    }

    /// A shard has met a token with an unknown key. If a reload came in between, the index may be another provider's:
    /// then that one's set is fetched too early, which does no harm.
    pub(super) fn unknown_key(&mut self, jwt: Result<usize, RecvError>) {
        let now = Instant::now();
        let more: Vec<usize> = self.unknown_keys.receiver.try_iter().take(MAX_REPORTS).collect();
        for jwt in jwt.into_iter().chain(more) {
            if let Some(jwt) = self.current.plan.jwts.get(jwt) {
                self.current.key_sets.unknown_key(jwt, now);
            }
        }
        self.unknown_keys.paused_until = Some(now + REPORT_PAUSE);
    }

    /// Ends the pause, and starts the fetches that are due.
    pub(super) fn tick_jwks(&mut self, now: Instant) {
        self.unknown_keys.paused_until = self.unknown_keys.paused_until.filter(|until| *until > now);
        for source in self.current.key_sets.begin(now) {
            let event_sender = self.event_sender.clone();
            let report = move |source, fetch| _ = event_sender.send(ControlEvent::Fetched(source, fetch));
            if let Err(error) = fetch::start(source.clone(), report) {
                self.fetched(&source, Err(format!("no thread for it: {error}")));
            }
        }
    }

    /// A fetch is over: shards get new providers if the keys have changed.
    pub(super) fn fetched(&mut self, source: &KeySetSource, fetch: KeySetFetch) {
        let current = &mut self.current;
        if current.key_sets.finish(source, fetch, Instant::now()) {
            let providers = current.key_sets.providers(&current.plan, &current.providers);
            current.providers = providers.clone();
            self.supervisor.broadcast(|_| Command::Providers(providers.clone()));
        }
    }
}
