//! No secret shows: not in the log at any level, the answers, `/status`, `/metrics` or what `check` prints.

use std::process::Command;

use serde_json::json;

use super::{bearer, get, key, refusal, refused, route_to, token};
use crate::support::{Gateway, Origin};

const KEYS: [&str; 4] =
    ["from-the-environment", "from-a-file", "from-the-toml", "a secret of the tests, of 32 bytes or more"];
const TOML: &str = "[jwt.main]\nalgorithms = [\"HS256\"]\nsecret = \"env:SECRET\"\n\
                    from = [\"header:authorization\", \"cookie:sid\", \"query:token\"]\n\
                    [api_keys]\nquery = \"api_key\"\n\
                    [[consumer]]\nname = \"alice\"\napi_keys = [\"env:KEY\", \"file:key\", \"from-the-toml\"]\n";

#[test]
fn nothing_secret_is_logged_told_or_shown() {
    for level in ["debug", "trace"] {
        let origin = Origin::answering_once("");
        let echo = Origin::echo();
        let toml = format!(
            "{TOML}[log]\nlevel = \"{level}\"\n{}[[route]]\nname = \"echo\"\npath = \"/echo\"\nredirect = {{ to = \"{}\" }}\nauth = [\"key\"]\n",
            route_to(&origin, "auth = [\"jwt:main\", \"key\"]\n"),
            echo.url()
        );
        let gateway =
            Gateway::builder().env("SECRET", KEYS[3]).env("KEY", KEYS[0]).file("key", KEYS[1]).start(&toml);
        let good = token(json!({}));
        let stem = good.rsplit_once('.').expect("three parts").0;
        let bad = format!("{stem}.AAAA");
        let mut outputs = Vec::new();
        let mut ask = |request: String, status: u16| {
            let answer = gateway.exchange(request);
            assert_eq!(answer.status(), status);
            outputs.push(String::from_utf8_lossy(&[&answer.head[..], &answer.body].concat()).into_owned());
        };
        for key_text in &KEYS[..3] {
            ask(get("/", &key(key_text)), 502);
            ask(get(&format!("/?api_key={key_text}"), ""), 502);
        }
        ask(get("/", &bearer(&good)), 502);
        ask(get("/", &bearer(&bad)), 401);
        ask(get("/", &format!("Cookie: sid={bad}\r\n")), 401);
        ask(get(&format!("/?token={bad}"), ""), 401);
        ask(get("/", &key("wrong-but-mine-elsewhere")), 401);
        ask(get(&format!("/?token={bad}&x=%"), &format!("Bad Header: {bad}\r\n")), 400);
        let page = |path: &str| gateway.admin("GET", path).text().to_owned();
        outputs.extend([page("/status"), page("/metrics")]);
        gateway.signal("HUP");
        gateway.wait_for_message("reloaded");
        outputs.extend(gateway.stdout.all());
        outputs.extend(gateway.stderr.all());
        let hidden = KEYS.into_iter().chain([stem, "wrong-but-mine-elsewhere"]);
        for secret in hidden {
            let shown: Vec<_> = outputs.iter().filter(|text| text.contains(secret)).collect();
            assert!(shown.is_empty(), "{secret} in {shown:#?}");
        }
    }
}

#[test]
fn check_shows_none_whether_it_is_content_or_not() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = dir.path().join("gateway.toml");
    std::fs::write(dir.path().join("key"), KEYS[1]).expect("a new file");
    let check = |toml: &str| {
        std::fs::write(&config, toml).expect("it can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.args(["check", "--config"]).arg(&config).current_dir(dir.path());
        let output = command.env("SECRET", KEYS[3]).env("KEY", KEYS[0]).output().expect("the binary starts");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("it prints UTF-8");
        (output.status.code(), text)
    };
    let origin = Origin::echo();
    let good = format!("{TOML}{}", route_to(&origin, "auth = [\"jwt:main\", \"key\"]\n"));
    let (code, text) = check(&good);
    assert_eq!(code, Some(0), "{text}");
    assert!(KEYS.iter().all(|secret| !text.contains(secret)), "{text}");
    // Each with an error on the very line of a secret.
    for (from, to) in [
        ("\"from-the-toml\"]", "\"from-the-toml\", \"from-the-toml\"]"),
        ("\"from-the-toml\"]", "\"from-the-toml\", 7]"),
        ("\"from-the-toml\"]", "\"from-the-toml\", \"sha256:from-the-toml\"]"),
        (
            "secret = \"env:SECRET\"",
            "secret = \"from-the-toml of 32 bytes or more\"\npublic_key = \"from-the-toml\"",
        ),
        ("\"HS256\"]\nsecret = \"env:SECRET\"", "\"RS256\"]\npublic_key = \"from-the-toml\""),
        ("\"HS256\"]\nsecret = \"env:SECRET\"", "\"RS256\"]\nsecret = \"from-the-toml\""),
        ("secret = \"env:SECRET\"", "secrets = \"from-the-toml\""),
        ("secret = \"env:SECRET\"", "secret = [\"from-the-toml\"]"),
        ("secret = \"env:SECRET\"", "secret = \"from-the-toml"),
    ] {
        assert!(good.contains(from));
        let (code, text) = check(&good.replace(from, to));
        assert_eq!(code, Some(1), "{to}");
        assert!(KEYS.iter().all(|secret| !text.contains(secret)), "{text}");
    }
}

#[test]
fn what_is_not_there_is_told_by_its_name() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = dir.path().join("gateway.toml");
    let origin = Origin::echo();
    std::fs::write(&config, format!("{TOML}{}", route_to(&origin, "auth = [\"key\"]\n")))
        .expect("a new file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    let output =
        command.args(["check", "--config"]).arg(&config).current_dir(dir.path()).output().expect("it starts");
    let text = String::from_utf8(output.stderr).expect("it prints UTF-8");
    assert_eq!(output.status.code(), Some(1));
    for missing in ["environment variable `SECRET`", "environment variable `KEY`", "the file `key`"] {
        assert!(text.contains(missing), "{missing} in {text}");
    }
}

#[test]
fn the_environment_and_files_give_keys_that_work() {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .env("SECRET", KEYS[3])
        .env("KEY", KEYS[0])
        .file("key", &format!("{}\n", KEYS[1]))
        .start(&format!("{TOML}{}", route_to(&origin, "auth = [\"jwt:main\", \"key\"]\n")));
    for fields in [key(KEYS[0]), key(KEYS[1]), key(KEYS[2]), bearer(&token(json!({})))] {
        assert_eq!(gateway.exchange(get("/", &fields)).status(), 200);
    }
    for text in ["env:KEY", "file:key"] {
        assert_eq!(refusal(&gateway.exchange(get("/", &key(text)))), refused(401, "invalid_api_key"));
    }
}
