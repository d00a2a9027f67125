//! Signals become events of the control loop; nothing else in the process handles them.

use std::thread;

use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::control::ControlEvent;
use crate::control::failure::StartFailure;

/// What a signal asks the process to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT: drain and exit.
    Stop,
    /// SIGHUP: reload.
    Reload,
    /// SIGUSR1: reopen the log files.
    ReopenLogs,
}

/// Starts the thread that turns signals into events. From here on they no longer end the process by themselves.
/// (SIGPIPE is ignored by Rust's own start-up code.)
///
/// # Errors
/// The handlers or the thread cannot be installed.
pub fn listen(events: Sender<ControlEvent>) -> Result<(), StartFailure> {
    let refused = |error| StartFailure::thread("signals", &error);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(refused)?;
    let forward = move || {
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
    thread::Builder::new().name("signals".into()).spawn(forward).map_err(refused)?;
    Ok(())
}
