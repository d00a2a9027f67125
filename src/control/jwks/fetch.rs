//! One GET of a JWK set. It blocks, so it runs on a thread of its own.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::sets::{KeySetFetch, KeySetFetches, KeySetSource};
use crate::auth::keys::KeySet;

/// Of a whole fetch, from the look-up of the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a set; 64 keys take a tenth of that.
const MAX_BYTES: u64 = 1024 * 1024;
/// Redirects that are followed from an `https://` URL. From `http://`: none.
const MAX_REDIRECTS: u32 = 3;

/// Fetches a set on a thread, which calls `report` with the result.
///
/// # Errors
/// The thread cannot be created; then `report` is not called.
pub fn start(
    source: KeySetSource,
    report: impl FnOnce(KeySetSource, KeySetFetch) + Send + 'static,
) -> std::io::Result<()> {
    let body = move || {
        let fetch = || get(&source.url).and_then(|text| KeySet::from_jwks(&text, &source.algorithms));
        // The report is made even after a panic: without it this set would never be fetched again.
        let fetched = catch_unwind(fetch);
        let fetched =
            fetched.unwrap_or_else(|_| Err("fetching it has met a defect of the gateway's own".into()));
        report(source, fetched);
    };
    thread::Builder::new().name("jwks".into()).spawn(body).map(drop)
}

/// Fetches all sets at once and returns the results after `timeout` at most: a set that has not arrived by then is an
/// error.
pub fn fetch_all(sources: impl IntoIterator<Item = KeySetSource>, timeout: Duration) -> KeySetFetches {
    let deadline = Instant::now() + timeout;
    let (sender, results) = crossbeam_channel::unbounded();
    let mut fetches = KeySetFetches::new();
    for source in sources {
        let sender = sender.clone();
        let started = start(source.clone(), move |source, fetch| _ = sender.send((source, fetch)));
        let until_reported = match started {
            Ok(()) => format!("no answer within {} s", timeout.as_secs()),
            Err(error) => format!("no thread for it: {error}"),
        };
        fetches.insert(source, Err(until_reported));
    }
    drop(sender);
    while let Ok((source, fetch)) = results.recv_deadline(deadline) {
        fetches.insert(source, fetch);
    }
    fetches
}

/// The body of the set's response, or why there is none.
fn get(url: &str) -> Result<String, String> {
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .accept("application/jwk-set+json, application/json")
        .user_agent(concat!("ringway/", env!("CARGO_PKG_VERSION")));
    let config = if url.starts_with("https://") {
        config.https_only(true).max_redirects(MAX_REDIRECTS).tls_config(tls()?)
    } else {
        // Plain HTTP is for this machine alone: neither a proxy nor a redirect may lead elsewhere.
        config.max_redirects(0).proxy(None)
    };
    let mut response = config.build().new_agent().get(url).call().map_err(|error| error.to_string())?;
    if response.status() != 200 {
        return Err(format!("http status: {}", response.status().as_u16()));
    }
    let body = response.body_mut().with_config().limit(MAX_BYTES);
    body.read_to_string().map_err(|error| error.to_string())
}

/// TLS with the system's certificate authorities, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`. They are read anew for
/// each fetch, so that a renewed bundle counts.
fn tls() -> Result<TlsConfig, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(match found.errors.first() {
            Some(error) => format!("no certificates to trust: {error}"),
            None => "no certificates to trust: install ca-certificates, or set SSL_CERT_FILE".to_owned(),
        });
    }
    let roots: Vec<_> = found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build())
}
