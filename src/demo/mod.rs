//! `ringway demo`: three sample origins and a gateway in front of them, with a tour of commands to try.
//!
//! It starts the gateway as any other user of the library would, by `control`'s public functions.

mod origin;
mod scripts;
mod stops;
mod token;
mod tour;
mod websocket;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::SystemTime;

use crate::control::{self, CommandFailure, ConfigSource, Control, RunOptions};

/// The file that the demo serves when it is started in the repository, so that it can be edited and reloaded.
const FILE: &str = "config/demo.toml";
/// The same file, for everywhere else.
const TEXT: &str = include_str!("../../config/demo.toml");

/// The origins' names and ports, as the configuration has them.
const ORIGINS: [(&str, u16); 3] = [("a", 3001), ("b", 3002), ("c", 3003)];

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// Mostly a port that is taken.
pub fn run() -> Result<(), CommandFailure> {
    for (name, port) in ORIGINS {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let instead = "serve a configuration of your own with `ringway run --config FILE`";
        origin::start(name, control::bind_exclusive(instead, address)?)?;
    }
    let control = Control::start(RunOptions { source: source(), shards: None })?;
    if let Some(gateway) = control.addresses().next() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let values = tour::TourValues {
            gateway,
            admin: control.admin_address(),
            token: token::sign(control.plan(), now.as_secs()),
        };
        let text = tour::text(&values, &control.source_name());
        let mut stdout = std::io::stdout().lock();
        // A closed stdout is no reason to stop.
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }
    control.serve();
    Ok(())
}

fn source() -> ConfigSource {
    if Path::new(FILE).is_file() {
        ConfigSource::File(FILE.into())
    } else {
        ConfigSource::Text { name: "the demo's own configuration", text: TEXT.into(), scripts: scripts::ALL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TargetAddress;

    #[test]
    fn the_built_in_configuration_is_good_and_its_targets_are_the_origins() {
        let loaded = ConfigSource::Text { name: "demo.toml", text: TEXT.into(), scripts: scripts::ALL }
            .load()
            .expect("a good configuration");
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let targets = loaded.plan.upstreams.iter().flat_map(|upstream| &upstream.targets);
        for target in targets {
            let TargetAddress::Ip(address) = target.address else {
                panic!("{} is not an address", target.url)
            };
            assert!(ORIGINS.iter().any(|(_, port)| *port == address.port()), "{address}");
        }
    }
}
