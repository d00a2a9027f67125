//! What scripts cost, by script and hook, and how their ends are told in the access log.

use super::{mirror, post};
use crate::support::{Gateway, proxy_with};

#[test]
fn operations_and_time_are_shown_by_script_and_hook() {
    let origin = mirror();
    let toml = proxy_with(&[&origin.url()], "", "scripts = [\"a.rhai\", \"lib/b.rhai\"]");
    let gateway = Gateway::builder()
        .shards(2)
        .file("scripts/a.rhai", "fn on_request(req) { let x = 1 + req.id.len; }\nfn on_log(req, res) { }")
        .file(
            "scripts/lib/b.rhai",
            "fn on_request_body(req) { }\nfn on_response(req, res) { let x = 0; while x < 100 { x += 1; } }",
        )
        .start(&toml);
    for _ in 0..7 {
        assert_eq!(gateway.exchange(post("", "body")).status(), 200);
    }
    gateway.wait_for_metric("ringway_script_duration_seconds_count", "hook=\"on_log\"", |count| count == 7.0);
    let calls = |name: &str, script: &str, hook: &str| {
        gateway.metric(name, &format!("script=\"{script}\",hook=\"{hook}\""))
    };
    for (script, hook) in [
        ("a.rhai", "on_request"),
        ("a.rhai", "on_log"),
        ("lib/b.rhai", "on_request_body"),
        ("lib/b.rhai", "on_response"),
    ] {
        assert_eq!(calls("ringway_script_operations_count", script, hook), 7.0, "{script} {hook}");
        assert_eq!(calls("ringway_script_duration_seconds_count", script, hook), 7.0, "{script} {hook}");
    }
    assert!(calls("ringway_script_operations_sum", "lib/b.rhai", "on_response") > 7.0 * 100.0);
    assert!(calls("ringway_script_duration_seconds_sum", "lib/b.rhai", "on_response") > 0.0);
    let page = gateway.admin("GET", "/metrics");
    assert!(!page.text().contains("hook=\"on_response_body\""), "no series of hooks that never ran");
}
