//! `[store]`, as the store link takes it.

use std::thread;
use std::time::{Duration, Instant};

use crate::control::failure::StartFailure;
use crate::plan::StoreSettings;
use crate::store::{Address, Link, RemoteConfig, StoreConfig, StoreState};

/// Where the shared view lives: in this process where there is no `[store]`.
///
/// # Errors
/// Its URL is none, which the check of the configuration has found before.
pub fn config(store: Option<&StoreSettings>) -> Result<StoreConfig, StartFailure> {
    let Some(store) = store else { return Ok(StoreConfig::Embedded) };
    let refused = |why| StartFailure::input(format!("[store] url: {why}"), "`ringway check` shows the line");
    remote(store).map(StoreConfig::Remote).map_err(refused)
}

/// # Errors
/// What is wrong with the URL, in words that show nothing of it.
pub fn remote(store: &StoreSettings) -> Result<RemoteConfig, String> {
    let url = store.url.text().ok_or("it is not UTF-8")?;
    let address = Address::parse(url)?;
    Ok(RemoteConfig { address, timeout: store.timeout, key_prefix: store.key_prefix.to_string() })
}

/// Waits until the store answers, for one of its timeouts at most: the first requests should not be counted without it.
pub fn await_first_answer(link: &Link, store: &StoreSettings) {
    const LOOK_AGAIN: Duration = Duration::from_millis(1);
    let until = Instant::now() + store.timeout;
    while matches!(link.snapshot().state, StoreState::Down { .. }) && Instant::now() < until {
        thread::sleep(LOOK_AGAIN);
    }
}
