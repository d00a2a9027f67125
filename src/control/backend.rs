//! The store as a configuration names it.

use std::thread;
use std::time::{Duration, Instant};

use crate::config::plan;
use crate::store::{Address, Config, Link, RemoteConfig, State};

/// `None`: the embedded one.
///
/// # Errors
/// What is wrong with its URL, in words that show nothing of it.
pub fn config(store: Option<&plan::Store>) -> Result<Config, String> {
    let Some(store) = store else { return Ok(Config::Embedded) };
    let url = store.url.text().ok_or("a store's URL is UTF-8")?;
    let address = Address::parse(url)?;
    let key_prefix = (*store.key_prefix).to_owned();
    Ok(Config::Remote(RemoteConfig { address, timeout: store.timeout, key_prefix }))
}

/// Waits until the store answers, for one of its timeouts at most: the first requests should not be counted without it.
pub fn await_first_answer(link: &Link, store: &plan::Store) {
    const LOOK_AGAIN: Duration = Duration::from_millis(1);
    let until = Instant::now() + store.timeout;
    while matches!(link.snapshot().state, State::Down { .. }) && Instant::now() < until {
        thread::sleep(LOOK_AGAIN);
    }
}
