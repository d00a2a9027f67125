//! One GET of a JWK set. It blocks, so it has a thread of its own.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::sets::{KeySetFetch, KeySetFetches, KeySetSource};
use crate::auth::keys::KeySet;

/// From the look-up of the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a set; 64 keys take a tenth of it.
const MAX_BYTES: u64 = 1024 * 1024;
/// Hops from an `https://` URL to others. From `http://` there are none.
const MAX_REDIRECTS: u32 = 3;

/// Fetches a set on a thread, which tells what came of it.
///
/// # Errors
/// The system has no thread left; then nothing is told.
pub fn start(
    source: KeySetSource,
    tell: impl FnOnce(KeySetSource, KeySetFetch) + Send + 'static,
) -> std::io::Result<()> {
    let body = move || {
        let fetch = || get(&source.url).and_then(|text| KeySet::from_jwks(&text, &source.algorithms));
        // Without an answer this set would never be fetched again.
        let answer = catch_unwind(fetch);
        let answer =
            answer.unwrap_or_else(|_| Err("fetching it has met a defect of the gateway's own".into()));
        tell(source, answer);
    };
    thread::Builder::new().name("jwks".into()).spawn(body).map(drop)
}

/// Fetches all sets at once, and returns what is known after `within`: a set that is not there by then is an error.
pub fn all(sources: impl IntoIterator<Item = KeySetSource>, within: Duration) -> KeySetFetches {
    let deadline = Instant::now() + within;
    let (tell, told) = crossbeam_channel::unbounded();
    let mut answers = KeySetFetches::new();
    for source in sources {
        let tell = tell.clone();
        let started = start(source.clone(), move |source, answer| _ = tell.send((source, answer)));
        let answer = match started {
            Ok(()) => format!("no answer within {} s", within.as_secs()),
            Err(error) => format!("no thread for it: {error}"),
        };
        answers.insert(source, Err(answer));
    }
    drop(tell);
    while let Ok((source, answer)) = told.recv_deadline(deadline) {
        answers.insert(source, answer);
    }
    answers
}

fn get(url: &str) -> Result<String, String> {
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .accept("application/jwk-set+json, application/json")
        .user_agent(concat!("ringway/", env!("CARGO_PKG_VERSION")));
    let config = if url.starts_with("https://") {
        config.https_only(true).max_redirects(MAX_REDIRECTS).tls_config(tls()?)
    } else {
        // This machine's own, which neither a proxy nor a redirect leads away from.
        config.max_redirects(0).proxy(None)
    };
    let mut answer = config.build().new_agent().get(url).call().map_err(|error| error.to_string())?;
    if answer.status() != 200 {
        return Err(format!("http status: {}", answer.status().as_u16()));
    }
    let body = answer.body_mut().with_config().limit(MAX_BYTES);
    body.read_to_string().map_err(|error| error.to_string())
}

/// Trusts whom the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace that. Read anew each time, so that a
/// renewed bundle counts.
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
