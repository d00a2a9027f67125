//! What tests can call beyond what every script can.

use std::rc::Rc;

use rhai::{Dynamic, Engine, EvalAltResult, Map, Position};

use super::case::TestCase;
use super::compare::{same, shown};
use super::gateway::Gateway;

type CallResult<T> = Result<T, Box<EvalAltResult>>;

pub fn register(engine: &mut Engine, gateway: &Rc<Gateway>) {
    let runner = gateway.clone();
    engine.register_fn("run", move |route: &str, request: Map| -> CallResult<Map> {
        let outcome = TestCase::of(&request).and_then(|case| runner.send(route, &case));
        outcome.map(super::outcome::TestOutcome::into_map).map_err(|why| thrown(format!("`run`: {why}")))
    });
    register_assertions(engine);
    let runner = gateway.clone();
    engine.register_fn("set_now", move |seconds: i64| set_now(&runner, Some(seconds)));
    let runner = gateway.clone();
    engine.register_fn("advance", move |seconds: i64| {
        let now = i64::try_from(runner.state.unix_s()).ok();
        set_now(&runner, now.and_then(|now| now.checked_add(seconds)))
    });
}

fn set_now(gateway: &Gateway, unix_s: Option<i64>) -> CallResult<()> {
    match unix_s.is_some_and(|unix_s| gateway.state.set_now(unix_s)) {
        true => Ok(()),
        false => Err(thrown("the clock goes from 1970 to the end of the year 9999".to_owned())),
    }
}

fn register_assertions(engine: &mut Engine) {
    engine.register_fn("assert", |holds: bool| assert(holds, ""));
    engine.register_fn("assert", assert);
    engine.register_fn("assert_eq", |got: Dynamic, want: Dynamic| assert_eq(&got, &want, ""));
    engine.register_fn("assert_eq", |got: Dynamic, want: Dynamic, text: &str| assert_eq(&got, &want, text));
    engine.register_fn("assert_error", |result: Map, part: &str| assert_error(&result, part));
}

fn assert(holds: bool, text: &str) -> CallResult<()> {
    match (holds, text) {
        (true, _) => Ok(()),
        (false, "") => Err(thrown("this does not hold".to_owned())),
        (false, text) => Err(thrown(text.to_owned())),
    }
}

fn assert_eq(got: &Dynamic, want: &Dynamic, text: &str) -> CallResult<()> {
    if same(got, want) {
        return Ok(());
    }
    let begins = if text.is_empty() { String::new() } else { format!("{text}: ") };
    Err(thrown(format!("{begins}got {}, want {}", shown(got), shown(want))))
}

fn assert_error(result: &Map, part: &str) -> CallResult<()> {
    let error = result.get("error").cloned().unwrap_or_default();
    if error.is_unit() {
        return Err(thrown(format!("no script failed, but one should with {part:?}")));
    }
    match error.to_string().contains(part) {
        true => Ok(()),
        false => Err(thrown(format!("got the error {}, want one with {part:?}", shown(&error)))),
    }
}

/// An error at the place of the call.
fn thrown(text: String) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(text.into(), Position::NONE).into()
}
