//! The keys as `ringway keys` changes them: one connection, one command at a time.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::Value;

use super::RemoteConfig;
use super::connection::Connection;
use super::node::Failure;
use super::op::{self, Names, Op};
use crate::plan::ApiKeyHash;
use crate::store::keys::Entry;

/// Who types a command waits longer than a request does.
const PATIENCE_MIN: Duration = Duration::from_secs(2);

pub struct KeyRing {
    connection: Connection,
    names: Names,
    patience: Duration,
}

impl KeyRing {
    /// # Errors
    /// The store does not answer or cannot be written to.
    pub fn open(config: &RemoteConfig) -> Result<KeyRing, Failure> {
        let names = Names::new(config.key_prefix.clone(), 0);
        let patience = config.timeout.max(PATIENCE_MIN);
        let connection = Connection::open(&config.address, &names, patience)?;
        Ok(KeyRing { connection, names, patience })
    }

    /// Makes the key one of the consumer's from `now_s` (Unix time) on, on every gateway within a second, also if it
    /// was revoked. Says what it was before.
    ///
    /// # Errors
    /// The store failed, or has no room for one more key.
    pub fn add(&mut self, hash: ApiKeyHash, consumer: &str, now_s: u64) -> Result<Option<Entry>, Failure> {
        if consumer.is_empty() {
            return Err(Failure("a key needs a consumer".into()));
        }
        self.change(&Entry { hash, changed_s: now_s, consumer: consumer.into(), revoked: false })
    }

    /// Makes the key invalid on every gateway within a second, also if it is one of the configuration's. Says what it
    /// was before.
    ///
    /// # Errors
    /// As [`KeyRing::add`]: what is revoked is remembered, and takes room.
    pub fn revoke(&mut self, hash: ApiKeyHash, now_s: u64) -> Result<Option<Entry>, Failure> {
        let field = hash.to_hex();
        let before = self.ask(&Op::GetKey { field: &field })?;
        let known = op::text(&before).and_then(|value| Entry::parse(&field, value));
        let consumer: Arc<str> = known.map_or_else(|| "".into(), |entry| entry.consumer);
        self.change(&Entry { hash, changed_s: now_s, consumer, revoked: true })
    }

    /// All keys, added and revoked, those changed last at the end.
    ///
    /// # Errors
    /// The store failed.
    pub fn list(&mut self) -> Result<Vec<Entry>, Failure> {
        let answer = self.ask(&Op::KeyList)?;
        let (_, mut entries) = op::keys(&answer).ok_or_else(nonsense)?;
        entries.sort_by_key(|entry| (entry.changed_s, entry.hash));
        Ok(entries)
    }

    fn change(&mut self, entry: &Entry) -> Result<Option<Entry>, Failure> {
        // A number would start over after FLUSHALL, and could come to what gateways know already.
        let version = format!("{:016x}", RandomState::new().hash_one(entry.changed_s));
        let before = self.ask(&Op::ChangeKey { entry, version: &version })?;
        Ok(op::text(&before).and_then(|value| Entry::parse(&entry.hash.to_hex(), value)))
    }

    fn ask(&mut self, op: &Op) -> Result<Value, Failure> {
        let deadline = Instant::now() + self.patience;
        let answer = self.connection.exchange(&self.names, &[*op], deadline)?.pop();
        answer.ok_or_else(nonsense)?.map_err(|error| Failure::from(&error))
    }
}

fn nonsense() -> Failure {
    Failure("the store's answer was not understood".into())
}
