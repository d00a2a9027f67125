//! What every end-to-end test needs: the gateway as a child process, and clients and origins that speak raw bytes.
//!
//! Nothing here uses an HTTP library or an async runtime: bytes go out as written and come back as received,
//! so nothing is repaired on the way. Every wait is for an event and has a deadline; nothing sleeps.
//!
//! ```ignore
//! let origin = Origin::echo();
//! let gateway = Gateway::proxying(&origin);
//! let answer = gateway.get("/path");
//! assert_eq!(answer.status(), 200);
//! ```

mod client;
mod delay;
mod gateway;
mod kernel;
mod lines;
mod machine;
mod message;
mod origin;
mod random;
mod redis;
mod wire;

pub use client::Client;
pub use delay::Delay;
pub use gateway::{Builder, DRIVERS, Gateway, on_both_drivers};
pub use lines::Lines;
pub use machine::{HeavyLoad, let_time_pass, raise_open_files};
pub use message::Message;
pub use origin::{ENDLESS_FRAMINGS, Origin, Peer, echo, refusing};
pub use random::Random;
pub use redis::Redis;
pub use wire::Wire;

use std::time::Duration;

/// How long anything that must happen may take: generous, since many processes may share few cores.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How long something that must *not* happen is watched for. Only ever makes a test less sharp, never wrong.
pub const QUIET: Duration = Duration::from_millis(300);

/// The bytes as text for a failure message: control bytes escaped, long ones cut.
pub fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 600;
    let cut = &bytes[..bytes.len().min(SHOWN)];
    let more = if bytes.len() > SHOWN { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    format!("\"{}\"{more}", cut.escape_ascii())
}

/// The configuration that sends every request to these targets, as an upstream named `origin`.
pub fn proxy_to(targets: &[&str]) -> String {
    proxy_with(targets, "", "")
}

/// Like [`proxy_to`], with more keys for the upstream and for the route.
pub fn proxy_with(targets: &[&str], upstream_keys: &str, route_keys: &str) -> String {
    format!(
        "[upstream.origin]\ntargets = {targets:?}\n{upstream_keys}\n\
         [[route]]\nname = \"all\"\npath = \"/*\"\nupstream = \"origin\"\n{route_keys}\n"
    )
}

/// `size` bytes that differ from place to place, so that lost or swapped ones are noticed.
pub fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| b'a' + ((i / 7 + i / 4096) % 26) as u8).collect()
}
