//! `[store]`: the store that gateways share.

use std::time::Duration;

use super::Outside;
use super::problems::{Problems, quoted};
use super::secret::secret;
use super::section::Section;
use crate::plan::StoreSettings;

const SECTION: &str = "store";
const LONGEST_PREFIX: usize = 64;

/// `None`: no section, so the embedded store; or one with an error, which was reported.
pub(super) fn store(
    root: &Section<'_>,
    outside: &dyn Outside,
    problems: &mut Problems,
) -> Option<StoreSettings> {
    let section = root.section(SECTION);
    let timeout = section.duration("timeout", problems).unwrap_or(Duration::from_millis(100));
    let key_prefix = key_prefix(&section, problems);
    if section.is_present() && !section.has("url") && !section.misspells(SECTION, "url") {
        problems.error(section.span.clone(), "a store without `url`").with_hint(
            "write url = \"redis://127.0.0.1:6379\"; without `[store]` this process keeps all itself",
        );
    }
    let url = secret(section.text("url")?, outside, problems)?;
    let store = StoreSettings { url, timeout, key_prefix: key_prefix.into() };
    if let Err(why) = outside.check_store(&store) {
        problems.error(section.span_of("url"), why).with_hint(
            "write \"redis://HOST:PORT\", \"rediss://HOST:PORT\" (TLS), \"redis+unix:///PATH\" or \
             \"redis-cluster://HOST:PORT,HOST:PORT\"",
        );
    }
    Some(store)
}

fn key_prefix<'a>(section: &Section<'a>, problems: &mut Problems) -> &'a str {
    let Some((text, span)) = section.text("key_prefix") else { return "ringway" };
    // Redis Cluster places a key by what stands in its first braces.
    let fits = text.bytes().all(|b| b.is_ascii_graphic() && !b"{}".contains(&b));
    if !fits || !(1..=LONGEST_PREFIX).contains(&text.len()) {
        problems
            .error(span, format!("`key_prefix` cannot be {}", quoted(text)))
            .with_hint(format!("1 to {LONGEST_PREFIX} letters, digits or signs, without braces and blanks"));
    }
    text
}
