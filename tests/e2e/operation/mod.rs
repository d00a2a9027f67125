//! The gateway in operation, as its users see it: starting, exit codes, check, signals, reload, admin, drain, demo.

mod admin;
mod check;
mod demo;
mod descriptors;
mod drain;
mod logs;
mod long_exchanges;
mod names;
#[cfg(debug_assertions)]
mod panics;
mod reload;
mod stall;
mod start;

/// One route that needs no origin.
const HELLO: &str = "[[route]]\nname = \"hello\"\npath = \"/hello\"\nrespond = { body = \"hello\\n\" }\n";

/// The same route with another answer.
fn hello(text: &str) -> String {
    HELLO.replace("hello\\n", text)
}
