//! `ringway demo`, whose ports are fixed.

use std::process::{Command, Stdio};

use super::start::run_to_end;
use crate::support::{Client, DEADLINE, Lines};

#[test]
fn the_demo_serves_anywhere_prints_its_tour_and_a_second_one_says_which_port_is_taken() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .arg("demo")
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary under test starts");
    let stdout = Lines::of(child.stdout.take().expect("piped"));
    let up = stdout.wait_for(DEADLINE, |line| line.contains("Ctrl-C ends it").then_some(()));
    // Where somebody else has one of the ports there is no demo; then only the refusal can be seen.
    if up.is_some() {
        let printed = stdout.all();
        assert!(
            printed.iter().any(|line| line.trim() == "curl -s -i http://127.0.0.1:8080/hello"),
            "{printed:#?}"
        );
        let mut client = Client::connect("127.0.0.1:8080".parse().expect("an address"));
        let hello = client.exchange("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!((hello.status(), hello.text()), (200, "hello\n"));
        let echo = client.exchange("GET /users/42/orders/7 HTTP/1.1\r\nHost: t\r\n\r\n").json();
        assert_eq!((&echo["origin"], &echo["path"]), (&"a".into(), &"/echo/orders/7/of/42".into()));
    }
    let second = run_to_end(&["demo"], dir.path());
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(second.code, Some(2));
    assert!(
        second.stderr.contains("already in use") && second.stderr.contains("hint: "),
        "{}",
        second.stderr
    );
}
