//! Which route takes a request, and which path and host the upstream then sees: section by section, through one gateway.

use crate::support::{DRIVERS, Gateway, Message, Origin};

/// A route that answers with its own name.
fn named(name: &str, keys: &str) -> String {
    format!("[[route]]\nname = {name:?}\n{keys}\nrespond = {{ status = 200, body = {name:?} }}\n")
}

fn all_named(routes: &[(&str, &str)]) -> Gateway {
    Gateway::start(&routes.iter().map(|(name, keys)| named(name, keys)).collect::<String>())
}

/// The name of the route that took the request, or the reason why none did.
fn taken_by(gateway: &Gateway, request: &str) -> String {
    let response = gateway.exchange(request);
    if response.status() == 200 {
        response.text().to_string()
    } else {
        response.json()["reason"].as_str().expect("a reason").to_string()
    }
}

fn check_paths(gateway: &Gateway, table: &[(&str, &str)]) {
    for (path, expected) in table {
        let request = format!("GET {path} HTTP/1.1\r\nHost: any.test\r\n\r\n");
        assert_eq!(&taken_by(gateway, &request), expected, "{path}");
    }
}

#[test]
fn paths_match_exactly_by_prefix_by_capture_and_by_list() {
    let gateway = all_named(&[
        ("exact", "path = \"/x\""),
        ("below", "path = \"/p/*\""),
        ("slash", "path = \"/s/\""),
        ("one", "path = \"/c/{id}\""),
        ("between", "path = \"/c/{id}/tail\""),
        ("rest", "path = \"/r/{*rest}\""),
        ("list", "path = [\"/l1\", \"/l2/*\"]"),
    ]);
    check_paths(
        &gateway,
        &[
            ("/x", "exact"),
            ("/x?a=b", "exact"),
            ("/x/", "no_route"),
            ("/x/y", "no_route"),
            ("/X", "no_route"),
            ("/xy", "no_route"),
            ("/p", "below"),
            ("/p/", "below"),
            ("/p/a", "below"),
            ("/p/a/b/c", "below"),
            ("/pa", "no_route"),
            ("/s/", "slash"),
            ("/s", "no_route"),
            ("/c/1", "one"),
            ("/c/a%2Fb", "one"),
            ("/c/", "no_route"),
            ("/c", "no_route"),
            ("/c/1/2", "no_route"),
            ("/c/1/tail", "between"),
            ("/r/a", "rest"),
            ("/r/a/b", "rest"),
            ("/l1", "list"),
            ("/l2/a", "list"),
            ("/", "no_route"),
        ],
    );
}

#[test]
fn literal_goes_before_capture_before_rest_and_longer_before_shorter() {
    let gateway = all_named(&[
        ("all", "path = \"/*\""),
        ("a-rest", "path = \"/a/*\""),
        ("a-id", "path = \"/a/{id}\""),
        ("a-lit", "path = \"/a/lit\""),
        ("a-b-rest", "path = \"/a/b/*\""),
        ("id-x", "path = \"/b/{id}/x\""),
        ("lit-y", "path = \"/b/lit/y\""),
        ("b-rest", "path = \"/b/*\""),
    ]);
    check_paths(
        &gateway,
        &[
            ("/", "all"),
            ("/z", "all"),
            ("/a", "a-rest"),
            ("/a/lit", "a-lit"),
            ("/a/other", "a-id"),
            ("/a/other/more", "a-rest"),
            ("/a/b/c", "a-b-rest"),
            ("/b/lit/y", "lit-y"),
            ("/b/lit/x", "id-x"),
            ("/b/lit/z", "b-rest"),
            ("/b/other/x", "id-x"),
        ],
    );
}

#[test]
fn host_goes_before_path_and_exact_before_wildcard_before_any() {
    let gateway = all_named(&[
        ("any-long", "path = \"/long/path\""),
        ("any", "path = \"/*\""),
        ("wild", "path = \"/w/*\"\nhost = \"*.example.com\""),
        ("exact", "path = \"/w/*\"\nhost = \"api.example.com\""),
        ("deep", "path = \"/w/*\"\nhost = \"*.deep.example.com\""),
        ("list", "path = \"/*\"\nhost = [\"one.test\", \"two.test\"]"),
    ]);
    let table = [
        ("api.example.com", "/w/a", "exact"),
        ("API.Example.COM", "/w/a", "exact"),
        ("api.example.com:8080", "/w/a", "exact"),
        ("api.example.com.", "/w/a", "exact"),
        ("www.example.com", "/w/a", "wild"),
        ("a.b.example.com", "/w/a", "wild"),
        ("a.deep.example.com", "/w/a", "deep"),
        ("example.com", "/w/a", "any"),
        ("notexample.com", "/w/a", "any"),
        ("api.example.com", "/elsewhere", "any"),
        ("one.test", "/long/path", "list"),
        ("two.test", "/", "list"),
        ("three.test", "/long/path", "any-long"),
        ("[::1]:80", "/x", "any"),
    ];
    for (host, path, expected) in table {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(taken_by(&gateway, &request), expected, "{host} {path}");
    }
}

#[test]
fn method_headers_and_query_narrow_a_path_and_more_of_them_go_first() {
    let gateway = all_named(&[
        ("plain", "path = \"/v\""),
        ("version", "path = \"/v\"\nheaders = { x-version = \"2\" }"),
        ("present", "path = \"/v\"\nheaders = { x-trace = \"*\" }"),
        ("post", "path = \"/v\"\nmethod = [\"POST\"]"),
        ("post-version", "path = \"/v\"\nmethod = \"POST\"\nheaders = { x-version = \"2\" }"),
        ("beta", "path = \"/v\"\nquery = { beta = \"1\" }"),
        ("both", "path = \"/q\"\nquery = { a = \"1\", b = \"*\" }"),
    ]);
    let table = [
        ("GET /v HTTP/1.1\r\n", "plain"),
        ("GET /v HTTP/1.1\r\nX-Version: 2\r\n", "version"),
        ("GET /v HTTP/1.1\r\nX-Version: 3\r\n", "plain"),
        ("GET /v HTTP/1.1\r\nX-TRACE:\r\n", "present"),
        ("PUT /v HTTP/1.1\r\n", "plain"),
        ("POST /v HTTP/1.1\r\n", "post"),
        ("post /v HTTP/1.1\r\n", "plain"),
        ("POST /v HTTP/1.1\r\nx-version: 2\r\n", "post-version"),
        ("GET /v?beta=1 HTTP/1.1\r\n", "beta"),
        ("GET /v?x=y&beta=1 HTTP/1.1\r\n", "beta"),
        ("GET /v?beta=2 HTTP/1.1\r\n", "plain"),
        ("GET /q?a=1&b HTTP/1.1\r\n", "both"),
        ("GET /q?b=x&a=1 HTTP/1.1\r\n", "both"),
        ("GET /q?a=1 HTTP/1.1\r\n", "no_route"),
    ];
    for (request, expected) in table {
        assert_eq!(taken_by(&gateway, &format!("{request}Host: t\r\n\r\n")), expected, "{request:?}");
    }
}

#[test]
fn file_order_decides_between_equals_and_priority_before_everything() {
    let gateway = all_named(&[
        ("first", "path = \"/e\"\nheaders = { a = \"1\" }"),
        ("second", "path = \"/e\"\nheaders = { b = \"1\" }"),
        ("exact", "path = \"/p/lit\"\nhost = \"h.test\"\nheaders = { e = \"1\" }"),
        ("strong", "path = \"/p/*\"\npriority = 10\nheaders = { c = \"1\" }"),
        ("weak", "path = \"/p/lit\"\npriority = -1\nhost = \"h.test\"\nheaders = { d = \"1\", f = \"1\" }"),
    ]);
    let table = [
        ("GET /e HTTP/1.1\r\nHost: t\r\nb: 1\r\na: 1\r\n\r\n", "first"),
        ("GET /e HTTP/1.1\r\nHost: t\r\nb: 1\r\n\r\n", "second"),
        ("GET /p/lit HTTP/1.1\r\nHost: h.test\r\ne: 1\r\n\r\n", "exact"),
        ("GET /p/lit HTTP/1.1\r\nHost: h.test\r\nc: 1\r\ne: 1\r\n\r\n", "strong"),
        ("GET /p/lit HTTP/1.1\r\nHost: h.test\r\nd: 1\r\nf: 1\r\n\r\n", "weak"),
        ("GET /p/lit HTTP/1.1\r\nHost: h.test\r\nd: 1\r\ne: 1\r\nf: 1\r\n\r\n", "exact"),
    ];
    for (request, expected) in table {
        assert_eq!(taken_by(&gateway, request), expected, "{request:?}");
    }
}

#[test]
fn a_path_without_a_fitting_method_is_405_and_says_which_would_fit() {
    let gateway = all_named(&[
        ("get", "path = \"/m\"\nmethod = [\"GET\", \"PUT\"]"),
        ("post", "path = \"/m\"\nmethod = \"POST\""),
        ("fallback", "path = \"/f/*\""),
        ("narrow", "path = \"/f/m\"\nmethod = \"POST\""),
    ]);
    let response = gateway.exchange("DELETE /m HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!((response.status(), &response.json()["reason"]), (405, &"method_not_allowed".into()));
    let allow: Vec<&str> = response.field("allow").expect("RFC 9110, 15.5.6").split(", ").collect();
    for method in ["GET", "PUT", "POST"] {
        assert!(allow.contains(&method), "{allow:?}");
    }
    assert!(!allow.contains(&"DELETE"));
    assert_eq!(taken_by(&gateway, "DELETE /f/m HTTP/1.1\r\nHost: t\r\n\r\n"), "fallback");
}

/// A gateway whose routes go to an origin that echoes; `keys` is everything but name and upstream.
fn forwarding(driver: &str, origin: &Origin, routes: &[&str]) -> Gateway {
    let mut config = format!("[upstream.o]\ntargets = [{:?}]\n", origin.url());
    for (number, keys) in routes.iter().enumerate() {
        config += &format!("[[route]]\nname = \"r{number}\"\nupstream = \"o\"\n{keys}\n");
    }
    Gateway::with_driver(driver, &config)
}

fn seen(gateway: &Gateway, target: &str) -> Message {
    let response = gateway.get(target);
    assert_eq!(response.status(), 200, "{target}");
    response.echoed()
}

#[test]
fn a_path_is_normalised_once_for_matching_and_forwarding() {
    let origin = Origin::echo();
    let gateway = forwarding("auto", &origin, &["path = \"/a/*\"", "path = \"/q/{id}\""]);
    let table = [
        ("/a/b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/b/../c", "/a/c"),
        ("/x/../a/b", "/a/b"),
        ("/a/b/.", "/a/b/"),
        ("/a/b/..", "/a/"),
        ("/a/%2e/b", "/a/b"),
        ("/a/b/%2E%2e/c", "/a/c"),
        ("/a/b/.%2e/c", "/a/c"),
        ("/%61/b", "/a/b"),
        ("/a/%7Euser/%2D", "/a/~user/-"),
        ("/a//b", "/a//b"),
        ("/a/b/", "/a/b/"),
        ("/a/x%2Fy", "/a/x%2Fy"),
        ("/a/%20%25", "/a/%20%25"),
        ("/a/...", "/a/..."),
        ("/a/b?x=%2e%2E/../y&z=%61", "/a/b?x=%2e%2E/../y&z=%61"),
        ("/a/b?", "/a/b?"),
        ("/q/x%2Fy", "/q/x%2Fy"),
    ];
    for (target, expected) in table {
        assert_eq!(seen(&gateway, target).target(), expected, "{target}");
    }
    for outside in ["/a/../b", "/a/%2e%2e/b", "/a/..%2Fb/../../c", "/A/b"] {
        assert_eq!(gateway.get(outside).status(), 404, "{outside}");
    }
    for broken in ["/a/%", "/a/%4", "/a/%zz", "/a/%-1"] {
        assert_eq!(gateway.get(broken).status(), 400, "{broken}");
    }
}

#[test]
fn strip_prefix_cuts_what_stands_before_the_star() {
    for driver in DRIVERS {
        let origin = Origin::echo();
        let routes = ["path = [\"/api/users/*\", \"/u/{*rest}\"]\nstrip_prefix = true"];
        let gateway = forwarding(driver, &origin, &routes);
        let table = [
            ("/api/users/42", "/42", "/api/users"),
            ("/api/users/42/a?b=c", "/42/a?b=c", "/api/users"),
            ("/api/users/", "/", "/api/users"),
            ("/api/users", "/", "/api/users"),
            ("/api/users?x", "/?x", "/api/users"),
            ("/api/users/a%2Fb", "/a%2Fb", "/api/users"),
            ("/api/users//a", "//a", "/api/users"),
            ("/u/a", "/a", "/u"),
        ];
        for (target, expected, prefix) in table {
            let request = seen(&gateway, target);
            assert_eq!(
                (request.target(), request.field("x-forwarded-prefix")),
                (expected, Some(prefix)),
                "{target}"
            );
        }
    }
}

#[test]
fn rewrite_puts_captures_into_a_new_path_and_keeps_the_query() {
    let origin = Origin::echo();
    let gateway = forwarding(
        "auto",
        &origin,
        &[
            "path = \"/old/*\"\nrewrite = \"/v2/{rest}\"",
            "path = \"/user/{id}/post/{post}\"\nrewrite = \"/posts/{post}/by/{id}\"",
            "path = \"/files/{*file}\"\nrewrite = \"/{file}\"",
            "path = \"/fixed\"\nrewrite = \"/elsewhere\"",
        ],
    );
    let table = [
        ("/old/a/b", "/v2/a/b"),
        ("/old/a?x=1&y", "/v2/a?x=1&y"),
        ("/user/7/post/9", "/posts/9/by/7"),
        ("/user/a%2Fb/post/%25", "/posts/%25/by/a%2Fb"),
        ("/files/a/b.txt", "/a/b.txt"),
        ("/fixed?q", "/elsewhere?q"),
    ];
    for (target, expected) in table {
        let request = seen(&gateway, target);
        assert_eq!(request.target(), expected, "{target}");
        assert!(!request.has("x-forwarded-prefix"), "only what is stripped is told");
    }
}

#[test]
fn the_host_is_the_targets_the_clients_or_a_literal() {
    let origin = Origin::echo();
    let gateway = forwarding(
        "auto",
        &origin,
        &[
            "path = \"/default\"",
            "path = \"/upstream\"\nhost_header = \"upstream\"",
            "path = \"/client\"\nhost_header = \"client\"",
            "path = \"/literal\"\nhost_header = \"inner.example:8080\"",
        ],
    );
    let authority = origin.authority();
    let table = [
        ("/default", authority.as_str()),
        ("/upstream", authority.as_str()),
        ("/client", "Outer.Example:81"),
        ("/literal", "inner.example:8080"),
    ];
    for (path, expected) in table {
        let request =
            gateway.exchange(format!("GET {path} HTTP/1.1\r\nhost: Outer.Example:81\r\n\r\n")).echoed();
        assert_eq!(request.field("host"), Some(expected), "{path}");
        assert_eq!(request.field("x-forwarded-host"), Some("Outer.Example:81"), "{path}");
    }
}

#[test]
fn a_respond_route_answers_by_itself() {
    for driver in DRIVERS {
        let gateway = Gateway::with_driver(
            driver,
            "[[route]]\nname = \"a\"\npath = \"/a\"\n\
             respond = { status = 203, body = \"hi\\n\", content_type = \"text/x-test\" }\n\
             [[route]]\nname = \"b\"\npath = \"/b\"\nrespond = { status = 204 }\n",
        );
        let mut client = gateway.connect();
        let response = client.exchange("GET /a HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!((response.status(), response.text()), (203, "hi\n"));
        assert_eq!(response.field("content-type"), Some("text/x-test"));
        client.send("HEAD /a HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(client.response_to("HEAD").content_length(), Some(3));
        let empty = client.exchange("GET /b HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_eq!(empty.status(), 204);
        assert!(!empty.has("content-length"), "RFC 9110, 8.6");
        let post = "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(client.exchange(post).status(), 203);
        assert_eq!(
            client.exchange("GET /a HTTP/1.1\r\nHost: t\r\n\r\n").status(),
            203,
            "the body was not a request"
        );
    }
}

#[test]
fn a_redirect_never_leads_to_a_host_that_the_request_names() {
    let route = "[[route]]\nname = \"a\"\npath = \"/old/*\"\nredirect = { to = \"/{rest}\" }\n";
    let gateway = Gateway::start(route);
    for target in ["/old//evil.test/x", "/old///evil.test/x", "/old/evil.test/x"] {
        assert_eq!(gateway.get(target).field("location"), Some("/evil.test/x"), "{target}");
    }
}

#[test]
fn a_redirect_route_sends_elsewhere_with_captures() {
    let gateway = Gateway::start(
        "[[route]]\nname = \"a\"\npath = \"/old/*\"\nredirect = { to = \"/new/{rest}\", status = 308 }\n\
         [[route]]\nname = \"b\"\npath = \"/u/{id}\"\nredirect = { to = \"https://e.test/{id}\", status = 302 }\n",
    );
    let table = [
        ("/old/a/b", 308, "/new/a/b"),
        ("/old/%0d%0aSet-Cookie:x", 308, "/new/%0D%0ASet-Cookie:x"),
        ("/u/7", 302, "https://e.test/7"),
    ];
    for (target, status, location) in table {
        let response = gateway.get(target);
        assert_eq!(response.status(), status, "{target}");
        let sent = response.field("location").expect("a redirect says where");
        assert!(sent.eq_ignore_ascii_case(location), "{target}: {sent}");
    }
}
