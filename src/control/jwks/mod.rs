//! Keys that are fetched: at the start, every few minutes, and when a shard meets a token of a key it does not know.
//!
//! Shards never wait for a fetch: the token is refused, and one with that key that comes after it is accepted.

mod fetch;
mod sets;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvError, Sender, bounded, never};

use crate::control::{Control, ControlEvent};
use crate::shard::Command;

pub use fetch::all;
pub use sets::{KeySetFetch, KeySetFetches, KeySetSource, KeySets};

/// How long a start or a reload waits for sets it does not have.
pub const WAIT_AT_MOST: Duration = Duration::from_secs(2);
/// How long no unknown key is heard of after one was: strangers make them up as fast as they like.
const REST: Duration = Duration::from_secs(1);
/// Unknown keys that wait; what comes on top is of no use.
const MAX_WAITING: usize = 64;

/// The providers, by index into the plan's, of which shards have met tokens of unknown keys.
pub struct UnknownKeys {
    posted: Receiver<usize>,
    rest_until: Option<Instant>,
}

impl UnknownKeys {
    /// And where shards post them.
    pub fn new() -> (Sender<usize>, UnknownKeys) {
        let (post, posted) = bounded(MAX_WAITING);
        (post, UnknownKeys { posted, rest_until: None })
    }

    /// Nothing comes from here while it rests.
    pub fn posted(&self) -> &Receiver<usize> {
        static NEVER: LazyLock<Receiver<usize>> = LazyLock::new(never);
        if self.rest_until.is_some() { &NEVER } else { &self.posted }
    }

    /// When the rest ends.
    pub fn deadline(&self) -> Option<Instant> {
        self.rest_until
    }
}

impl Control {
    /// A shard has met a token of an unknown key. A reload may have come in between; then it is another provider's set
    /// that is fetched too early, and no more harm is done.
    pub(super) fn unknown_key(&mut self, jwt: Result<usize, RecvError>) {
        let now = Instant::now();
        let waiting: Vec<usize> = self.unknown_keys.posted.try_iter().take(MAX_WAITING).collect();
        for jwt in jwt.into_iter().chain(waiting) {
            if let Some(jwt) = self.current.plan.jwts.get(jwt) {
                self.current.key_sets.unknown_key(jwt, now);
            }
        }
        self.unknown_keys.rest_until = Some(now + REST);
    }

    pub(super) fn tick_jwks(&mut self, now: Instant) {
        self.unknown_keys.rest_until = self.unknown_keys.rest_until.filter(|until| *until > now);
        for source in self.current.key_sets.begin(now) {
            let post = self.post.clone();
            let tell = move |source, answer| _ = post.send(ControlEvent::Fetched(source, answer));
            if let Err(error) = fetch::start(source.clone(), tell) {
                self.fetched(&source, Err(format!("no thread for it: {error}")));
            }
        }
    }

    pub(super) fn fetched(&mut self, source: &KeySetSource, answer: KeySetFetch) {
        let current = &mut self.current;
        if current.key_sets.finish(source, answer, Instant::now()) {
            let providers = current.key_sets.providers(&current.plan, &current.providers);
            current.providers = providers.clone();
            self.supervisor.tell_all(|_| Command::Providers(providers.clone()));
        }
    }
}
