//! Keys of tokens that are fetched from a URL: at the start, again, and never replaced by an error.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Gateway, Origin};

/// Serves one JWK set, which a test may change.
struct Issuer {
    origin: Origin,
    answer: Arc<Mutex<String>>,
}

impl Issuer {
    fn start(answer: String) -> Issuer {
        let answer = Arc::new(Mutex::new(answer));
        let shown = answer.clone();
        let origin = Origin::new(move |peer| {
            while peer.request().is_some() {
                peer.send(shown.lock().expect("nobody panics with it").as_bytes());
            }
        });
        Issuer { origin, answer }
    }

    fn answer(&self, answer: String) {
        *self.answer.lock().expect("nobody panics with it") = answer;
    }

    fn url(&self) -> String {
        format!("{}/jwks.json", self.origin.url())
    }
}

/// The set of one key, which is its own name.
fn set(kid: &str) -> String {
    let key = BASE64_URL_SAFE_NO_PAD.encode(secret(kid));
    json!({ "keys": [{ "kty": "oct", "kid": kid, "k": key }] }).to_string()
}

fn secret(kid: &str) -> String {
    format!("{kid:-<32}")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn broken() -> String {
    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_owned()
}

fn token(kid: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let header = Header { kid: Some(kid.into()), ..Header::default() };
    let claims = json!({ "sub": "alice", "exp": now.as_secs() + 600 });
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret(kid).as_bytes()))
        .expect("a token")
}

fn config(url: &str) -> String {
    format!(
        "[jwt.main]\nalgorithms = [\"HS256\"]\njwks = {url:?}\n\
         [[route]]\nname = \"me\"\npath = \"/me\"\nrespond = {{ body = \"me\\n\" }}\nauth = [\"jwt:main\"]\n"
    )
}

fn status_of(gateway: &Gateway, kid: &str) -> u16 {
    let token = token(kid);
    gateway.exchange(format!("GET /me HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n\r\n")).status()
}

/// Asks with a token of this key until it is accepted.
fn wait_until_accepted(gateway: &Gateway, kid: &str, within: Duration) {
    let until = Instant::now() + within;
    while status_of(gateway, kid) != 200 {
        assert!(Instant::now() < until, "{kid} is not accepted");
    }
}

fn jwt(gateway: &Gateway) -> Value {
    gateway.admin("GET", "/status").json()["jwt"][0].clone()
}

#[test]
fn keys_are_there_when_the_gateway_accepts_its_first_connection() {
    let issuer = Issuer::start(ok(&set("a")));
    let gateway = Gateway::builder().shards(2).start(&config(&issuer.url()));
    assert_eq!(status_of(&gateway, "a"), 200);
    assert_eq!(status_of(&gateway, "b"), 401);
    let requests = issuer.origin.requests();
    assert_eq!(requests.len(), 1, "a set is not fetched again at once");
    assert_eq!(requests[0].target(), "/jwks.json");
    let jwt = jwt(&gateway);
    assert_eq!((&jwt["name"], &jwt["keys"], &jwt["fetched"]), (&"main".into(), &1.into(), &true.into()));
    assert_eq!(jwt["last_error"], Value::Null);
    assert_eq!(gateway.metric("ringway_jwks_keys", "jwt=\"main\""), 1.0);
}

#[test]
fn without_keys_the_gateway_starts_refuses_tokens_and_tries_again() {
    let issuer = Issuer::start(broken());
    let gateway = Gateway::start(&config(&issuer.url()));
    assert_eq!(status_of(&gateway, "a"), 401);
    let ready = gateway.admin("GET", "/readyz");
    assert_eq!((ready.status(), ready.text()), (200, "ready\njwt main has no keys yet\n"));
    assert!(gateway.wait_for_message("no keys from").contains("500"));
    assert!(jwt(&gateway)["last_error"].as_str().is_some_and(|error| error.contains("500")));
    assert!(gateway.metric("ringway_jwks_failures", "jwt=\"main\"") >= 1.0);
    issuer.answer(ok(&set("a")));
    wait_until_accepted(&gateway, "a", DEADLINE);
    assert_eq!(jwt(&gateway)["last_error"], Value::Null);
    assert_eq!(gateway.admin("GET", "/readyz").text(), "ready\n");
}

#[test]
fn an_issuer_that_keeps_silent_does_not_keep_the_gateway_from_starting() {
    let origin = Origin::new(|peer| {
        peer.request();
        // Until the fetch is given up.
        peer.request();
    });
    let gateway = Gateway::start(&config(&format!("{}/jwks.json", origin.url())));
    assert_eq!(status_of(&gateway, "a"), 401);
    assert!(jwt(&gateway)["last_error"].is_string());
}

#[test]
fn what_is_no_set_of_usable_keys_is_refused() {
    let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(1024 * 1024));
    let elsewhere = Issuer::start(ok(&set("a")));
    let moved = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", elsewhere.url());
    for answer in [ok(""), ok("{\"keys\":[]}"), ok(&large), moved, "nonsense\r\n\r\n".to_owned()] {
        let issuer = Issuer::start(answer.clone());
        let gateway = Gateway::start(&config(&issuer.url()));
        let jwt = jwt(&gateway);
        assert!(jwt["keys"] == 0 && jwt["last_error"].is_string(), "{answer:.80}: {jwt}");
    }
    assert_eq!(elsewhere.origin.connections(), 0, "http:// leads nowhere else");
}

#[test]
fn weak_keys_are_not_used_and_it_is_said_which_and_why() {
    let weak = json!({ "kty": "oct", "kid": "weak", "k": BASE64_URL_SAFE_NO_PAD.encode("guessable") });
    let mut both: Value = serde_json::from_str(&set("a")).expect("JSON");
    both["keys"].as_array_mut().expect("a list").push(weak);
    let issuer = Issuer::start(ok(&both.to_string()));
    let gateway = Gateway::start(&config(&issuer.url()));
    let why = "key 2 (\"weak\"): the secret has 9 bytes; HS256 needs at least 32";
    assert!(gateway.wait_for_message("that are not used").contains(why));
    assert_eq!((&jwt(&gateway)["keys"], &jwt(&gateway)["refused"]), (&1.into(), &json!([why])));
    assert_eq!((status_of(&gateway, "a"), status_of(&gateway, "weak")), (200, 401));
}

#[test]
fn a_reload_notices_a_key_that_was_replaced_under_its_name() {
    let issuer = Issuer::start(ok(&set("a")));
    let gateway = Gateway::start(&config(&issuer.url()));
    assert_eq!(status_of(&gateway, "a"), 200);
    issuer.answer(ok(&set("b").replace("\"kid\":\"b\"", "\"kid\":\"a\"")));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    let until = Instant::now() + DEADLINE;
    while status_of(&gateway, "a") != 401 {
        assert!(Instant::now() < until, "the key of before is still accepted");
    }
    assert_eq!(jwt(&gateway)["keys"], 1);
}

#[test]
fn a_reload_keeps_the_keys_of_urls_it_knows_and_fetches_new_ones() {
    let (one, other) = (Issuer::start(ok(&set("a"))), Issuer::start(ok(&set("b"))));
    let gateway = Gateway::start(&config(&one.url()));
    one.answer(broken());
    let other_leeway = config(&one.url()).replace("[jwt.main]", "[jwt.main]\nleeway = \"5s\"");
    gateway.write_config(&other_leeway);
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    assert_eq!(status_of(&gateway, "a"), 200);
    gateway.wait_for_metric("ringway_jwks_failures", "jwt=\"main\"", |failures| failures >= 1.0);
    assert_eq!(status_of(&gateway, "a"), 200, "those last fetched go on");
    gateway.write_config(&config(&other.url()));
    assert_eq!(gateway.admin("POST", "/reload").status(), 200);
    assert_eq!((status_of(&gateway, "a"), status_of(&gateway, "b")), (401, 200));
}

#[test]
fn a_token_of_an_unknown_key_has_the_set_fetched_and_an_error_never_replaces_it() {
    // 5 seconds lie between two fetches for unknown keys.
    const BETWEEN: Duration = Duration::from_secs(20);
    let issuer = Issuer::start(ok(&set("a")));
    let gateway = Gateway::builder().shards(2).start(&config(&issuer.url()));
    assert_eq!(status_of(&gateway, "b"), 401);
    issuer.answer(ok(&set("b")));
    wait_until_accepted(&gateway, "b", BETWEEN);
    assert_eq!(status_of(&gateway, "a"), 401, "the old set is gone");
    issuer.answer(broken());
    let until = Instant::now() + BETWEEN;
    while jwt(&gateway)["last_error"].is_null() {
        assert_eq!(status_of(&gateway, "c"), 401);
        assert!(Instant::now() < until, "it is not fetched again");
    }
    assert_eq!(status_of(&gateway, "b"), 200);
    assert_eq!(jwt(&gateway)["keys"], 1);
}

/// A server with a certificate for `localhost` that answers each connection once; its port, and the authority's
/// certificate.
fn tls_server(body: String) -> (u16, String) {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let names = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = names.signed_by(&key, &authority).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's own")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS #8"),
        )
        .expect("the key is the certificate's");
    let (config, listener) =
        (Arc::new(config), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(config.clone()).expect("a good configuration");
            let mut stream = rustls::StreamOwned::new(connection, stream.expect("it accepts"));
            // Whoever does not trust the certificate leaves in the handshake.
            let mut head = [0; 4096];
            if stream.read(&mut head).is_ok_and(|length| length > 0) {
                let _ = stream.write_all(ok(&body).as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    (port, authority.pem())
}

#[test]
fn over_https_the_issuer_must_be_one_that_the_system_trusts() {
    let (port, authority) = tls_server(set("a"));
    let toml = config(&format!("https://localhost:{port}/jwks.json"));
    let trusted = tempfile::tempdir().expect("a temporary directory");
    let file = trusted.path().join("ca.pem");
    std::fs::write(&file, authority).expect("a new file");
    let start = |file: &str| {
        let builder = Gateway::builder().env("SSL_CERT_FILE", file).env("NO_PROXY", "localhost");
        builder.start(&toml)
    };
    let gateway = start(file.to_str().expect("ASCII"));
    assert_eq!(jwt(&gateway)["last_error"], Value::Null);
    assert_eq!(status_of(&gateway, "a"), 200);

    let (_, another) = tls_server(String::new());
    std::fs::write(&file, another).expect("a file");
    let gateway = start(file.to_str().expect("ASCII"));
    assert!(jwt(&gateway)["last_error"].as_str().is_some_and(|error| error.contains("certificate")));
    assert_eq!(status_of(&gateway, "a"), 401);
}
