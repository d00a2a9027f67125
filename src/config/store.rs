//! `[store]`: the store that gateways share.
//!
//! Only the form of the URL is checked: whether the store answers is not a property of the file, and it may come
//! later.

use std::time::Duration;

use super::Outside;
use super::problems::{Problems, quoted};
use super::secret::secret;
use super::section::Section;
use crate::plan::{Secret, StoreSettings};
use crate::store::Address;

const SECTION: &str = "store";
/// In bytes; it is part of every key.
const MAX_PREFIX: usize = 64;

/// `None`: no section, so the embedded store; or one with an error, which was reported.
pub(super) fn store(
    root: &Section<'_>,
    outside: &dyn Outside,
    problems: &mut Problems,
) -> Option<StoreSettings> {
    let section = root.section(SECTION);
    let timeout = section.duration("timeout", problems).unwrap_or(Duration::from_millis(100));
    let key_prefix = key_prefix(&section, problems);
    if section.is_present() && section.lacks(SECTION, "url") {
        problems.error(section.span.clone(), "a store without `url`").with_hint(
            "write url = \"redis://127.0.0.1:6379\"; without `[store]` this process keeps all itself",
        );
    }
    let url = secret(section.text("url")?, outside, problems)?;
    let store = StoreSettings { url, timeout, key_prefix: key_prefix.into() };
    if let Err(why) = check_url(&store.url, outside) {
        problems.error(section.span_of("url"), why).with_hint(
            "write \"redis://HOST:PORT\", \"rediss://HOST:PORT\" (TLS), \"redis+unix:///PATH\" or \
             \"redis-cluster://HOST:PORT,HOST:PORT\"",
        );
    }
    Some(store)
}

/// Whether the URL is one of a store, and its certificates can be read.
///
/// # Errors
/// What is wrong, in words that show nothing of the URL.
fn check_url(url: &Secret, outside: &dyn Outside) -> Result<(), String> {
    let address = Address::parse(url.text().ok_or("it is not UTF-8")?)?;
    let Some(path) = address.ca_file() else { return Ok(()) };
    outside.read(path).map(drop).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// `ringway` by default. Gateways with the same prefix share their buckets.
fn key_prefix<'a>(section: &Section<'a>, problems: &mut Problems) -> &'a str {
    let Some((text, span)) = section.text("key_prefix") else { return "ringway" };
    // Redis Cluster places a key by what stands in its first braces.
    let fits = text.bytes().all(|b| b.is_ascii_graphic() && !b"{}".contains(&b));
    if !fits || !(1..=MAX_PREFIX).contains(&text.len()) {
        problems
            .error(span, format!("`key_prefix` cannot be {}", quoted(text)))
            .with_hint(format!("1 to {MAX_PREFIX} letters, digits or signs, without braces and blanks"));
    }
    text
}
