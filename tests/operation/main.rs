//! The gateway in operation, as its users see it: starting, exit codes, signals, reload, admin, drain, demo.

#[path = "../common/mod.rs"]
mod common;

mod admin;
mod demo;
mod drain;
mod logs;
mod names;
mod reload;
mod start;
#[cfg(debug_assertions)]
mod supervise;

/// One route that needs no origin.
const HELLO: &str = "[[route]]\nname = \"hello\"\npath = \"/hello\"\nrespond = { body = \"hello\\n\" }\n";

/// The same route with another answer.
fn hello(text: &str) -> String {
    HELLO.replace("hello\\n", text)
}
