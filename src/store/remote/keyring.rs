//! The API keys as `ringway keys` changes them: one connection, one operation at a time.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::Value;

use super::RemoteConfig;
use super::connection::RedisConnection;
use super::node::NodeFailure;
use super::op::{self, Keyspace, Op};
use crate::plan::ApiKeyHash;
use crate::store::keys::KeyEntry;

/// A person at a command line waits longer than a request does.
const MIN_TIMEOUT: Duration = Duration::from_secs(2);

pub struct KeyRing {
    connection: RedisConnection,
    keyspace: Keyspace,
    timeout: Duration,
}

impl KeyRing {
    /// # Errors
    /// The store does not answer or cannot be written to.
    pub fn open(config: &RemoteConfig) -> Result<KeyRing, NodeFailure> {
        let keyspace = Keyspace::new(config.key_prefix.clone(), 0);
        let timeout = config.timeout.max(MIN_TIMEOUT);
        let connection = RedisConnection::open(&config.address, &keyspace, timeout)?;
        Ok(KeyRing { connection, keyspace, timeout })
    }

    /// Makes the key one of the consumer's from `now_s` (Unix time) on, on every gateway within a second, even if it
    /// was revoked. Returns the entry that it had before.
    ///
    /// # Errors
    /// The store failed, or has no room for one more key.
    pub fn add(
        &mut self,
        hash: ApiKeyHash,
        consumer: &str,
        now_s: u64,
    ) -> Result<Option<KeyEntry>, NodeFailure> {
        if consumer.is_empty() {
            return Err(NodeFailure("a key needs a consumer".into()));
        }
        self.change(&KeyEntry { hash, changed_s: now_s, consumer: consumer.into(), revoked: false })
    }

    /// Makes the key invalid on every gateway within a second, even if it is one of the configuration's, where `owner` has
    /// it. Returns the entry that it had before.
    ///
    /// # Errors
    /// As [`KeyRing::add`]: a revoked key keeps its entry, and takes room.
    pub fn revoke(
        &mut self,
        hash: ApiKeyHash,
        owner: Option<&str>,
        now_s: u64,
    ) -> Result<Option<KeyEntry>, NodeFailure> {
        let field = hash.to_hex();
        let before = self.run(&Op::GetKey { field: &field })?;
        let known = op::text(&before).and_then(|value| KeyEntry::parse(&field, value));
        let known = known.map(|entry| entry.consumer).filter(|consumer| !consumer.is_empty());
        let consumer: Arc<str> = known.unwrap_or_else(|| owner.unwrap_or_default().into());
        self.change(&KeyEntry { hash, changed_s: now_s, consumer, revoked: true })
    }

    /// All keys, added and revoked, by the time of their last change.
    ///
    /// # Errors
    /// The store failed.
    pub fn list(&mut self) -> Result<Vec<KeyEntry>, NodeFailure> {
        let answer = self.run(&Op::ListKeys)?;
        let (_, mut entries) = op::keys(&answer).ok_or_else(not_understood)?;
        entries.sort_by_key(|entry| (entry.changed_s, entry.hash));
        Ok(entries)
    }

    fn change(&mut self, entry: &KeyEntry) -> Result<Option<KeyEntry>, NodeFailure> {
        // Drawn at random: a counter would begin anew after FLUSHALL, and could reach the version that gateways have.
        let version = format!("{:016x}", RandomState::new().hash_one(entry.changed_s));
        let before = self.run(&Op::ChangeKey { entry, version: &version })?;
        Ok(op::text(&before).and_then(|value| KeyEntry::parse(&entry.hash.to_hex(), value)))
    }

    fn run(&mut self, op: &Op) -> Result<Value, NodeFailure> {
        let deadline = Instant::now() + self.timeout;
        let answer = self.connection.exchange(&self.keyspace, &[*op], deadline)?.pop();
        answer.ok_or_else(not_understood)?.map_err(|error| NodeFailure::from(&error))
    }
}

fn not_understood() -> NodeFailure {
    NodeFailure("the store's answer was not understood".into())
}
