//! The access log over rotation, reload and exit.

use super::HELLO;
use crate::support::{DEADLINE, Gateway};

fn logging_to(file: &str) -> String {
    format!("[log]\ntarget = \"{file}\"\n{HELLO}")
}

/// The lines of a file in the gateway's directory, waited for until there are so many.
fn wait_for_lines(gateway: &Gateway, file: &str, count: usize) -> Vec<serde_json::Value> {
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        let text = std::fs::read_to_string(gateway.dir().join(file)).unwrap_or_default();
        let lines: Vec<_> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if lines.len() >= count {
            return lines;
        }
        assert!(std::time::Instant::now() < until, "{file} has {} lines, not {count}", lines.len());
        std::thread::yield_now();
    }
}

#[test]
fn every_finished_request_has_its_line_before_the_process_exits() {
    let mut gateway = Gateway::builder().shards(2).start(&logging_to("access.log"));
    for _ in 0..50 {
        assert_eq!(gateway.get("/hello").status(), 200);
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_exit(DEADLINE).code(), Some(0));
    let lines = wait_for_lines(&gateway, "access.log", 50);
    assert_eq!(lines.len(), 50);
    assert!(lines.iter().all(|line| line["route"] == "hello" && line["generation"] == 1));
}

#[test]
fn usr1_opens_the_log_anew_after_it_was_renamed() {
    let gateway = Gateway::start(&logging_to("access.log"));
    gateway.get("/hello");
    wait_for_lines(&gateway, "access.log", 1);
    let path = |name: &str| gateway.dir().join(name);
    std::fs::rename(path("access.log"), path("access.log.1")).expect("the file is there");
    gateway.get("/hello");
    wait_for_lines(&gateway, "access.log.1", 2);
    gateway.signal("USR1");
    gateway.wait_for_message("opened anew");
    gateway.get("/hello");
    wait_for_lines(&gateway, "access.log", 1);
    assert_eq!(wait_for_lines(&gateway, "access.log.1", 2).len(), 2);
}

#[test]
fn a_reload_can_send_the_log_elsewhere_and_its_lines_carry_the_generation() {
    let gateway = Gateway::start(&logging_to("one.log"));
    gateway.get("/hello");
    wait_for_lines(&gateway, "one.log", 1);
    gateway.write_config(&logging_to("two.log"));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    gateway.get("/hello");
    assert_eq!(wait_for_lines(&gateway, "two.log", 1)[0]["generation"], 2);
    assert_eq!(wait_for_lines(&gateway, "one.log", 1).len(), 1);
}

#[test]
fn a_reload_with_a_log_that_cannot_be_opened_changes_nothing() {
    let gateway = Gateway::start(&logging_to("one.log"));
    // `check` sees no problem; the machine does.
    std::fs::create_dir(gateway.dir().join("two.log")).expect("a new directory");
    gateway.write_config(&logging_to("two.log"));
    let refused = gateway.admin("POST", "/reload");
    assert!(matches!(refused.status(), 409 | 422), "{}", refused.text());
    assert!(refused.text().contains("two.log"), "{}", refused.text());
    gateway.get("/hello");
    assert_eq!(wait_for_lines(&gateway, "one.log", 1)[0]["generation"], 1);
}
