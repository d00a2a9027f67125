//! Which admin requests are allowed, and what each one asks for. A pure function of the head: no socket, no state.
//!
//! Where no token is set the listener is protected by its address alone, so a browser on the same machine must not become
//! a way around that. Two rules keep web pages out:
//!
//! - `Host` must be an IP address, `localhost` (or a name below it), a name without a dot, as containers have, or one of
//!   `[admin] hosts`. A page whose own domain resolves to this address (DNS rebinding) sends that domain, and is refused.
//! - A request that changes something and carries an `Origin` must come from this listener's own origin.
//!
//! With a token, all but the two probes need it (RFC 6750).

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::constant_time;

use crate::base::hash;
use crate::control::admin::response::AdminResponse;
use crate::plan::AdminSettings;

/// A request that the control thread answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// `/readyz`: do all shards serve?
    Ready,
    /// `/metrics`: all numbers for Prometheus.
    Metrics,
    /// `/status`: what is served, for people and programs.
    Status,
    /// `POST /reload`.
    Reload,
}

/// What is done with a request.
#[derive(Debug, PartialEq)]
pub enum AdminDecision {
    /// The response is ready.
    Respond(AdminResponse),
    /// The control thread responds.
    Forward(AdminRequest),
}

/// The parts of a request head that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// The value of `Host`; `None` where it is missing or there is more than one.
    pub host: Option<&'a [u8]>,
    /// Whether an absent `Host` is the client's fault (RFC 9112, 3.2: from HTTP/1.1 on).
    pub needs_host: bool,
    pub origin: Option<&'a [u8]>,
    /// The value of `Authorization`; `None` where it is missing or there is more than one.
    pub authorization: Option<&'a [u8]>,
}

/// What `[admin]` says of requests.
#[derive(Debug, Default)]
pub struct AdminRules {
    /// More names that `Host` may have, in lower case.
    hosts: Vec<Arc<str>>,
    /// The SHA-256 of the token, by which tokens of any length are compared in the same time.
    token: Option<[u8; hash::SHA256_BYTES]>,
}

impl AdminRules {
    pub fn of(settings: Option<&AdminSettings>) -> AdminRules {
        let Some(settings) = settings else { return AdminRules::default() };
        let token = settings.token.as_ref().map(|token| hash::sha256(&[&token.0]));
        AdminRules { hosts: settings.hosts.clone(), token }
    }

    /// Whether a request may see or do more than the probes: by its token, if one is set.
    fn admit(&self, authorization: Option<&[u8]>) -> bool {
        let Some(wanted) = &self.token else { return true };
        let shown = authorization.and_then(bearer).map(|token| hash::sha256(&[token]));
        shown.is_some_and(|shown| constant_time::verify_slices_are_equal(wanted, &shown).is_ok())
    }
}

/// The token of an `Authorization` field of the scheme Bearer.
fn bearer(field: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = field.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii())
}

/// Decides by path, then method, after the rules above.
pub fn decide(head: &Head, rules: &AdminRules) -> AdminDecision {
    if let Some(refusal) = refuse(head, rules) {
        return AdminDecision::Respond(refusal);
    }
    if !matches!(head.path, "/healthz" | "/readyz") && !rules.admit(head.authorization) {
        let problem =
            AdminResponse::problem(401, "token_missing", "the token of [admin] is needed as a Bearer token");
        let field = Some(("WWW-Authenticate", "Bearer"));
        return AdminDecision::Respond(AdminResponse { field, ..problem });
    }
    let get = matches!(head.method, "GET" | "HEAD");
    match head.path {
        "/healthz" if get => AdminDecision::Respond(AdminResponse::text(200, "ok\n")),
        "/readyz" if get => AdminDecision::Forward(AdminRequest::Ready),
        "/metrics" if get => AdminDecision::Forward(AdminRequest::Metrics),
        "/status" if get => AdminDecision::Forward(AdminRequest::Status),
        "/reload" if head.method == "POST" => AdminDecision::Forward(AdminRequest::Reload),
        "/cache" if head.method == "DELETE" => AdminDecision::Respond(AdminResponse::problem(
            501,
            "not_supported",
            "not supported yet: there is no cache to clear",
        )),
        "/healthz" | "/readyz" | "/metrics" | "/status" => method_not_allowed("GET, HEAD"),
        "/reload" => method_not_allowed("POST"),
        "/cache" => method_not_allowed("DELETE"),
        _ => AdminDecision::Respond(AdminResponse::problem(
            404,
            "not_found",
            "no such path; there are /healthz, /readyz, /metrics, /status, /reload and /cache",
        )),
    }
}

fn method_not_allowed(allow: &'static str) -> AdminDecision {
    let problem = AdminResponse::problem(405, "method_not_allowed", "this path does not take that method");
    AdminDecision::Respond(AdminResponse { field: Some(("Allow", allow)), ..problem })
}

/// Why a request is refused by the rules on `Host` and `Origin`, if it is.
fn refuse(head: &Head, rules: &AdminRules) -> Option<AdminResponse> {
    match head.host {
        None if head.needs_host => {
            return Some(AdminResponse::problem(400, "bad_request", "exactly one Host is needed"));
        }
        Some(host) if !is_own_name(host, &rules.hosts) => {
            return Some(AdminResponse::problem(
                403,
                "host_denied",
                "Host must be an IP address, localhost, a name without a dot, or one of [admin] hosts",
            ));
        }
        _ => {}
    }
    let changes = !matches!(head.method, "GET" | "HEAD");
    let foreign = head.origin.is_some_and(|origin| !is_origin_of(origin, head.host.unwrap_or_default()));
    (changes && foreign).then(|| {
        AdminResponse::problem(
            403,
            "origin_denied",
            "a web page of another origin may not change anything here",
        )
    })
}

/// Whether `Host`, with or without a port, is a name that nobody can register as a domain, or one of `more`.
fn is_own_name(host: &[u8], more: &[Arc<str>]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    if let Some(rest) = host.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(ip, port)| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) && is_port(port));
    }
    let (name, port) = host.find(':').map_or((host, ""), |colon| host.split_at(colon));
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    is_port(port)
        && (name.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4())
            || name == "localhost"
            || name.ends_with(".localhost")
            || is_label(&name)
            || more.iter().any(|more| **more == *name))
}

/// `""` or `":8080"`.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

/// One label of a domain name. The underscore is not in the grammar, but in names of containers.
fn is_label(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether an `Origin` is `http://` and the `Host` it was sent to.
fn is_origin_of(origin: &[u8], host: &[u8]) -> bool {
    origin.strip_prefix(b"http://").is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'a>(method: &'a str, path: &'a str) -> Head<'a> {
        let host = Some(&b"127.0.0.1:9901"[..]);
        Head { method, path, host, needs_host: true, origin: None, authorization: None }
    }

    /// Without a token.
    fn decide(head: &Head) -> AdminDecision {
        super::decide(head, &AdminRules::default())
    }

    fn status(head: &Head) -> u16 {
        match decide(head) {
            AdminDecision::Respond(response) => response.status,
            AdminDecision::Forward(_) => 200,
        }
    }

    #[test]
    fn each_path_asks_for_its_own_thing() {
        for (method, path, request) in [
            ("GET", "/readyz", AdminRequest::Ready),
            ("HEAD", "/readyz", AdminRequest::Ready),
            ("GET", "/metrics", AdminRequest::Metrics),
            ("GET", "/status", AdminRequest::Status),
            ("POST", "/reload", AdminRequest::Reload),
        ] {
            assert_eq!(decide(&head(method, path)), AdminDecision::Forward(request), "{method} {path}");
        }
    }

    #[test]
    fn health_is_answered_without_the_control_thread() {
        assert_eq!(
            decide(&head("GET", "/healthz")),
            AdminDecision::Respond(AdminResponse::text(200, "ok\n"))
        );
    }

    #[test]
    fn another_method_is_refused_with_those_that_fit() {
        for (method, path, allow) in [
            ("POST", "/status", "GET, HEAD"),
            ("DELETE", "/healthz", "GET, HEAD"),
            ("GET", "/reload", "POST"),
            ("GET", "/cache", "DELETE"),
        ] {
            let AdminDecision::Respond(response) = decide(&head(method, path)) else {
                panic!("{method} {path}")
            };
            assert_eq!((response.status, response.field), (405, Some(("Allow", allow))), "{method} {path}");
        }
    }

    #[test]
    fn what_is_not_there_is_a_404_and_what_is_not_there_yet_a_501() {
        assert_eq!(status(&head("GET", "/")), 404);
        assert_eq!(status(&head("GET", "/healthz/")), 404);
        assert_eq!(status(&head("DELETE", "/cache")), 501);
    }

    #[test]
    fn a_host_that_a_foreign_domain_can_have_is_refused() {
        for host in
            ["127.0.0.1", "127.0.0.1:9901", "[::1]:9901", "[::1]", "localhost:1", "LOCALHOST", "ringway:9901"]
        {
            assert!(is_own_name(host.as_bytes(), &[]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9901",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            ":9901",
            "[::1",
            "[evil.example]:9901",
            "[::1]evil",
            "a b",
            "user@localhost",
            "localhost:80:80",
        ] {
            assert!(!is_own_name(host.as_bytes(), &["gateway.internal".into()]), "{host}");
        }
        assert!(!is_own_name(&[0xff], &[]));
        for host in ["gateway.internal", "Gateway.Internal.:9901"] {
            assert!(is_own_name(host.as_bytes(), &["gateway.internal".into()]), "{host}");
        }
        assert_eq!(status(&Head { host: Some(b"evil.example"), ..head("GET", "/status") }), 403);
    }

    #[test]
    fn with_a_token_all_but_the_probes_need_it() {
        let token = Some(crate::plan::Secret((*b"hush").into()));
        let listen = "127.0.0.1:9901".parse().expect("a literal");
        let rules = AdminRules::of(Some(&AdminSettings { listen, hosts: vec![], token }));
        let status = |path: &'static str, method: &'static str, authorization: Option<&'static str>| {
            let authorization = authorization.map(str::as_bytes);
            match super::decide(&Head { authorization, ..head(method, path) }, &rules) {
                AdminDecision::Respond(response) => response.status,
                AdminDecision::Forward(_) => 200,
            }
        };
        for path in ["/healthz", "/readyz"] {
            assert_eq!(status(path, "GET", None), 200, "{path}");
        }
        for (path, method) in
            [("/metrics", "GET"), ("/status", "GET"), ("/reload", "POST"), ("/cache", "DELETE"), ("/", "GET")]
        {
            for wrong in [
                None,
                Some(""),
                Some("Bearer"),
                Some("Bearer "),
                Some("Bearer hus"),
                Some("Bearer hush hush"),
                Some("Basic hush"),
                Some("hush"),
            ] {
                assert_eq!(status(path, method, wrong), 401, "{path} {wrong:?}");
            }
            for right in ["Bearer hush", "bearer  hush"] {
                assert_ne!(status(path, method, Some(right)), 401, "{path} {right}");
            }
        }
        let super::AdminDecision::Respond(refusal) = super::decide(&head("GET", "/status"), &rules) else {
            panic!("it is answered")
        };
        assert_eq!(refusal.field, Some(("WWW-Authenticate", "Bearer")));
    }

    #[test]
    fn a_host_is_needed_once_by_http_1_1_and_not_by_1_0() {
        assert_eq!(status(&Head { host: None, ..head("GET", "/healthz") }), 400);
        assert_eq!(status(&Head { host: None, needs_host: false, ..head("GET", "/healthz") }), 200);
    }

    #[test]
    fn a_web_page_of_another_origin_cannot_reload() {
        let from = |origin: &'static str| Head { origin: Some(origin.as_bytes()), ..head("POST", "/reload") };
        assert_eq!(decide(&from("http://127.0.0.1:9901")), AdminDecision::Forward(AdminRequest::Reload));
        for origin in ["https://evil.example", "http://127.0.0.1:3000", "http://127.0.0.1", "null", ""] {
            assert_eq!(status(&from(origin)), 403, "{origin}");
        }
        let reading = Head { origin: Some(b"https://evil.example"), ..head("GET", "/healthz") };
        assert_eq!(
            status(&reading),
            200,
            "reading changes nothing, and its answer is not shared with the page"
        );
    }
}
