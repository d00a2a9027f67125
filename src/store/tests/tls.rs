//! TLS, with a certificate authority of our own.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::server::{RedisServer, TIMEOUT, config, free_port};
use super::shard::{TEST_TIMEOUT, TestShard};
use crate::limit::Rule;
use crate::plan::Period;
use crate::store::Link;

/// Writes `ca.pem`, `cert.pem` (for `localhost`) and `key.pem`.
fn certificates() -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    for (name, text) in
        [("ca.pem", authority.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
    {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// A server that takes TLS on the port. It must have been built with it, as packages are.
fn start(certificates: &TempDir, port: u16) -> RedisServer {
    let path = |name: &str| certificates.path().join(name).display().to_string();
    RedisServer::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path("cert.pem"),
        "--tls-key-file",
        &path("key.pem"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
        "--tls-auth-clients",
        "no",
    ])
}

fn await_error(link: &Link) -> Arc<str> {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        if let Some(error) = link.snapshot().last_error {
            return error;
        }
        assert!(Instant::now() < deadline, "no error comes");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_server_is_trusted_by_its_authority_alone() {
    let (files, port) = (certificates(), free_port());
    let _server = start(&files, port);
    let url = format!("rediss://localhost:{port}?ca={}", files.path().join("ca.pem").display());
    let (link, stop) = Link::start(config(&url, TIMEOUT)).unwrap();
    let shard = TestShard::join(&link, 1);
    shard.await_reachable(true);
    let rule = Rule::token_bucket(1, Period::Hour, 1);
    assert!(shard.strict(1, &rule).is_some_and(|verdict| verdict.allowed));
    stop.stop();

    let (link, stop) = Link::start(config(&format!("rediss://localhost:{port}"), TIMEOUT)).unwrap();
    let error = await_error(&link);
    assert!(error.contains("certificate"), "{error}");
    stop.stop();
}

#[test]
fn a_server_that_is_frozen_before_hands_are_shaken_is_given_up() {
    let (files, port) = (certificates(), free_port());
    let server = start(&files, port);
    server.freeze();
    let url = format!("rediss://localhost:{port}?ca={}", files.path().join("ca.pem").display());
    let (link, stop) = Link::start(config(&url, Duration::from_millis(50))).unwrap();
    let error = await_error(&link);
    assert!(error.contains("no answer in time"), "{error}");
    stop.stop();
}
