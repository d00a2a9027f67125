//! What gateways share through a real Redis, as their users see it.

mod counters;
mod keys;
mod status;

/// One route that needs no origin.
const HELLO: &str = "[[route]]\nname = \"hello\"\npath = \"/hello\"\nrespond = { body = \"hello\\n\" }\n";
