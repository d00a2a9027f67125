//! `ringway check` as its users run it: a child process, its exit code and what it prints where.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::NamedTempFile;

fn check(file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(["check", "--config"]).arg(file).output().expect("the binary starts")
}

/// Exit code, and what `--format json` prints.
fn check_json(text: &str) -> (Option<i32>, serde_json::Value) {
    let file = NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("it can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    let output = command.args(["check", "--format", "json", "--config"]).arg(file.path()).output();
    let (code, out, err) = parts(output.expect("the binary starts"));
    assert_eq!(err, "");
    (code, serde_json::from_str(&out).expect("one JSON value"))
}

/// Exit code, stdout, stderr.
fn check_text(text: &str) -> (Option<i32>, String, String) {
    let file = NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("it can be written");
    parts(check(file.path()))
}

fn parts(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_good_file_exits_0_with_a_summary_and_nothing_on_stderr() {
    let text = "[admin]\n[upstream.users]\ntargets = [\"http://127.0.0.1:3001\", \"unix:/run/u.sock\"]\n\
                [[route]]\nname = \"users\"\npath = \"/users/*\"\nupstream = \"users\"\n";
    let (code, out, err) = check_text(text);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for part in
        ["0.0.0.0:8080", "127.0.0.1:9901", "http://127.0.0.1:3001, unix:/run/u.sock", "/users/* -> users"]
    {
        assert!(out.contains(part), "{part} in\n{out}");
    }
    assert!(out.lines().count() <= 24, "one screen:\n{out}");
}

#[test]
fn a_bad_file_exits_1_with_every_problem_and_their_number_on_stderr() {
    let text = "[server]\nlisten = \"nowhere\"\nshard = 1\n[[route]]\npath = \"/x\"\nupstream = \"users\"\n";
    let (code, out, err) = check_text(text);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    for part in [":2:10", ":3:1", ":6:12", "did you mean `shards`?", "3 | shard = 1\n  | ^^^^^", "= help: "] {
        assert!(err.contains(part), "{part} in\n{err}");
    }
    let last = err.lines().last().expect("a line");
    assert!(last.starts_with("3 problems in /"), "{last}");
    assert!(!err.contains('\u{1b}'), "no colours where it is no terminal:\n{err}");
}

#[test]
fn a_single_problem_is_counted_as_one() {
    let (code, _, err) = check_text("[server]\nshards = 0\n[[route]]\npath = \"/\"\nrespond = {}\n");
    assert_eq!(code, Some(1));
    assert!(err.lines().last().expect("a line").starts_with("1 problem in /"), "{err}");
}

#[test]
fn warnings_are_shown_and_fail_nothing() {
    let text = "[upstream.idle]\ntargets = \"http://a\"\n[[route]]\npath = \"/\"\nrespond = {}\n";
    let (code, out, err) = check_text(text);
    assert_eq!(code, Some(0));
    assert!(out.contains("idle"), "the summary is there:\n{out}");
    assert!(err.starts_with("warning: upstream `idle` is never used"), "{err}");
    assert!(err.lines().last().expect("a line").starts_with("1 warning in /"), "{err}");
}

#[test]
fn problems_and_warnings_are_counted_apart() {
    let text = "[upstream.idle]\ntargets = \"http://a\"\n[[route]]\npath = \"/\"\nrespond = { status = 9 }\n";
    let (code, _, err) = check_text(text);
    assert_eq!(code, Some(1));
    assert!(err.lines().last().expect("a line").starts_with("1 problem, 1 warning in /"), "{err}");
}

#[test]
fn for_programs_problems_and_warnings_are_lists_in_json() {
    let idle = "[upstream.idle]\ntargets = \"http://a\"\n[[route]]\npath = \"/\"\n";
    let (code, report) = check_json(&format!("{idle}respond = {{}}\n"));
    assert_eq!((code, &report["fine"], &report["problems"]), (Some(0), &true.into(), &serde_json::json!([])));
    let warning = &report["warnings"][0];
    assert_eq!((&warning["line"], &warning["column"]), (&1.into(), &11.into()), "{report}");
    assert_eq!(warning["message"], "upstream `idle` is never used");
    let (code, report) = check_json(&format!("{idle}respond = {{ status = 9 }}\n"));
    assert_eq!((code, &report["fine"]), (Some(1), &false.into()));
    assert_eq!((&report["problems"][0]["line"], &report["warnings"][0]["line"]), (&5.into(), &1.into()));
    assert!(report["problems"][0]["file"] == report["file"] && report["problems"][0]["hint"].is_string());
}

#[test]
fn a_missing_file_exits_1_with_its_name_the_cause_and_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (code, out, err) = parts(check(&dir.path().join("missing.toml")));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    for part in ["missing.toml", "No such file", "--config FILE"] {
        assert!(err.contains(part), "{part} in\n{err}");
    }
}

#[test]
fn a_syntax_error_is_shown_with_its_place() {
    let (code, _, err) = check_text("[server\nlisten = \"127.0.0.1:0\"\n");
    assert_eq!(code, Some(1));
    assert!(err.contains(":1:8") && err.contains("1 | [server"), "{err}");
}

#[test]
fn check_binds_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    let text = format!("server.listen = \"{address}\"\n[[route]]\npath = \"/\"\nrespond = {{}}\n");
    let (code, out, err) = check_text(&text);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
}

#[test]
fn the_starter_and_the_demo_pass_without_a_warning() {
    for file in ["config/gateway.toml", "config/demo.toml"] {
        let (code, _, err) = parts(check(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file)));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{file}");
    }
}

#[test]
fn secrets_are_read_where_they_stand_and_never_printed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let key = dir.path().join("key");
    std::fs::write(&key, "hush-hush\n").expect("it can be written");
    let text = |file: &Path| {
        let consumer = format!("[[consumer]]\nname = \"alice\"\napi_keys = [\"file:{}\"]\n", file.display());
        let route = "[[route]]\nname = \"a\"\npath = \"/a\"\nrespond = {}\nauth = [\"key\"]\n";
        format!("store.url = \"redis://me:hush-hush@127.0.0.1\"\n{consumer}{route}")
    };
    let (code, out, err) = check_text(&text(&key));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("1, with 1 API keys") && out.contains("/a -> respond 200; auth key"), "{out}");
    assert!(!out.contains("hush"), "{out}");
    let (code, _, err) = check_text(&text(&dir.path().join("none")));
    assert_eq!(code, Some(1));
    assert!(err.contains(":4:13") && err.contains("cannot read the file") && !err.contains("hush"), "{err}");
}
