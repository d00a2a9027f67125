//! The time of a call, and hooks that take too much of it.

use super::*;

#[test]
fn time_is_measured_while_a_script_runs() {
    let mut files = scripts(&[("s.rhai", "fn on_request(req) { let n = 0; while n < 1500 { n += 1; } }")]);
    files.max_time = Duration::from_millis(5);
    let mut fixture = Fixture::with(&files, &["s.rhai"]);
    fixture.run();
    fixture.host.step.set(Duration::from_millis(1));
    assert!(fixture.fault().contains("took longer than 5 ms"));
    fixture.host.step.set(Duration::ZERO);
    fixture.run();
}

#[test]
fn a_hook_that_uses_up_its_time_again_and_again_is_paused() {
    let text = "fn on_request(req) { let n = 0; while n < 1500 { n += 1; } }
                fn on_request_body(req) { req.ctx.got = 1; }";
    let mut files = scripts(&[("s.rhai", text)]);
    files.max_time = Duration::from_millis(5);
    let mut fixture = Fixture::with(&files, &["s.rhai"]);
    fixture.host.step.set(Duration::from_millis(1));
    for _ in 0..3 {
        assert!(fixture.fault().contains("took longer than 5 ms"));
    }
    let readings = fixture.host.readings.get();
    for _ in 0..3 {
        assert!(fixture.fault().starts_with("s.rhai:1:4: the hook is paused for a second"));
    }
    assert_eq!(fixture.host.readings.get(), readings + 3, "it was not run");
    assert_eq!(fixture.faults.borrow().len(), 4, "the beginning of the pause alone is reported");
    assert!(fixture.request_hook(Hook::RequestBody).is_ok(), "another hook goes on");
    fixture.host.passed.set(Duration::from_secs(1));
    assert!(fixture.fault().contains("took longer than 5 ms"), "a trial");
    assert!(fixture.fault().contains("paused"));
    fixture.host.passed.set(Duration::from_secs(2));
    fixture.host.step.set(Duration::ZERO);
    fixture.host.passed.set(Duration::from_secs(60));
    fixture.run();
    fixture.run();
}

#[test]
fn hooks_that_take_long_are_paused_together() {
    let text = "fn on_request(req) { let n = 0; while n < 130 { n += 1; } }
                fn on_request_body(req) {}
                fn on_log(req, res) { log(\"logged\"); }";
    let mut files = scripts(&[("s.rhai", text)]);
    files.max_time = Duration::from_millis(100);
    files.on_error = OnError::Ignore;
    let mut fixture = Fixture::with(&files, &["s.rhai"]);
    fixture.host.step.set(Duration::from_millis(2));
    let mut calls = 0;
    while fixture.faults.borrow().is_empty() {
        fixture.run();
        calls += 1;
        assert!(calls < 20);
    }
    assert!(fixture.faults.borrow()[0].contains("the route's hooks are paused"), "{:?}", fixture.faults);
    assert!(calls > 3, "{calls}");
    assert!(fixture.request_hook(Hook::RequestBody).is_ok());
    let Fixture { chain, engine, transaction, host, faults, .. } = &mut fixture;
    let on_fault = |_: &Transaction, fault: &ScriptFault| faults.borrow_mut().push(fault.to_string());
    chain.on_log(engine, transaction, &on_fault);
    assert!(host.lines.borrow().is_empty());
    assert_eq!(faults.borrow().len(), 3, "once for each hook");
    host.passed.set(Duration::from_secs(2));
    chain.on_log(engine, transaction, &on_fault);
    assert_eq!(host.lines.borrow().len(), 1);
}

#[test]
fn time_is_measured_where_operations_are_few_and_long() {
    let body = format!("[{}1]", "1,".repeat(20_000));
    for text in [
        "fn on_request(req) { for i in 0..12 { parse_json(req.body); } }",
        "fn on_request(req) { for i in 0..12 { req.json; } }",
        "fn on_request(req) { for i in 0..12 { to_json(req.body); } }",
        "fn on_request(req) { for i in 0..12 { req.body.to_upper(); } }",
    ] {
        let mut files = scripts(&[("s.rhai", text)]);
        files.max_time = Duration::from_millis(8);
        let mut fixture = Fixture::with(&files, &["s.rhai"]);
        fixture.transaction.edits.request_body = Content::buffered(body.clone().into_bytes());
        fixture.host.step.set(Duration::from_millis(1));
        assert!(fixture.fault().contains("took longer"), "{text}");
    }
}

#[test]
fn a_regular_expression_ends_with_the_time_of_its_call() {
    let braces = "{".repeat(60 * 1024);
    for call in [
        r#"regex_replace(req.body, "\\{\\{.*?\\}\\}|\\{", "-")"#,
        r#"regex_match(req.body, "(\\{|b)*\\{(\\{|b){300}c")"#,
        // No limit can be caught.
        r#"try { regex_match(req.body, "(\\{|b)*\\{(\\{|b){300}c") } catch {} 1"#,
    ] {
        let mut files = scripts(&[("s.rhai", &format!("fn on_request(req) {{ {call} }}"))]);
        files.max_time = Duration::from_millis(50);
        let mut fixture = Fixture::with(&files, &["s.rhai"]);
        fixture.transaction.edits.request_body = Content::buffered(braces.clone().into_bytes());
        fixture.host.step.set(Duration::from_millis(1));
        assert!(fixture.fault().contains("took longer than 50 ms (max_time)"), "{call}");
        assert!(fixture.host.readings.get() < 200, "{call}: {} readings", fixture.host.readings.get());
    }
}
