//! The Lua scripts that Redis runs atomically: their texts, arguments and results, each order written down once.
//!
//! Those of limits do to one key's hash what a [`BucketStore`](crate::limit::BucketStore) does, by Redis's own clock,
//! and let the hash expire when the bucket is full and has no leases.

use ::redis::{Cmd, ToRedisArgs, Value, cmd};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::base::hash;
use crate::limit::{LEASE_LIFE_MS, LeaseGrant, LeaseRequest, Leaseholder, PREFETCH_SHARE, Rule, Verdict};
use crate::plan::RateAlgorithm;

/// All scripts.
pub struct Scripts {
    /// Takes [`lease_args`], returns what [`grant`] reads. So with `take`, [`take_args`] and [`verdict`].
    pub lease: LuaScript,
    pub take: LuaScript,
    pub add_counters: LuaScript,
    pub change_key: LuaScript,
    /// The version of the API keys and all their entries, of one moment.
    pub list_keys: LuaScript,
}

/// A script and the name by which Redis knows it, once it has seen it.
pub struct LuaScript {
    text: &'static str,
    sha1: String,
}

/// How a command names its script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptForm {
    /// By its hash: enough if Redis has seen it before.
    Hash,
    Text,
}

impl Scripts {
    pub fn new() -> Scripts {
        Scripts {
            lease: LuaScript::new(concat!(include_str!("lua/bucket.lua"), include_str!("lua/lease.lua"))),
            take: LuaScript::new(concat!(include_str!("lua/bucket.lua"), include_str!("lua/take.lua"))),
            add_counters: LuaScript::new(include_str!("lua/add_counters.lua")),
            change_key: LuaScript::new(include_str!("lua/change_key.lua")),
            list_keys: LuaScript::new("return {redis.call('GET', KEYS[2]), redis.call('HGETALL', KEYS[1])}"),
        }
    }

    /// Commands that load the scripts used while gateways serve, so that they can be named by hash at once.
    pub fn load(&self) -> impl Iterator<Item = Cmd> {
        [&self.lease, &self.take, &self.add_counters, &self.list_keys].into_iter().map(|script| {
            let mut load = cmd("SCRIPT");
            load.arg("LOAD").arg(script.text);
            load
        })
    }
}

impl LuaScript {
    fn new(text: &'static str) -> LuaScript {
        let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        LuaScript { text, sha1: hash::to_hex(sha1.as_ref()) }
    }

    pub fn command(&self, form: ScriptForm, keys: &[&[u8]], args: &[impl ToRedisArgs]) -> Cmd {
        let (verb, script) = match form {
            ScriptForm::Hash => ("EVALSHA", self.sha1.as_str()),
            ScriptForm::Text => ("EVAL", self.text),
        };
        let mut command = cmd(verb);
        command.arg(script).arg(keys.len()).arg(keys).arg(args);
        command
    }
}

/// The arguments of [`Scripts::take`].
pub fn take_args(rule: &Rule) -> [u64; 4] {
    let window = u64::from(rule.algorithm() == RateAlgorithm::FixedWindow);
    [rule.tokens(), rule.period().ms(), rule.burst(), window]
}

/// The result of [`Scripts::take`]; `None` if it is not one.
pub fn verdict(answer: &Value) -> Option<Verdict> {
    let [allowed, remaining, reset_ms, retry_after_ms] = numbers(answer)?;
    Some(Verdict { allowed: allowed != 0, remaining, reset_ms, retry_after_ms })
}

/// The arguments of [`Scripts::lease`].
pub fn lease_args(rule: &Rule, request: &LeaseRequest) -> [u64; 12] {
    let [tokens, period_ms, burst, window] = take_args(rule);
    let LeaseRequest { holder: Leaseholder(holder), seq, kept, returned, needed, prefetch, .. } = *request;
    let (share, life_ms) = (PREFETCH_SHARE, LEASE_LIFE_MS);
    [tokens, period_ms, burst, window, share, life_ms, holder, seq, kept, returned, needed, prefetch]
}

/// The result of [`Scripts::lease`] for this request; `None` if it is not one.
pub fn grant(request: &LeaseRequest, answer: &Value) -> Option<LeaseGrant> {
    let [granted, available, leased_to_others, expires_in_ms, retry_after_ms, reset_ms] = numbers(answer)?;
    Some(LeaseGrant {
        key: request.key,
        seq: request.seq,
        granted,
        available,
        leased_to_others,
        expires_in_ms,
        retry_after_ms,
        reset_ms,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_no_verdict_are_none() {
        let ints = |numbers: &[i64]| Value::Array(numbers.iter().map(|&number| Value::Int(number)).collect());
        assert!(
            verdict(&ints(&[1, 4, 60, 0])).is_some_and(|verdict| verdict.allowed && verdict.remaining == 4)
        );
        assert!(verdict(&ints(&[1, 4, 60])).is_none());
        assert!(verdict(&ints(&[1, -4, 60, 0])).is_none());
        assert!(verdict(&Value::Okay).is_none());
    }
}
