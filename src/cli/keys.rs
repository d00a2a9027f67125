//! `ringway keys`: adds, revokes and lists API keys in the store, which running gateways read within moments.

use std::io::{BufRead, IsTerminal, Read, Write, stderr, stdin, stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::known_keys::{KnownKeys, MIN_PREFIX, NoSuchHash};
use crate::auth::parse::api_key;
use crate::base::suggest::closest;
use crate::base::time;
use crate::control::{self, CommandFailure, ConfigSource, StartFailure};
use crate::plan::{ApiKeyHash, Consumer, Plan, StoreSettings};
use crate::store::{KeyEntry, KeyRing, RemoteConfig};

/// Stands for a key on standard input, so that the list of processes does not show it.
const STDIN: &str = "-";
/// The most bytes that are read there: more than any key has.
const MAX_STDIN: u64 = 4096;
/// Hex digits of a whole hash.
const HASH_DIGITS: usize = 64;
/// Random bytes in a generated key.
const KEY_BYTES: usize = 32;

/// Makes `key`, or a new random one, a key of the consumer. A new key is printed to stdout, once: the store has its hash
/// alone. What was done goes to stderr.
///
/// # Errors
/// The configuration has errors, lacks the consumer or has no store; the key cannot be one, or is another consumer's in
/// the configuration; the store fails.
pub fn add(config: &Path, consumer: &str, key: Option<&str>) -> Result<(), CommandFailure> {
    let plan = load(config)?;
    check_consumer(&plan.consumers, consumer, config)?;
    let generated = if key.is_none() { Some(random_key()?) } else { None };
    let hash = match (key, &generated) {
        (Some(key), _) => hash(&given(key)?)?,
        (None, generated) => hash(generated.as_deref().unwrap_or_default())?,
    };
    if let Some(owner) = owner(&plan.consumers, hash).filter(|owner| **owner != *consumer) {
        return Err(StartFailure::input(
            format!("the configuration has this key for `{owner}`"),
            format!("give `{consumer}` a key of its own, or take this one out of the `api_keys` of `{owner}` first"),
        )
        .into());
    }
    let before = open(&plan, config)?.add(hash, consumer, now_s()).map_err(failed)?;
    if let Some(key) = &generated {
        print(&format!("{key}\n"));
    }
    report(&match before {
        None => format!("sha256:{} is a key of {consumer} now\n", hash.to_hex()),
        Some(before) => {
            format!("sha256:{} is a key of {consumer} now; it was {}\n", hash.to_hex(), previous(&before))
        }
    });
    Ok(())
}

/// Revokes a key, also one that stands in the configuration. It is given by itself, on standard input, or by its hash or
/// the beginning of that.
///
/// # Errors
/// As for [`add`]; and no key or more than one has a hash that begins so.
pub fn revoke(config: &Path, key: &str) -> Result<(), CommandFailure> {
    let plan = load(config)?;
    let mut ring = open(&plan, config)?;
    let key = given(key)?;
    let hash = match prefix(&key)? {
        Some(prefix) => {
            let known = KnownKeys::of(&plan.consumers, ring.list().map_err(failed)?);
            known.by_prefix(&prefix).map_err(|why| no_such_hash(&prefix, &why))?
        }
        None => hash(&key)?,
    };
    revoke_hash(&mut ring, &plan.consumers, hash)
}

/// Revokes all keys that a consumer has in the store and in the configuration.
///
/// # Errors
/// As for [`add`]; and no key has ever been one of that consumer's, which the configuration does not have either.
pub fn revoke_all(config: &Path, consumer: &str) -> Result<(), CommandFailure> {
    let plan = load(config)?;
    let mut ring = open(&plan, config)?;
    let known = KnownKeys::of(&plan.consumers, ring.list().map_err(failed)?);
    // One that the configuration no longer has may still have keys in the store.
    let keys = match known.of_consumer(consumer) {
        Some(keys) => keys,
        None => check_consumer(&plan.consumers, consumer, config).map(|()| Vec::new())?,
    };
    if keys.is_empty() {
        report(&format!("{consumer} has no valid key\n"));
    }
    keys.into_iter().try_for_each(|hash| revoke_hash(&mut ring, &plan.consumers, hash))
}

fn revoke_hash(
    ring: &mut KeyRing,
    consumers: &[Arc<Consumer>],
    hash: ApiKeyHash,
) -> Result<(), CommandFailure> {
    let owner = owner(consumers, hash);
    let before = ring.revoke(hash, owner, now_s()).map_err(failed)?;
    report(&match (before, owner) {
        (Some(before), _) => format!("sha256:{} is revoked; it was {}\n", hash.to_hex(), previous(&before)),
        (None, Some(owner)) => {
            format!("sha256:{} is revoked; the configuration has it for {owner}\n", hash.to_hex())
        }
        (None, None) => {
            format!("sha256:{} is revoked, though neither store nor configuration had it\n", hash.to_hex())
        }
    });
    Ok(())
}

/// The consumer that has the key in the configuration.
fn owner(consumers: &[Arc<Consumer>], hash: ApiKeyHash) -> Option<&str> {
    consumers.iter().find(|consumer| consumer.api_keys.contains(&hash)).map(|consumer| &*consumer.name)
}

/// Prints the keys in the store, in the order of their last change: state, time of that change, hash, consumer.
///
/// # Errors
/// As for [`add`].
pub fn list(config: &Path) -> Result<(), CommandFailure> {
    let plan = load(config)?;
    let entries = open(&plan, config)?.list().map_err(failed)?;
    let line = |KeyEntry { hash, changed_s, consumer, revoked }: KeyEntry| {
        let state = if revoked { "revoked" } else { "active " };
        let changed = time::rfc3339_ms(changed_s.saturating_mul(1000));
        let changed = std::str::from_utf8(&changed[..19]).unwrap_or_default();
        format!("{state}  {changed}Z  sha256:{}  {consumer}\n", hash.to_hex())
    };
    print(&entries.into_iter().map(line).collect::<String>());
    Ok(())
}

fn load(config: &Path) -> Result<Plan, CommandFailure> {
    Ok(ConfigSource::File(config.to_owned()).load().map_err(CommandFailure::Config)?.plan)
}

/// Fails for a name that no consumer of the configuration has.
fn check_consumer(consumers: &[Arc<Consumer>], name: &str, config: &Path) -> Result<(), StartFailure> {
    if consumers.iter().any(|consumer| *consumer.name == *name) {
        return Ok(());
    }
    let names = consumers.iter().map(|consumer| &*consumer.name);
    let hint = match closest(name, names) {
        Some(close) => format!("did you mean `{close}`?"),
        None => "add it as a [[consumer]], and reload the gateways first".to_owned(),
    };
    Err(StartFailure::input(format!("{} has no consumer `{name}`", config.display()), hint))
}

/// The key as it was given, or read from standard input.
fn given(key: &str) -> Result<String, StartFailure> {
    if key != STDIN {
        return Ok(key.to_owned());
    }
    let stdin = stdin();
    let (mut bytes, mut input) = (Vec::new(), stdin.lock().take(MAX_STDIN));
    let read = if stdin.is_terminal() {
        report("the key, and Enter:\n");
        input.read_until(b'\n', &mut bytes)
    } else {
        input.read_to_end(&mut bytes)
    };
    let hint = "write the key into it: ringway keys revoke - < FILE";
    read.map_err(|error| StartFailure::input(format!("cannot read standard input: {error}"), hint))?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok("") => Err(StartFailure::input("there is no key on standard input", hint)),
        Ok(key) => Ok(key.to_owned()),
        Err(_) => Err(StartFailure::input("what is on standard input is no key: it is not text", hint)),
    }
}

/// The hex digits, in lower case, of a hash that is not given whole; `None`: it is something else.
fn prefix(key: &str) -> Result<Option<String>, StartFailure> {
    let Some(hex) = key.strip_prefix("sha256:").filter(|hex| hex.len() < HASH_DIGITS) else {
        return Ok(None);
    };
    if hex.len() < MIN_PREFIX || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(StartFailure::input(
            format!("`sha256:` wants at least {MIN_PREFIX} hex digits of a key's hash"),
            "`ringway keys list` shows the hashes of the keys in the store",
        ));
    }
    Ok(Some(hex.to_ascii_lowercase()))
}

fn no_such_hash(prefix: &str, why: &NoSuchHash) -> StartFailure {
    match why {
        NoSuchHash::Unknown => StartFailure::input(
            format!("no key of the store or the configuration has a hash that begins with {prefix}"),
            "`ringway keys list` shows the hashes of the keys in the store",
        ),
        NoSuchHash::Ambiguous(keys) => StartFailure::input(
            format!("{keys} keys have a hash that begins with {prefix}"),
            "give more of its hex digits",
        ),
    }
}

/// The hash of a key, or the one that `sha256:…`, as `list` shows it, stands for.
fn hash(key: &str) -> Result<ApiKeyHash, StartFailure> {
    let hint = "give the key itself, or sha256: and the 64 hex digits of its hash";
    api_key(key).map_err(|why| StartFailure::input(why, hint))
}

fn random_key() -> Result<String, StartFailure> {
    loop {
        let mut bytes = [0; KEY_BYTES];
        rand::fill(&mut bytes).map_err(|_| {
            StartFailure::machine(
                "the system gives no random numbers",
                "choose a key yourself with --key KEY",
            )
        })?;
        let key = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        // On a command line it would be taken for an option.
        if !key.starts_with('-') {
            return Ok(key);
        }
    }
}

/// Connects to the store of the configuration.
fn open(plan: &Plan, config: &Path) -> Result<KeyRing, StartFailure> {
    let Some(store) = &plan.store else { return Err(no_store(config)) };
    KeyRing::open(&remote(store)?).map_err(failed)
}

fn remote(store: &StoreSettings) -> Result<RemoteConfig, StartFailure> {
    control::remote_store(store)
        .map_err(|why| StartFailure::input(format!("[store] url: {why}"), "`ringway check` shows the line"))
}

fn no_store(config: &Path) -> StartFailure {
    StartFailure::input(
        format!("{} has no [store], through which running gateways would learn of keys", config.display()),
        "write [store] url = \"redis://127.0.0.1:6379\", or put the key into the consumer's `api_keys` and reload",
    )
}

fn failed(failure: crate::store::NodeFailure) -> StartFailure {
    StartFailure::machine(
        format!("the store failed: {failure}"),
        "see that the Redis of [store] url runs, and that its user may write there",
    )
}

/// What the store had before, as the end of a sentence.
fn previous(entry: &KeyEntry) -> String {
    match (&*entry.consumer, entry.revoked) {
        ("", _) => "revoked".to_owned(),
        (consumer, true) => format!("a revoked one of {consumer}"),
        (consumer, false) => format!("one of {consumer}"),
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// To stdout; a closed one is no failure.
fn print(text: &str) {
    let mut stdout = stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// To stderr: for people, beside what stdout has for programs.
fn report(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_keys_are_such_as_can_be_sent_and_typed_and_differ() {
        let (one, other) = (random_key().unwrap(), random_key().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 43);
        assert!(api_key(&one).is_ok() && !one.starts_with('-'), "{one}");
    }

    #[test]
    fn a_consumer_that_is_not_there_is_the_users_fault_and_a_close_one_is_named() {
        let consumer = |name: &str| {
            Arc::new(Consumer {
                name: name.into(),
                groups: Vec::new(),
                permissions: Vec::new(),
                api_keys: Vec::new(),
                limits: Vec::new(),
            })
        };
        let consumers = [consumer("alice"), consumer("bob")];
        assert!(check_consumer(&consumers, "bob", Path::new("g.toml")).is_ok());
        let failure = check_consumer(&consumers, "alise", Path::new("g.toml")).unwrap_err();
        assert_eq!(failure.cause, "g.toml has no consumer `alise`");
        assert_eq!(failure.hint, "did you mean `alice`?");
        assert!(
            check_consumer(&consumers, "zed", Path::new("g.toml")).unwrap_err().hint.contains("[[consumer]]")
        );
    }
}
