//! `cors`: what pages of other origins may do with a route (the Fetch standard, 3.2). Preflights are answered here;
//! what the upstream says of it is replaced.

use crate::exchange::Transaction;
use crate::http::fields::{FieldName, Fields};
use crate::http::framing;
use crate::http::head::{Method, RequestHead, ResponseHead};
use crate::plan::{Cors, Origin, RoutePlan};

const ALLOW_ORIGIN: &[u8] = b"Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &[u8] = b"Access-Control-Allow-Credentials";
const ALLOW_METHODS: &[u8] = b"Access-Control-Allow-Methods";
const ALLOW_HEADERS: &[u8] = b"Access-Control-Allow-Headers";
const EXPOSE_HEADERS: &[u8] = b"Access-Control-Expose-Headers";
const MAX_AGE: &[u8] = b"Access-Control-Max-Age";

/// The method that a preflight asks for; `None`: the request is none (Fetch, 3.2.2).
pub fn preflight(request: &RequestHead) -> Option<&[u8]> {
    let is_one = request.method() == Method::Options && request.fields.get(FieldName::Origin).is_some();
    is_one.then(|| request.fields.get(FieldName::AccessControlRequestMethod)).flatten()
}

/// Notes who asks, before anything can edit the field.
pub fn note_origin(route: &RoutePlan, transaction: &mut Transaction) {
    if route.cors.is_some() {
        let Transaction { request, origin, .. } = transaction;
        origin.extend_from_slice(request.fields.get(FieldName::Origin).unwrap_or_default());
    }
}

/// Makes the response the answer to a preflight. One of an origin that may not is answered too, without permission.
pub fn answer(cors: &Cors, origin: &[u8], response: &mut ResponseHead) {
    response.clear();
    response.set_status(204);
    let fields = &mut response.fields;
    fields.add(b"Vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    if !is_allowed(cors, origin) {
        return;
    }
    allow(cors, origin, fields);
    fields.add(ALLOW_METHODS, list(&cors.methods).as_bytes());
    if !cors.headers.is_empty() {
        fields.add(ALLOW_HEADERS, list(&cors.headers).as_bytes());
    }
    if let Some(max_age) = cors.max_age {
        fields.add(MAX_AGE, max_age.as_secs().to_string().as_bytes());
    }
}

/// Says in a response what the page that asked may do with it; `origin` is empty if none asked.
pub fn tell(cors: &Cors, origin: &[u8], response: &mut Fields) {
    for name in [ALLOW_ORIGIN, ALLOW_CREDENTIALS, ALLOW_METHODS, ALLOW_HEADERS, EXPOSE_HEADERS, MAX_AGE] {
        response.remove(name);
    }
    if !is_for_any(cors) {
        vary_by_origin(response);
    }
    if !is_allowed(cors, origin) {
        return;
    }
    allow(cors, origin, response);
    if !cors.expose.is_empty() {
        response.add(EXPOSE_HEADERS, list(&cors.expose).as_bytes());
    }
}

fn allow(cors: &Cors, origin: &[u8], fields: &mut Fields) {
    fields.add(ALLOW_ORIGIN, if is_for_any(cors) { b"*" } else { origin });
    if cors.credentials {
        fields.add(ALLOW_CREDENTIALS, b"true");
    }
}

/// Every origin gets the same answer.
fn is_for_any(cors: &Cors) -> bool {
    cors.origins.contains(&Origin::Any)
}

/// A cache must not give one origin what was said to another (Fetch, 3.2.5).
fn vary_by_origin(response: &mut Fields) {
    let is_origin = |name: &[u8]| name == b"*" || name.eq_ignore_ascii_case(b"origin");
    let is_there = response.all(FieldName::Vary).flat_map(framing::elements).any(is_origin);
    if !is_there {
        response.add(b"Vary", b"Origin");
    }
}

fn is_allowed(cors: &Cors, origin: &[u8]) -> bool {
    cors.origins.iter().any(|allowed| match allowed {
        Origin::Any => !origin.is_empty(),
        Origin::Exact(exact) => exact.as_bytes() == origin,
        Origin::Below { scheme, domain } => {
            let labels = origin
                .strip_prefix(scheme.as_bytes())
                .and_then(|rest| rest.strip_suffix(domain.as_bytes()))
                .unwrap_or_default();
            let is_label_byte =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            !labels.is_empty() && labels.iter().all(is_label_byte)
        }
    })
}

fn list(names: &[std::sync::Arc<str>]) -> String {
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cors(origins: Vec<Origin>) -> Cors {
        Cors {
            origins,
            methods: vec!["GET".into(), "PUT".into()],
            headers: vec!["authorization".into()],
            expose: vec!["x-total".into()],
            credentials: true,
            max_age: Some(Duration::from_secs(600)),
        }
    }

    fn exact() -> Vec<Origin> {
        vec![Origin::Exact("https://app.example.com".into())]
    }

    fn text(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write_to(&mut out);
        String::from_utf8(out).expect("only text went in")
    }

    fn told(cors: &Cors, origin: &str, response: &[(&str, &str)]) -> String {
        let mut fields = Fields::default();
        response.iter().for_each(|(name, value)| fields.add(name.as_bytes(), value.as_bytes()));
        tell(cors, origin.as_bytes(), &mut fields);
        text(&fields)
    }

    #[test]
    fn an_allowed_origin_is_named_and_others_are_told_nothing() {
        let policy = cors(exact());
        assert_eq!(
            told(&policy, "https://app.example.com", &[("Vary", "accept")]),
            "Vary: accept\r\nVary: Origin\r\nAccess-Control-Allow-Origin: https://app.example.com\r\n\
             Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: x-total\r\n"
        );
        for other in
            ["https://evil.example", "http://app.example.com", "https://app.example.com.evil", "null"]
        {
            assert_eq!(told(&policy, other, &[]), "Vary: Origin\r\n", "{other}");
        }
    }

    #[test]
    fn what_the_upstream_says_of_it_is_replaced() {
        let upstream = [("access-control-allow-origin", "*"), ("Vary", "Origin")];
        assert_eq!(told(&cors(exact()), "https://evil.example", &upstream), "Vary: Origin\r\n");
    }

    #[test]
    fn any_origin_gets_a_star_that_caches_may_keep() {
        let policy = Cors { credentials: false, expose: vec![], ..cors(vec![Origin::Any]) };
        assert_eq!(told(&policy, "https://a.example", &[]), "Access-Control-Allow-Origin: *\r\n");
        assert_eq!(told(&policy, "", &[]), "", "no page asked");
    }

    #[test]
    fn an_origin_below_a_domain_has_labels_before_it_and_nothing_else() {
        let below = Origin::Below { scheme: "https://".into(), domain: ".example.com".into() };
        let policy = cors(vec![below]);
        for yes in ["https://a.example.com", "https://a.b.example.com"] {
            assert!(is_allowed(&policy, yes.as_bytes()), "{yes}");
        }
        for no in [
            "https://.example.com",
            "https://example.com",
            "http://a.example.com",
            "https://evil/.example.com",
        ] {
            assert!(!is_allowed(&policy, no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn a_preflight_is_answered_with_what_the_route_allows() {
        let mut response = ResponseHead::default();
        answer(&cors(exact()), b"https://app.example.com", &mut response);
        assert_eq!(response.status(), 204);
        let head = text(&response.fields);
        for line in [
            "Access-Control-Allow-Origin: https://app.example.com\r\n",
            "Access-Control-Allow-Methods: GET, PUT\r\n",
            "Access-Control-Allow-Headers: authorization\r\n",
            "Access-Control-Max-Age: 600\r\n",
            "Vary: Origin, ",
        ] {
            assert!(head.contains(line), "{line} in {head}");
        }
    }
}
