//! Header hygiene: what the origin and the client see of each other's fields, and what the gateway adds.

use crate::support::{DRIVERS, Gateway, Message, Origin, proxy_to, proxy_with, show};

/// What the gateway sets towards an origin.
const OURS: [&str; 6] =
    ["host", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];

fn others(request: &Message) -> Vec<(&str, &str)> {
    let fields = request.fields.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    fields.filter(|(name, _)| !OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name))).collect()
}

#[test]
fn the_clients_fields_reach_the_origin_in_their_case_and_order() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let echoed = gateway
            .exchange(
                "GET / HTTP/1.1\r\nX-Zed: 1\r\nhost: test\r\naccept: */*\r\nCOOKIE: a=b; c=d\r\nX-Same: 1\r\n\
                 User-Agent: \"q\" (x; y)\r\nx-same: 2\r\nEmpty:\r\nAuthorization: Bearer t\r\n\r\n",
            )
            .echoed();
        let expected = [
            ("X-Zed", "1"),
            ("accept", "*/*"),
            ("COOKIE", "a=b; c=d"),
            ("X-Same", "1"),
            ("User-Agent", "\"q\" (x; y)"),
            ("x-same", "2"),
            ("Empty", ""),
            ("Authorization", "Bearer t"),
        ];
        assert_eq!(others(&echoed), expected);
    }
}

#[test]
fn the_gateway_says_who_it_forwards_for() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    let response = gateway.exchange("GET / HTTP/1.1\r\nHost: Api.Test:8080\r\n\r\n");
    let echoed = response.echoed();
    assert_eq!(echoed.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(echoed.field("x-forwarded-proto"), Some("http"));
    assert_eq!(echoed.field("x-forwarded-host"), Some("Api.Test:8080"));
    assert_eq!(echoed.field("via"), Some("1.1 ringway"));
    assert_eq!(echoed.field("host"), Some(origin.authority().as_str()));
    assert_eq!(echoed.field("x-request-id"), response.field("x-request-id"));
    assert!(!echoed.has("x-forwarded-prefix"));
    assert_eq!(echoed.start_line, "GET / HTTP/1.1");
}

#[test]
fn hop_by_hop_fields_stop_at_the_gateway() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    let echoed = gateway
        .exchange(
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: X-One, keep-alive\r\nX-One: 1\r\nKeep-Alive: timeout=5\r\n\
             connection: x-two\r\nX-Two: 2\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nX-Three: 3\r\n\r\n",
        )
        .echoed();
    for name in ["x-one", "x-two", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert!(!echoed.has(name), "{name} in {}", show(&echoed.head));
    }
    assert!(!echoed.connection_lists("x-one"));
    assert_eq!(echoed.field("x-three"), Some("3"));
}

#[test]
fn connection_cannot_take_away_what_framing_and_identity_rest_on() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    let mut client = gateway.connect();
    let echoed = client
        .exchange(
            "POST / HTTP/1.1\r\nHost: test\r\nConnection: Host, Content-Length, X-Forwarded-For, Via, X-Request-Id\r\n\
             Content-Length: 5\r\n\r\nhello",
        )
        .echoed();
    assert_eq!(echoed.content_length(), Some(5));
    for name in OURS {
        assert!(echoed.has(name), "{name}");
    }
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: t\r\n\r\n").status(), 200);
}

#[test]
fn the_origins_hop_by_hop_fields_stop_at_the_gateway_too() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Inner, keep-alive\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: x\r\nUpgrade: h2c\r\nX-Outer: 2\r\nContent-Length: 0\r\n\r\n",
    );
    let response = Gateway::proxying(&origin).get("/");
    for name in ["x-inner", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(!response.has(name), "{name}");
    }
    assert!(!response.connection_lists("x-inner"));
    assert_eq!(response.field("x-outer"), Some("2"));
}

#[test]
fn what_an_untrusted_client_says_about_itself_is_appended_to_or_replaced() {
    let origin = Origin::echo();
    let gateway = Gateway::proxying(&origin);
    let response = gateway.exchange(
        "GET /u HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Prefix: /evil\r\nX-Request-Id: chosen\r\n\
         X-Consumer-Name: admin\r\nX-CONSUMER-GROUPS: root\r\nVia: 1.0 fred\r\n\r\n",
    );
    let echoed = response.echoed();
    assert_eq!(echoed.all("x-forwarded-for").join(", "), "1.2.3.4, 5.6.7.8, 127.0.0.1");
    assert_eq!(echoed.field("x-forwarded-proto"), Some("http"));
    assert_eq!(echoed.field("x-forwarded-host"), Some("test"));
    assert_eq!(echoed.all("via").join(", "), "1.0 fred, 1.1 ringway");
    assert!(!echoed.has("x-consumer-name") && !echoed.has("x-consumer-groups"));
    assert!(echoed.field("x-request-id").is_some_and(|id| id != "chosen"));
    assert!(response.field("x-request-id").is_some_and(|id| id != "chosen"));
    assert_eq!(gateway.log_of("/u")["client_ip"], "127.0.0.1");
}

#[test]
fn names_that_an_origin_could_read_as_the_gateways_own_do_not_pass() {
    let origin = Origin::echo();
    let echoed = Gateway::proxying(&origin)
        .exchange("GET / HTTP/1.1\r\nHost: t\r\nX_Consumer_Name: root\r\nx_forwarded_for: 1.1.1.1\r\nX_Mine: 1\r\n\r\n")
        .echoed();
    assert!(
        !echoed.has("x_consumer_name") && !echoed.has("x_forwarded_for"),
        "CGI reads `_` and `-` as the same"
    );
    assert_eq!(echoed.field("x_mine"), Some("1"));
}

#[test]
fn a_trusted_proxy_is_believed_from_the_right() {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .server("trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]")
        .start(&proxy_to(&[&origin.url()]));
    let response = gateway.exchange(
        "GET /t HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.2.3\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: outer.example\r\nX-Request-Id: abc-123\r\n\r\n",
    );
    let echoed = response.echoed();
    assert_eq!(echoed.all("x-forwarded-for").join(", "), "6.6.6.6, 203.0.113.9, 10.1.2.3, 127.0.0.1");
    assert_eq!(echoed.field("x-forwarded-proto"), Some("https"));
    assert_eq!(echoed.field("x-forwarded-host"), Some("outer.example"));
    assert_eq!(echoed.field("x-request-id"), Some("abc-123"));
    assert_eq!(response.field("x-request-id"), Some("abc-123"));
    let log = gateway.log_of("/t");
    assert_eq!((&log["client_ip"], &log["request_id"]), (&"203.0.113.9".into(), &"abc-123".into()));
}

#[test]
fn a_broken_forwarded_for_from_a_trusted_proxy_ends_the_walk() {
    let origin = Origin::echo();
    let gateway =
        Gateway::builder().server("trusted_proxies = [\"127.0.0.0/8\"]").start(&proxy_to(&[&origin.url()]));
    let response =
        gateway.exchange("GET /b HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 9.9.9.9, not an address\r\n\r\n");
    assert_eq!(response.status(), 200);
    assert_eq!(gateway.log_of("/b")["client_ip"], "127.0.0.1");
}

#[test]
fn a_response_carries_one_request_id_whatever_the_origin_sends() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(Gateway::proxying(&origin).get("/").all("x-request-id").len(), 1);
}

#[test]
fn a_routes_header_edits_remove_then_set_then_add() {
    for driver in DRIVERS {
        let origin = Origin::new(|peer| {
            while let Some(request) = peer.request() {
                let size = request.head.len();
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nServer: inner\r\nX-Set: old\r\nx-set: older\r\nX-Add: 1\r\nContent-Length: {size}\r\n\r\n"
                ));
                peer.send(&request.head);
            }
        });
        let edits = "request_headers = { set = { x-from = \"edge\", X-Set = \"new\" }, add = { x-add = \"2\" }, \
                     remove = [\"cookie\"] }\n\
                     response_headers = { set = { X-Set = \"new\" }, add = { x-add = \"2\" }, remove = [\"server\"] }";
        let gateway = Gateway::with_driver(driver, &proxy_with(&[&origin.url()], "", edits));
        let response = gateway.exchange(
            "GET / HTTP/1.1\r\nHost: t\r\nCookie: a\r\nCOOKIE: b\r\nx-set: old\r\nX-Set: older\r\nX-Add: 1\r\n\r\n",
        );
        for message in [&response, &response.echoed()] {
            assert_eq!(message.field("x-set"), Some("new"));
            assert_eq!(message.all("x-add"), ["1", "2"]);
            assert!(!message.has("cookie") && !message.has("server"));
        }
        assert_eq!(response.echoed().field("x-from"), Some("edge"));
    }
}

#[test]
fn response_edits_reach_the_gateways_own_answers_of_a_route() {
    let gateway = Gateway::start(
        "[[route]]\nname = \"a\"\npath = \"/*\"\nrespond = { status = 200, body = \"hi\" }\n\
         response_headers = { set = { x-edge = \"1\" } }\n",
    );
    assert_eq!(gateway.get("/").field("x-edge"), Some("1"));
}

#[test]
fn a_deprecated_route_says_so_until_when_and_where_to_read_on() {
    let origin = Origin::echo();
    let keys = "deprecated = { sunset = \"2027-01-31\", link = \"https://docs.example/v2\" }";
    let response = Gateway::start(&proxy_with(&[&origin.url()], "", keys)).get("/");
    assert!(response.has("deprecation"));
    assert_eq!(response.field("sunset"), Some("Sun, 31 Jan 2027 00:00:00 GMT"));
    let link = response.field("link").expect("a link was configured");
    assert!(link.starts_with("<https://docs.example/v2>") && link.contains("rel=\"deprecation\""), "{link}");
}
