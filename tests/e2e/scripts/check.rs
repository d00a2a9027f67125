//! `ringway check` and scripts: every problem of the configuration and of the scripts in one run, each with its place.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Exit code and stderr of a check of these files; the first is the configuration.
fn check(files: &[(&str, &str)]) -> (Option<i32>, String) {
    let dir: TempDir = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a new directory");
        std::fs::write(path, text).expect("a new file");
    }
    run(dir.path())
}

fn run(dir: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    let output = command.args(["check", "--config", "g.toml"]).current_dir(dir).output().expect("it starts");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

const HOOK: &str = "fn on_request(req) {}";
const CONFIG: &str =
    "[[route]]\nname = \"a\"\npath = \"/\"\nrespond = {}\nscripts = [\"a.rhai\", \"b.rhai\"]\n";

#[test]
fn good_scripts_pass() {
    let (code, err) = check(&[("g.toml", CONFIG), ("scripts/a.rhai", HOOK), ("scripts/b.rhai", HOOK)]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[test]
fn all_problems_of_configuration_and_scripts_come_in_one_run_with_their_places() {
    let config = format!("[server]\nshards = 0\n{}", CONFIG.replace("\"b.rhai\"", "\"b.rhai\", \"aa.rhai\""));
    let a = "fn on_request(req) {\n    let x = ;\n}\n";
    let b = "fn on_response(req) { }\nfn on_log(req, res) { nothing(1, 2); }\n";
    let (code, err) = check(&[("g.toml", &config), ("scripts/a.rhai", a), ("scripts/b.rhai", b)]);
    assert_eq!(code, Some(1));
    for part in [
        "g.toml:2:10",
        "scripts/a.rhai:2:13",
        "2 |     let x = ;\n  |             ^",
        "scripts/b.rhai:1:",
        "on_response",
        "scripts/b.rhai:2:23",
        "nothing",
        "aa.rhai",
        "did you mean \"a.rhai\"?",
    ] {
        assert!(err.contains(part), "{part:?} in\n{err}");
    }
    let last = err.lines().last().expect("a line");
    assert!(last.starts_with("5 problems"), "{last}");
}

#[test]
fn a_missing_file_and_a_missing_directory_are_named_with_what_to_do() {
    let (code, err) = check(&[("g.toml", CONFIG), ("scripts/a.rhai", HOOK)]);
    assert_eq!(code, Some(1));
    assert!(err.contains("g.toml:5:22") && err.contains("there is no script `b.rhai`"), "{err}");
    let (code, err) = check(&[("g.toml", CONFIG)]);
    assert_eq!(code, Some(1));
    assert!(err.contains("cannot read the scripts in") && err.contains("[scripts] dir"), "{err}");
    let (code, err) = check(&[("g.toml", &format!("[scripts]\ndir = \"policies\"\n{CONFIG}"))]);
    assert_eq!(code, Some(1));
    assert!(err.contains("g.toml:2:7") && err.contains("policies"), "{err}");
}

#[test]
fn a_name_outside_the_directory_is_not_read() {
    for name in ["../g.toml", "/etc/passwd", "../x.rhai"] {
        let config =
            format!("[[route]]\nname = \"a\"\npath = \"/\"\nrespond = {{}}\nscripts = [\"{name}\"]\n");
        let (code, err) = check(&[("g.toml", &config), ("scripts/a.rhai", ""), ("x.rhai", "")]);
        assert_eq!(code, Some(1), "{name}");
        assert!(err.contains("g.toml:5:"), "{name}: {err}");
    }
}

#[test]
fn without_routes_that_have_scripts_the_directory_need_not_be_there() {
    let (code, err) = check(&[("g.toml", "[[route]]\nname = \"a\"\npath = \"/\"\nrespond = {}\n")]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
}
