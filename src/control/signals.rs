//! Signals become messages to the control loop; nothing else in the process handles one.

use std::thread;

use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::control::ControlEvent;
use crate::control::failure::StartFailure;

/// What the process is asked to do by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT: drain and exit.
    Stop,
    /// SIGHUP: reload.
    Reload,
    /// SIGUSR1: reopen the log files.
    ReopenLogs,
}

/// From here on signals no longer end the process by themselves. (SIGPIPE is ignored by Rust's own start-up.)
pub fn listen(events: Sender<ControlEvent>) -> Result<(), StartFailure> {
    let refused = |error| StartFailure::thread("signals", &error);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(refused)?;
    let relay = move || {
        for signal in signals.forever() {
            let signal = match signal {
                SIGHUP => Signal::Reload,
                SIGUSR1 => Signal::ReopenLogs,
                _ => Signal::Stop,
            };
            if events.send(ControlEvent::Signal(signal)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(relay).map_err(refused)?;
    Ok(())
}
