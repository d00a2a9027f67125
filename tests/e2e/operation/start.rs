//! The start: what is printed, and how a start that fails says so.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{HELLO, hello};
use crate::support::{Client, DEADLINE, DRIVERS, Gateway, Lines};

/// A process that has ended by itself.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `ringway` to its end; one that keeps running fails the test.
pub fn run_to_end(words: &[&str], dir: &Path) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(words)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary under test starts");
    let stdout = Lines::of(child.stdout.take().expect("piped"));
    let stderr = Lines::of(child.stderr.take().expect("piped"));
    let ended = stdout.wait_for_end(DEADLINE) && stderr.wait_for_end(DEADLINE);
    if !ended {
        let _ = child.kill();
    }
    let code = child.wait().expect("not waited for before").code();
    let text = |lines: Lines| lines.all().join("\n");
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert!(ended, "still running after {DEADLINE:?}.\nstdout: {stdout}\nstderr: {stderr}");
    Ended { code, stdout, stderr }
}

/// A start with this configuration that must fail.
fn fails(toml: &str) -> Ended {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("gateway.toml"), toml).expect("a new file");
    run_to_end(&["run", "--config", "gateway.toml"], dir.path())
}

fn listening_on(address: SocketAddr) -> String {
    format!("[server]\nlisten = \"{address}\"\nshards = 1\npin_cores = false\n{HELLO}")
}

/// One line of cause, one of what to do, on stderr alone.
fn assert_two_lines(ended: &Ended, cause: &str, hint: &str) {
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ended.stderr);
    assert!(lines[0].starts_with("ringway: ") && lines[0].contains(cause), "{}", lines[0]);
    assert!(lines[1].starts_with("hint: ") && lines[1].contains(hint), "{}", lines[1]);
    assert_eq!(ended.stdout, "");
}

#[test]
fn each_listener_has_a_line_with_its_real_port_the_shards_and_the_driver() {
    let two = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\nshards = 2\npin_cores = false\ndriver = \"epoll\"\n{HELLO}"
    );
    let gateway = Gateway::start(&two);
    assert_eq!(gateway.addresses.len(), 2, "{:?}", gateway.stdout.all());
    assert!(gateway.addresses.iter().all(|address| address.port() != 0));
    let lines = gateway.stdout.all();
    for (line, address) in lines.iter().zip(&gateway.addresses) {
        // What follows is there where few files may be open.
        assert!(line.starts_with(&format!("listening on http://{address} (2 shards, epoll")), "{line}");
    }
    assert_eq!(lines[2], format!("admin on http://{}", gateway.admin_address()));
    for &address in &gateway.addresses {
        let mut client = Client::connect(address);
        assert_eq!(client.exchange("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n").text(), "hello\n");
    }
}

#[test]
fn both_drivers_serve_and_status_says_which_one_it_is() {
    for driver in DRIVERS {
        let gateway = Gateway::with_driver(driver, HELLO);
        assert_eq!(gateway.get("/hello").text(), "hello\n");
        let status = gateway.admin("GET", "/status").json();
        let named = status["driver"].as_str().expect("a name");
        assert!(gateway.stdout.all()[0].ends_with(&format!("(1 shard, {named})")), "{named}");
        if driver == "epoll" {
            assert_eq!(named, "epoll");
        }
    }
}

#[test]
fn the_command_line_is_stronger_than_the_file_and_run_need_not_be_written() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let toml = format!("[server]\nlisten = \"127.0.0.1:0\"\nshards = 1\npin_cores = false\n{HELLO}");
    std::fs::create_dir(dir.path().join("config")).expect("a new directory");
    std::fs::write(dir.path().join("config/gateway.toml"), toml).expect("a new file");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["--shards", "3"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary under test starts");
    let stdout = Lines::of(child.stdout.take().expect("piped"));
    let line = stdout.wait_for(DEADLINE, |line| line.contains("(3 shards, ").then(|| line.to_owned()));
    let _ = child.kill();
    let _ = child.wait();
    assert!(line.is_some(), "{:?}", stdout.all());
}

#[test]
fn a_port_that_another_process_has_is_the_machines_refusal() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    let ended = fails(&listening_on(address));
    assert_eq!(ended.code, Some(2));
    let cause = format!("cannot listen on {address}: the address is already in use");
    assert_two_lines(&ended, &cause, &format!("ss -ltnp 'sport = :{}'", address.port()));
}

#[test]
fn a_second_gateway_cannot_share_the_port_of_the_first() {
    let first = Gateway::start(HELLO);
    let ended = fails(&listening_on(first.address()));
    assert_eq!(ended.code, Some(2));
    assert_two_lines(&ended, "already in use", "[server] listen");
    assert_eq!(first.get("/hello").text(), "hello\n");
}

#[test]
fn a_taken_admin_port_is_refused_too() {
    let first = Gateway::start(HELLO);
    let admin = first.admin_address();
    let ended = fails(&format!("[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"{admin}\"\n{HELLO}"));
    assert_eq!(ended.code, Some(2));
    assert_two_lines(&ended, &admin.to_string(), "[admin] listen");
}

#[test]
fn an_address_that_no_interface_has_is_refused() {
    // TEST-NET-1 (RFC 5737): nobody's.
    let ended = fails(&listening_on("192.0.2.1:0".parse().expect("an address")));
    assert_eq!(ended.code, Some(2));
    assert_two_lines(&ended, "no interface of this machine has that address", "[server] listen");
}

#[test]
fn a_bad_configuration_exits_1_with_all_problems_and_binds_nothing() {
    let ended = fails(&format!("[server]\nlisten = 7\nshard = 1\n{}", hello("x")));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    for part in
        ["gateway.toml:2:10", "gateway.toml:3:1", "did you mean `shards`?", "2 problems in gateway.toml"]
    {
        assert!(ended.stderr.contains(part), "{part} in\n{}", ended.stderr);
    }
}

#[test]
fn a_configuration_that_is_not_there_exits_1_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ended = run_to_end(&[], dir.path());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    for part in ["config/gateway.toml", "No such file", "--config FILE"] {
        assert!(ended.stderr.contains(part), "{part} in\n{}", ended.stderr);
    }
}

#[test]
fn wrong_words_exit_1_with_a_cause_and_a_hint() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (words, cause, hint) in [
        (&["--confg", "x"][..], "unexpected argument '--confg'", "--config"),
        (&["serve"], "serve", "ringway --help"),
        (&["--shards", "0"], "invalid value '0'", "ringway --help"),
    ] {
        let ended = run_to_end(words, dir.path());
        assert_eq!(ended.code, Some(1), "{words:?}");
        assert_two_lines(&ended, cause, hint);
    }
}

#[test]
fn help_and_version_exit_0() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let version = run_to_end(&["--version"], dir.path());
    assert_eq!((version.code, version.stdout), (Some(0), format!("ringway {}", env!("CARGO_PKG_VERSION"))));
    let help = run_to_end(&["--help"], dir.path());
    assert_eq!(help.code, Some(0));
    for word in ["run", "check", "demo", "--config", "--shards"] {
        assert!(help.stdout.contains(word), "{word} in\n{}", help.stdout);
    }
}

#[test]
fn auto_without_io_uring_says_why_and_serves_by_epoll() {
    let gateway = Gateway::builder().env("MONOIO_FORCE_LEGACY_DRIVER", "1").start(HELLO);
    gateway.wait_for_message(
        "io_uring is refused here: the environment variable MONOIO_FORCE_LEGACY_DRIVER is set",
    );
    assert!(gateway.stdout.all().iter().any(|line| line.contains("(1 shard, epoll)")));
    assert_eq!(gateway.get("/hello").status(), 200);
}
