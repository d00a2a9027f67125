//! The operations on Redis: their commands, the names of the Redis keys that they use, and what their answers mean.
//!
//! A script uses the keys of one hash slot only, so that it runs in a cluster too.

use std::sync::Arc;

use ::redis::{Cmd, ServerError, Value, cmd};

use super::node::NodeFailure;
use super::scripts::{LuaScript, ScriptForm, Scripts, lease_args, take_args};
use crate::limit::{Key, LeaseRequest, Rule};
use crate::plan::RateAlgorithm;
use crate::store::keys::{KeyEntry, MAX_KEYS};
use crate::store::totals::DeltaBatch;

/// One operation, carried out by one command.
#[derive(Clone, Copy, Debug)]
pub enum Op<'a> {
    Lease {
        limit: &'a str,
        rule: &'a Rule,
        request: &'a LeaseRequest,
    },
    Take {
        limit: &'a str,
        rule: &'a Rule,
        key: &'a Key,
    },
    AddCounters(&'a DeltaBatch),
    ReadCounters(&'a [Arc<str>]),
    KeysVersion,
    /// The version and all entries, of one moment.
    ListKeys,
    ChangeKey {
        entry: &'a KeyEntry,
        version: &'a str,
    },
    GetKey {
        field: &'a str,
    },
    /// A write for its own sake: it fails as others would, on a replica or when memory has run out.
    Probe,
}

/// The answer to one operation.
pub type OpAnswer = Result<Value, OpFailure>;

/// Why an operation has no answer.
#[derive(Clone, Debug)]
pub enum OpFailure {
    /// The server's error.
    Refused(ServerError),
    /// The node of a cluster that holds its key is lost, while others answer.
    NodeLost(NodeFailure),
}

impl From<&OpFailure> for NodeFailure {
    fn from(failure: &OpFailure) -> NodeFailure {
        match failure {
            OpFailure::Refused(error) => NodeFailure::from(error),
            OpFailure::NodeLost(failure) => failure.clone(),
        }
    }
}

/// The names of Ringway's keys in Redis, and its scripts.
pub struct Keyspace {
    prefix: String,
    /// Identifies this process: under it the number of its last batch of counters is kept.
    process: u64,
    pub scripts: Scripts,
}

impl Keyspace {
    /// `process` is drawn at random at each start.
    pub fn new(prefix: String, process: u64) -> Keyspace {
        Keyspace { prefix, process, scripts: Scripts::new() }
    }

    /// The braces put all counters into one hash slot; so with the API keys.
    fn counters(&self) -> String {
        format!("{{{}:counters}}", self.prefix)
    }

    /// The number of the last batch of counters that this process has added.
    fn last_batch(&self) -> String {
        format!("{}:seen:{:016x}", self.counters(), self.process)
    }

    fn api_keys(&self) -> String {
        format!("{{{}:keys}}", self.prefix)
    }

    fn api_keys_version(&self) -> String {
        format!("{}:version", self.api_keys())
    }

    /// Each key of each limit is one Redis key. The limit's length keeps names apart whatever bytes they contain, and
    /// the brace in front keeps clients from choosing the hash slot. Of the rule, only the algorithm is part of the
    /// name: other numbers go on with what is left.
    fn bucket(&self, mode: &str, limit: &str, rule: &Rule, key: &Key) -> Vec<u8> {
        let algorithm = match rule.algorithm() {
            RateAlgorithm::TokenBucket => "bucket",
            RateAlgorithm::FixedWindow => "window",
        };
        let mut name = format!("{{{}:{mode}:{algorithm}:{}:{limit}:", self.prefix, limit.len()).into_bytes();
        key.write_name(&mut name);
        name.push(b'}');
        name
    }
}

impl Op<'_> {
    /// The first Redis key that it uses, which decides to which node of a cluster it goes.
    pub fn key(&self, keyspace: &Keyspace) -> Vec<u8> {
        match self {
            Op::Lease { limit, rule, request } => keyspace.bucket("lease", limit, rule, &request.key),
            Op::Take { limit, rule, key } => keyspace.bucket("strict", limit, rule, key),
            Op::AddCounters(_) | Op::ReadCounters(_) => keyspace.counters().into_bytes(),
            Op::KeysVersion | Op::ListKeys | Op::ChangeKey { .. } | Op::GetKey { .. } => {
                keyspace.api_keys().into_bytes()
            }
            Op::Probe => format!("{}:probe", keyspace.prefix).into_bytes(),
        }
    }

    /// The command itself; `key` is [`Op::key`].
    pub fn command(&self, keyspace: &Keyspace, key: &[u8], form: ScriptForm) -> Cmd {
        let Scripts { lease, take, add_counters, change_key, list_keys } = &keyspace.scripts;
        match self {
            Op::Lease { rule, request, .. } => lease.command(form, &[key], &lease_args(rule, request)[..]),
            Op::Take { rule, .. } => take.command(form, &[key], &take_args(rule)[..]),
            Op::AddCounters(batch) => {
                let last_batch = keyspace.last_batch();
                let mut command = add_counters.command(form, &[key, last_batch.as_bytes()], &[batch.number]);
                for (name, delta) in &*batch.deltas {
                    command.arg(&**name).arg(*delta);
                }
                command
            }
            Op::ReadCounters(counters) => {
                let mut command = cmd("HMGET");
                command.arg(key);
                counters.iter().for_each(|name| {
                    command.arg(&**name);
                });
                command
            }
            Op::KeysVersion => {
                let mut command = cmd("GET");
                command.arg(keyspace.api_keys_version());
                command
            }
            Op::ListKeys => with_version(list_keys, keyspace, key, form, &[]),
            Op::ChangeKey { entry, version } => {
                let (field, value, max_keys) = (entry.hash.to_hex(), entry.value(), MAX_KEYS.to_string());
                with_version(change_key, keyspace, key, form, &[&field, &value, version, &max_keys])
            }
            Op::GetKey { field } => {
                let mut command = cmd("HGET");
                command.arg(key).arg(field);
                command
            }
            Op::Probe => {
                let mut command = cmd("SET");
                command.arg(key).arg(1).arg("PX").arg(60_000);
                command
            }
        }
    }
}

/// A script on the API keys and their version.
fn with_version(script: &LuaScript, keyspace: &Keyspace, key: &[u8], form: ScriptForm, args: &[&str]) -> Cmd {
    script.command(form, &[key, keyspace.api_keys_version().as_bytes()], args)
}

/// The commands that scripts run, each by itself, on a key that expires.
pub fn probes(keyspace: &Keyspace) -> Vec<Cmd> {
    let key = format!("{{{}:probe}}:hash", keyspace.prefix);
    let words: [&[&str]; 8] = [
        &["TIME"],
        &["HSET", &key, "a", "1"],
        &["PEXPIRE", &key, "60000"],
        &["HINCRBY", &key, "a", "1"],
        &["HMGET", &key, "a"],
        &["HGETALL", &key],
        &["HDEL", &key, "b"],
        &["GET", &format!("{{{}:probe}}", keyspace.prefix)],
    ];
    let command = |words: &&[&str]| {
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        command
    };
    words.iter().map(command).collect()
}

/// Whether an error is about the store as a whole: other operations would get it too, and a new connection may help.
pub fn is_outage(failure: &OpFailure) -> bool {
    let OpFailure::Refused(error) = failure else { return false };
    // Up to Redis 7.0, a script's NOPERM.
    if error.details().is_some_and(|details| details.starts_with("The user executing the script can't run")) {
        return true;
    }
    // "-ERR max number of clients reached" and the like come while connecting, where every error counts.
    matches!(
        error.code(),
        "LOADING"
            | "READONLY"
            | "OOM"
            | "MISCONF"
            | "BUSY"
            | "NOAUTH"
            | "WRONGPASS"
            | "NOPERM"
            | "MASTERDOWN"
            | "CLUSTERDOWN"
            | "NOREPLICAS"
    )
}

/// The values of `expected` counters. One that is missing, or that someone else has made something other than a number,
/// is 0.
pub fn counters(answer: &Value, expected: usize) -> Option<Vec<i64>> {
    let Value::Array(items) = answer else { return None };
    (items.len() == expected).then(|| {
        items.iter().map(|item| text(item).and_then(|text| text.parse().ok()).unwrap_or(0)).collect()
    })
}

/// The version of the API keys, `None` while there are none.
pub fn version(answer: &Value) -> Option<String> {
    text(answer).map(str::to_owned)
}

/// The answer to [`Op::ListKeys`]. Entries that are not in Ringway's format are left out.
pub fn keys(answer: &Value) -> Option<(Option<String>, Vec<KeyEntry>)> {
    let Value::Array(parts) = answer else { return None };
    let [at, Value::Array(flat)] = &parts[..] else { return None };
    let entries = flat.chunks_exact(2).filter_map(|pair| KeyEntry::parse(text(&pair[0])?, text(&pair[1])?));
    Some((version(at), entries.take(MAX_KEYS).collect()))
}

/// The text of a bulk string.
pub fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Period;

    fn name(limit: &str, key: &[u8]) -> Vec<u8> {
        let rule = Rule::token_bucket(5, Period::Minute, 7);
        let keyspace = Keyspace::new("rw".into(), 1);
        Op::Take { limit, rule: &rule, key: &Key::new(key) }.key(&keyspace)
    }

    #[test]
    fn limits_and_keys_never_share_a_name() {
        assert_eq!(name("api", b"10.0.0.1"), b"{rw:strict:bucket:3:api:10.0.0.1}");
        assert_ne!(name("a", b"b:c"), name("a:b", b"c"));
        assert_ne!(name("a", b"1:b:c"), name("a:1:b", b"c"));
    }

    #[test]
    fn a_counter_without_a_number_is_0_and_a_wrong_count_is_refused() {
        let values = Value::Array(vec![Value::BulkString(b"-3".to_vec()), Value::Nil]);
        assert_eq!(counters(&values, 2), Some(vec![-3, 0]));
        assert_eq!(counters(&values, 3), None);
    }
}
