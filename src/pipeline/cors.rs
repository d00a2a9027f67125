//! `cors`: what pages of other origins may do with a route (the Fetch standard, 3.2). Preflights are answered here;
//! what the upstream says of it is replaced.

use crate::http::fields::{FieldName, Fields};
use crate::http::framing;
use crate::http::head::{Method, RequestHead, ResponseHead};
use crate::plan::{Cors, Origin};

const ALLOW_ORIGIN: &[u8] = b"Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &[u8] = b"Access-Control-Allow-Credentials";
const ALLOW_METHODS: &[u8] = b"Access-Control-Allow-Methods";
const ALLOW_HEADERS: &[u8] = b"Access-Control-Allow-Headers";
const EXPOSE_HEADERS: &[u8] = b"Access-Control-Expose-Headers";
const MAX_AGE: &[u8] = b"Access-Control-Max-Age";

/// The status of the answer to a preflight that a route takes. No other response to one has it.
const PREFLIGHT_STATUS: u16 = 204;

/// The method that a preflight asks for; `None`: the request is none (Fetch, 3.2.2).
pub fn preflight(request: &RequestHead) -> Option<&[u8]> {
    let is_one = request.method() == Method::Options && request.fields.get(FieldName::Origin).is_some();
    is_one.then(|| request.fields.get(FieldName::AccessControlRequestMethod)).flatten()
}

/// Makes the response the answer to a preflight, but for what [`tell`] adds on its way out.
pub fn answer_preflight(response: &mut ResponseHead) {
    response.clear();
    response.set_status(PREFLIGHT_STATUS);
}

/// Says in a response what the page at `origin` (empty: none asked) may do: with the response, or, in the answer to a
/// preflight, with the route.
pub fn tell(cors: &Cors, request: &RequestHead, origin: &[u8], response: &mut ResponseHead) {
    if preflight(request).is_some() && response.status() == PREFLIGHT_STATUS {
        tell_of_route(cors, origin, &mut response.fields);
    } else {
        tell_of_response(cors, origin, &mut response.fields);
    }
}

/// What the answer to a preflight says. One to an origin that may not is answered too, without permission.
fn tell_of_route(cors: &Cors, origin: &[u8], fields: &mut Fields) {
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

/// What every other response says.
fn tell_of_response(cors: &Cors, origin: &[u8], response: &mut Fields) {
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
    use crate::http::head;

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

    fn said(cors: &Cors, origin: &str, response: &[(&str, &str)]) -> String {
        let mut fields = Fields::default();
        response.iter().for_each(|(name, value)| fields.add(name.as_bytes(), value.as_bytes()));
        tell_of_response(cors, origin.as_bytes(), &mut fields);
        text(&fields)
    }

    #[test]
    fn an_allowed_origin_is_named_and_others_are_told_nothing() {
        let policy = cors(exact());
        assert_eq!(
            said(&policy, "https://app.example.com", &[("Vary", "accept")]),
            "Vary: accept\r\nVary: Origin\r\nAccess-Control-Allow-Origin: https://app.example.com\r\n\
             Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: x-total\r\n"
        );
        for other in
            ["https://evil.example", "http://app.example.com", "https://app.example.com.evil", "null"]
        {
            assert_eq!(said(&policy, other, &[]), "Vary: Origin\r\n", "{other}");
        }
    }

    #[test]
    fn what_the_upstream_says_of_it_is_replaced() {
        let upstream = [("access-control-allow-origin", "*"), ("Vary", "Origin")];
        assert_eq!(said(&cors(exact()), "https://evil.example", &upstream), "Vary: Origin\r\n");
    }

    #[test]
    fn any_origin_gets_a_star_that_caches_may_keep() {
        let policy = Cors { credentials: false, expose: vec![], ..cors(vec![Origin::Any]) };
        assert_eq!(said(&policy, "https://a.example", &[]), "Access-Control-Allow-Origin: *\r\n");
        assert_eq!(said(&policy, "", &[]), "", "no page asked");
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
        answer_preflight(&mut response);
        let mut request = RequestHead::default();
        let head = b"OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example.com\r\n\
                     Access-Control-Request-Method: PUT\r\n\r\n";
        let limits = head::HeadLimits { bytes: 1024, count: 10 };
        head::parse_request(head, &limits, &mut request).expect("a good head");
        tell(&cors(exact()), &request, b"https://app.example.com", &mut response);
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
