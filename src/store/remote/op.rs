//! What is asked of Redis: commands, the names of what they touch, and what their answers mean.
//!
//! Scripts touch the keys of one hash slot only, so that they run in a cluster too.

use std::sync::Arc;

use ::redis::{Cmd, Script, ServerError, Value, cmd};

use crate::limit::{Algorithm, Key, LeaseGrant, LeaseRequest, Rule, Verdict, lua};
use crate::store::keys::{Entry, MAX_KEYS};
use crate::store::totals::Batch;

/// One command.
#[derive(Clone, Copy, Debug)]
pub enum Op<'a> {
    Lease {
        limit: &'a str,
        rule: &'a Rule,
        ask: &'a LeaseRequest,
    },
    Strict {
        limit: &'a str,
        rule: &'a Rule,
        key: &'a Key,
    },
    Count(&'a Batch),
    ReadCounters(&'a [Arc<str>]),
    KeysVersion,
    /// The version and all entries, of one moment.
    KeyList,
    ChangeKey {
        entry: &'a Entry,
        version: &'a str,
    },
    GetKey {
        field: &'a str,
    },
    /// Can it be written to? Fails as the others would on a replica or with no memory left.
    Probe,
}

/// How a script is named to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By its hash: enough if Redis has seen it before.
    Hash,
    Text,
}

/// What one command came to.
pub type Answer = Result<Value, ServerError>;

/// The names of our keys, and our scripts.
pub struct Names {
    prefix: String,
    /// Of this process: under it the number of its last batch of counters is kept.
    process: u64,
    lease: Code,
    strict: Code,
    count: Code,
    change: Code,
    keys: Code,
}

struct Code {
    text: &'static str,
    /// By which Redis knows it, once it has seen it.
    sha1: String,
}

impl Code {
    fn new(text: &'static str) -> Code {
        Code { text, sha1: Script::new(text).get_hash().to_owned() }
    }
}

impl Names {
    /// `process` is drawn at random at each start.
    pub fn new(prefix: String, process: u64) -> Names {
        Names {
            prefix,
            process,
            lease: Code::new(lua::LEASE),
            strict: Code::new(lua::STRICT),
            count: Code::new(include_str!("count.lua")),
            change: Code::new(include_str!("keys_change.lua")),
            keys: Code::new("return {redis.call('GET', KEYS[2]), redis.call('HGETALL', KEYS[1])}"),
        }
    }

    /// Loads the scripts of the request path, so that they can be named by hash at once.
    pub fn load_scripts(&self) -> impl Iterator<Item = Cmd> {
        [&self.lease, &self.strict, &self.count].into_iter().map(|script| {
            let mut load = cmd("SCRIPT");
            load.arg("LOAD").arg(script.text);
            load
        })
    }

    /// The braces make one hash slot of all counters, and of all keys.
    fn counters(&self) -> String {
        format!("{{{}:counters}}", self.prefix)
    }

    fn keys(&self) -> String {
        format!("{{{}:keys}}", self.prefix)
    }

    /// Each key of each limit is one Redis key. Lengths keep names apart whatever bytes they are made of, and the brace
    /// in front keeps clients from choosing the slot.
    fn limit(&self, mode: &str, limit: &str, rule: &Rule, key: &Key) -> Vec<u8> {
        let algorithm = match rule.algorithm() {
            Algorithm::TokenBucket => "bucket",
            Algorithm::FixedWindow => "window",
        };
        let (tokens, period_ms, burst) = (rule.tokens(), rule.period().ms(), rule.burst());
        let rule = format!("{algorithm}/{tokens}/{period_ms}/{burst}");
        let mut name = format!("{{{}:{mode}:{rule}:{}:{limit}:", self.prefix, limit.len()).into_bytes();
        name.extend_from_slice(key.as_bytes());
        name.push(b'}');
        name
    }
}

impl Op<'_> {
    /// The Redis key that says which node of a cluster it goes to.
    pub fn key(&self, names: &Names) -> Vec<u8> {
        match self {
            Op::Lease { limit, rule, ask } => names.limit("lease", limit, rule, &ask.key),
            Op::Strict { limit, rule, key } => names.limit("strict", limit, rule, key),
            Op::Count(_) | Op::ReadCounters(_) => names.counters().into_bytes(),
            Op::KeysVersion | Op::KeyList | Op::ChangeKey { .. } | Op::GetKey { .. } => {
                names.keys().into_bytes()
            }
            Op::Probe => format!("{}:probe", names.prefix).into_bytes(),
        }
    }

    /// The command itself; `key` is [`Op::key`].
    pub fn command(&self, names: &Names, key: &[u8], by: By) -> Cmd {
        match self {
            Op::Lease { rule, ask, .. } => eval(&names.lease, by, &[key], &lua::lease_args(rule, ask)[..]),
            Op::Strict { rule, .. } => eval(&names.strict, by, &[key], &lua::strict_args(rule)[..]),
            Op::Count(batch) => {
                let seen = format!("{}:seen:{:016x}", names.counters(), names.process);
                let mut command = eval(&names.count, by, &[key, seen.as_bytes()], &[batch.number]);
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
            Op::KeysVersion => get(&version_of(names)),
            Op::KeyList => eval(&names.keys, by, &[key, version_of(names).as_bytes()], &[] as &[&str]),
            Op::ChangeKey { entry, version } => {
                let (field, value, most) = (entry.hash.to_hex(), entry.value(), MAX_KEYS.to_string());
                let args = [field.as_str(), &value, version, &most];
                eval(&names.change, by, &[key, version_of(names).as_bytes()], &args)
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

fn version_of(names: &Names) -> String {
    format!("{}:version", names.keys())
}

fn get(key: &str) -> Cmd {
    let mut command = cmd("GET");
    command.arg(key);
    command
}

fn eval(script: &Code, by: By, keys: &[&[u8]], args: &[impl ::redis::ToRedisArgs]) -> Cmd {
    let (verb, named) = match by {
        By::Hash => ("EVALSHA", script.sha1.as_str()),
        By::Text => ("EVAL", script.text),
    };
    let mut command = cmd(verb);
    command.arg(named).arg(keys.len()).arg(keys).arg(args);
    command
}

/// Whether an error is about the store as a whole: others would get it too, and a new connection may help.
pub fn is_outage(error: &ServerError) -> bool {
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

/// What [`Op::Lease`] answered; `None` if it makes no sense.
pub fn grant(ask: &LeaseRequest, answer: &Value) -> Option<LeaseGrant> {
    Some(lua::grant(ask, numbers(answer)?))
}

/// What [`Op::Strict`] answered.
pub fn verdict(answer: &Value) -> Option<Verdict> {
    Some(lua::verdict(numbers(answer)?))
}

fn numbers<const N: usize>(answer: &Value) -> Option<[u64; N]> {
    let Value::Array(items) = answer else { return None };
    let mut numbers = [0; N];
    if items.len() != N {
        return None;
    }
    for (number, item) in numbers.iter_mut().zip(items) {
        let Value::Int(value) = item else { return None };
        *number = u64::try_from(*value).ok()?;
    }
    Some(numbers)
}

/// The values of `expected` counters. One that is missing, or was made something else by another, is 0.
pub fn counters(answer: &Value, expected: usize) -> Option<Vec<i64>> {
    let Value::Array(items) = answer else { return None };
    (items.len() == expected).then(|| {
        items.iter().map(|item| text(item).and_then(|text| text.parse().ok()).unwrap_or(0)).collect()
    })
}

/// The version of the keys, `None` while there are none.
pub fn version(answer: &Value) -> Option<String> {
    text(answer).map(str::to_owned)
}

/// What [`Op::KeyList`] answered. Entries that are not ours to read are left out.
pub fn keys(answer: &Value) -> Option<(Option<String>, Vec<Entry>)> {
    let Value::Array(parts) = answer else { return None };
    let [at, Value::Array(flat)] = &parts[..] else { return None };
    let entries = flat.chunks_exact(2).filter_map(|pair| Entry::parse(text(&pair[0])?, text(&pair[1])?));
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
    use crate::limit::Period;

    fn name(limit: &str, key: &[u8]) -> Vec<u8> {
        let rule = Rule::token_bucket(5, Period::Minute, 7);
        let names = Names::new("rw".into(), 1);
        Op::Strict { limit, rule: &rule, key: &Key::new(key) }.key(&names)
    }

    #[test]
    fn limits_and_keys_never_share_a_name() {
        assert_eq!(name("api", b"10.0.0.1"), b"{rw:strict:bucket/5/60000/7:3:api:10.0.0.1}");
        assert_ne!(name("a", b"b:c"), name("a:b", b"c"));
        assert_ne!(name("a", b"1:b:c"), name("a:1:b", b"c"));
    }

    #[test]
    fn answers_that_make_no_sense_are_none() {
        let ints = |numbers: &[i64]| Value::Array(numbers.iter().map(|&number| Value::Int(number)).collect());
        assert!(
            verdict(&ints(&[1, 4, 60, 0])).is_some_and(|verdict| verdict.allowed && verdict.remaining == 4)
        );
        assert!(verdict(&ints(&[1, 4, 60])).is_none());
        assert!(verdict(&ints(&[1, -4, 60, 0])).is_none());
        assert!(verdict(&Value::Okay).is_none());
        let values = Value::Array(vec![Value::BulkString(b"-3".to_vec()), Value::Nil]);
        assert_eq!(counters(&values, 2), Some(vec![-3, 0]));
        assert_eq!(counters(&values, 3), None);
    }
}
