//! `ringway keys`: what it prints, and that running gateways follow.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use jsonwebtoken::{EncodingKey, Header};

use super::HELLO;
use crate::support::{DEADLINE, Gateway, Message, Redis};

const ALICE: &str = "[[consumer]]\nname = \"alice\"\napi_keys = [\"configured\"]\n";
const BOB: &str = "[[consumer]]\nname = \"bob\"\napi_keys = [\"bobs\"]\n";
const ROUTE: &str =
    "[[route]]\nname = \"keyed\"\npath = \"/keyed\"\nrespond = { body = \"come in\\n\" }\nauth = [\"key\"]\n";

/// A route for tokens and keys.
const JWT: &str = "[jwt.main]\nalgorithms = [\"HS256\"]\nsecret = \"0123456789abcdef0123456789abcdef\"\n\
     [[route]]\nname = \"either\"\npath = \"/either\"\nrespond = {}\nauth = [\"key\", \"jwt:main\"]\n";

fn token() -> String {
    let claims = serde_json::json!({ "sub": "alice", "exp": 4_000_000_000_u64 });
    let key = EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
    jsonwebtoken::encode(&Header::default(), &claims, &key).expect("a token")
}

fn ringway(config: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.arg("keys").args(words).arg("--config").arg(config).output().expect("the binary starts")
}

/// What it has printed, once it has ended well.
fn good(config: &Path, words: &[&str]) -> String {
    let output = ringway(config, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// One line of cause, one of what to do.
fn bad(config: &Path, words: &[&str], code: i32, cause: &str, hint: &str) {
    let output = ringway(config, words);
    let stderr = String::from_utf8(output.stderr).expect("it prints UTF-8");
    assert_eq!((output.status.code(), output.stdout), (Some(code), Vec::new()), "{words:?}: {stderr}");
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    assert!(lines[0].starts_with("ringway: ") && lines[0].contains(cause), "{stderr}");
    assert!(lines[1].starts_with("hint: ") && lines[1].contains(hint), "{stderr}");
}

fn ask(gateway: &Gateway, key: &str) -> Message {
    gateway.exchange(format!("GET /keyed HTTP/1.1\r\nHost: t\r\nX-API-Key: {key}\r\n\r\n"))
}

/// Asks with the key until the answer has this status.
fn wait_for_status(gateway: &Gateway, key: &str, status: u16) {
    let until = Instant::now() + DEADLINE;
    loop {
        let found = ask(gateway, key).status();
        if found == status {
            return;
        }
        assert!(Instant::now() < until, "{key} is still {found}, not {status}");
    }
}

#[test]
fn keys_added_and_revoked_are_honoured_by_running_gateways() {
    let redis = Redis::start();
    let start = || Gateway::builder().shards(2).start(&format!("{}{ALICE}{ROUTE}", redis.section()));
    let gateways = [start(), start()];
    let config = gateways[0].config_path();
    let all = |key: &str, status| gateways.iter().for_each(|gateway| wait_for_status(gateway, key, status));

    let printed = good(config, &["add", "alice"]);
    let key = printed.trim_end();
    assert_eq!(printed, format!("{key}\n"), "the key alone");
    assert_eq!(key.len(), 43, "32 bytes in base64url");
    all(key, 200);
    all("configured", 200);

    good(config, &["revoke", key]);
    all(key, 401);
    good(config, &["revoke", "configured"]);
    all("configured", 401);
    good(config, &["add", "alice", "--key", "configured"]);
    all("configured", 200);
}

/// A good key and a revoked one; both stand in the configuration.
fn with_one_revoked(redis: &Redis) -> String {
    let toml = format!("{}{}{ROUTE}", redis.section(), ALICE.replace("[\"", "[\"revoked\", \""));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = dir.path().join("gateway.toml");
    std::fs::write(&config, &toml).expect("a new file");
    good(&config, &["revoke", "revoked"]);
    toml
}

#[test]
fn a_start_knows_which_keys_were_revoked_before_it_accepts() {
    let redis = Redis::start();
    let toml = with_one_revoked(&redis);
    for _ in 0..12 {
        let gateway = Gateway::builder().shards(2).start(&toml);
        assert_eq!(ask(&gateway, "revoked").status(), 401);
        assert_eq!(ask(&gateway, "configured").status(), 200);
    }
}

#[test]
fn no_key_is_accepted_before_the_store_has_said_which_were_revoked() {
    let mut redis = Redis::start();
    let toml = with_one_revoked(&redis) + JWT;
    redis.save();
    redis.kill();
    let gateway = Gateway::builder().shards(2).start(&toml);
    assert!(gateway.wait_for_message("which API keys were revoked").contains("503"));
    for key in ["revoked", "configured", "unknown"] {
        let answer = ask(&gateway, key);
        assert_eq!((answer.status(), &answer.json()["reason"]), (503, &"store_unavailable".into()), "{key}");
        assert!(answer.field("www-authenticate").is_none(), "another credential would not help");
    }
    assert_eq!(gateway.get("/keyed").status(), 401, "nothing was presented");
    let token = token();
    let with_token = |more: &str| {
        let head = format!("GET /either HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n{more}\r\n");
        gateway.exchange(head).status()
    };
    assert_eq!((with_token(""), with_token("X-API-Key: configured\r\n")), (200, 200), "tokens go on");
    let store = gateway.admin("GET", "/status").json()["store"].clone();
    assert!(store["state"] == "down" && store["api_keys"].is_null(), "{store}");

    redis.restart();
    wait_for_status(&gateway, "configured", 200);
    assert_eq!(ask(&gateway, "revoked").status(), 401);
    let store = gateway.admin("GET", "/status").json()["store"].clone();
    assert_eq!(store["api_keys"]["revoked"], 1);
    redis.kill();
    gateway.wait_for_metric("ringway_store_up", "", |up| up == 0.0);
    assert_eq!((ask(&gateway, "configured").status(), ask(&gateway, "revoked").status()), (200, 401));
}

#[test]
fn a_frozen_store_holds_a_start_up_for_moments_and_no_revoked_key_works() {
    let redis = Redis::start();
    let toml = with_one_revoked(&redis);
    redis.freeze();
    let gateway = Gateway::start(&toml);
    assert_eq!((ask(&gateway, "revoked").status(), ask(&gateway, "configured").status()), (503, 503));
    redis.thaw();
    wait_for_status(&gateway, "configured", 200);
    assert_eq!(ask(&gateway, "revoked").status(), 401);
}

#[test]
fn a_running_gateway_says_how_many_keys_the_store_has() {
    let redis = Redis::start();
    let gateway = Gateway::start(&format!("{}{ALICE}{HELLO}", redis.section()));
    let config = gateway.config_path();
    good(config, &["add", "alice"]);
    good(config, &["add", "alice", "--key", "mine"]);
    good(config, &["revoke", "mine"]);
    gateway.wait_for_metric("ringway_store_api_keys", "added", |keys| keys == 1.0);
    gateway.wait_for_metric("ringway_store_api_keys", "revoked", |keys| keys == 1.0);
}

#[test]
fn a_list_shows_hashes_alone_and_those_can_be_revoked() {
    const SHA256_OF_TEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let redis = Redis::start();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = dir.path().join("gateway.toml");
    std::fs::write(&config, format!("{}{ALICE}{HELLO}", redis.section())).expect("a new file");
    assert_eq!(good(&config, &["list"]), "");
    good(&config, &["add", "alice", "--key", "test"]);
    let listed = good(&config, &["list"]);
    let words: Vec<_> = listed.split_whitespace().collect();
    assert_eq!((words[0], words[2], words[3]), ("active", SHA256_OF_TEST, "alice"), "{listed}");
    good(&config, &["revoke", SHA256_OF_TEST]);
    assert!(good(&config, &["list"]).starts_with("revoked "));
    let stored = redis.ask("KEYS *") + &redis.ask("HGETALL ringway:keys");
    assert!(!stored.contains("test"), "{stored}");
}

/// With the key on standard input; what it has printed to stderr.
fn with_input(config: &Path, words: &[&str], input: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.arg("keys").args(words).arg("--config").arg(config);
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    process.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
    let output = process.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("it prints UTF-8");
    assert!(output.status.success(), "{words:?}: {stderr}");
    stderr
}

#[test]
fn a_key_is_revoked_by_standard_input_the_beginning_of_its_hash_or_its_consumer() {
    let redis = Redis::start();
    let gateway = Gateway::start(&format!("{}{ALICE}{BOB}{ROUTE}", redis.section()));
    let config = gateway.config_path();
    with_input(config, &["add", "alice", "--key", "-"], "piped\n");
    for key in ["piped", "configured", "bobs"] {
        wait_for_status(&gateway, key, 200);
    }
    assert!(with_input(config, &["revoke", "-"], "piped\r\n").contains("it was one of alice"));
    wait_for_status(&gateway, "piped", 401);
    // SHA-256 of "bobs".
    good(config, &["revoke", "sha256:39B94DDF6"]);
    wait_for_status(&gateway, "bobs", 401);
    assert_eq!(ask(&gateway, "configured").status(), 200);

    good(config, &["add", "alice", "--key", "piped"]);
    wait_for_status(&gateway, "piped", 200);
    good(config, &["revoke", "--consumer", "alice"]);
    wait_for_status(&gateway, "piped", 401);
    wait_for_status(&gateway, "configured", 401);
    let listed = good(config, &["list"]);
    let is_revoked = |line: &str, name: &str| line.starts_with("revoked") && line.ends_with(name);
    let revoked = |name: &str| listed.lines().filter(|line| is_revoked(line, name)).count();
    assert_eq!((revoked("  alice"), revoked("  bob")), (2, 1), "{listed}");
    assert!(with_input(config, &["revoke", "--consumer", "alice"], "").contains("alice has no valid key"));
}

#[test]
fn a_key_that_the_configuration_has_for_another_consumer_is_not_added() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = dir.path().join("gateway.toml");
    std::fs::write(&config, format!("{}{ALICE}{BOB}{HELLO}", redis.section())).expect("a new file");
    bad(&config, &["add", "alice", "--key", "bobs"], 1, "has this key for `bob`", "`api_keys` of `bob`");
    assert_eq!(good(&config, &["list"]), "");
    good(&config, &["add", "bob", "--key", "bobs"]);
}

#[test]
fn what_cannot_be_done_is_said_in_two_lines() {
    let mut redis = Redis::start();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (embedded, remote) = (dir.path().join("embedded.toml"), dir.path().join("remote.toml"));
    std::fs::write(&embedded, format!("{ALICE}{HELLO}")).expect("a new file");
    std::fs::write(&remote, format!("{}{ALICE}{HELLO}", redis.section())).expect("a new file");
    for words in [&["add", "alice"][..], &["revoke", "test"], &["list"]] {
        bad(&embedded, words, 1, "has no [store]", "[store] url");
    }
    bad(&remote, &["add", "alise"], 1, "no consumer `alise`", "did you mean `alice`?");
    bad(&remote, &["add", "zed"], 1, "no consumer `zed`", "[[consumer]]");
    bad(&remote, &["add", "alice", "--key", "a b"], 1, "visible ASCII", "the key itself");
    bad(&remote, &["add", "alice", "--key", "sha256:12"], 1, "64 hex digits", "the key itself");
    for short in ["sha256:", "sha256:9f86d08", "sha256:9f86d08x"] {
        bad(&remote, &["revoke", short], 1, "at least 8 hex digits", "keys list");
    }
    bad(&remote, &["revoke", "sha256:9f86d081"], 1, "no key of the store", "keys list");
    bad(&remote, &["revoke", "--consumer", "alise"], 1, "no consumer `alise`", "did you mean `alice`?");
    bad(&remote, &["revoke"], 1, "<KEY>", "--help");
    bad(&remote, &["revoke", "-"], 1, "no key on standard input", "keys revoke -");
    bad(&remote, &["add"], 1, "<CONSUMER>", "--help");
    redis.kill();
    bad(&remote, &["list"], 2, "the store failed", "[store] url");
}
