//! Defaults, and what each key becomes.

use std::sync::Arc;
use std::time::Duration;

use super::*;

#[test]
fn an_empty_file_has_exactly_the_defaults_of_the_contract() {
    let seconds = Duration::from_secs;
    let found = plan("");
    let want = Plan {
        server: Server {
            listen: vec!["0.0.0.0:8080".parse().unwrap()],
            shards: None,
            pin_cores: true,
            driver: Driver::Auto,
            trusted_proxies: vec![],
            drain_timeout: seconds(30),
            limits: ServerLimits {
                header_bytes: 16 * 1024,
                header_count: 96,
                body_bytes: 64 * 1024 * 1024,
                header_timeout: seconds(10),
                body_timeout: seconds(30),
                min_rate: 0,
                keepalive_timeout: seconds(75),
                max_connections: 10_000,
            },
        },
        admin: None,
        log: LogSettings { access: AccessFormat::Json, target: LogTarget::Stdout, level: LogLevel::Info },
        scripts: ScriptSettings {
            dir: "scripts".into(),
            max_operations: 20_000,
            max_time: Duration::from_millis(50),
            max_body: 1024 * 1024,
            on_error: OnError::Fail,
            env: vec![],
            files: vec![],
        },
        store: None,
        jwts: vec![],
        api_keys: ApiKeySettings { from: vec![CredentialPlace::Header("x-api-key".into())] },
        consumers: vec![],
        upstreams: vec![],
        routes: vec![],
    };
    assert_eq!(found, want);
    let admin = AdminSettings { listen: "127.0.0.1:9901".parse().unwrap(), hosts: vec![], token: None };
    assert_eq!(plan("[admin]").admin, Some(admin));
}

#[test]
fn upstreams_and_routes_have_the_defaults_of_the_contract() {
    let found = plan(
        "[upstream.users]\ntargets = [\"http://127.0.0.1:3001\"]\n[[route]]\npath = \"/x\"\nupstream = \"users\"",
    );
    let seconds = Duration::from_secs;
    let upstream = UpstreamPlan {
        name: "users".into(),
        targets: vec![TargetPlan {
            url: "http://127.0.0.1:3001".into(),
            weight: 1,
            address: TargetAddress::Ip("127.0.0.1:3001".parse().unwrap()),
            authority: "127.0.0.1:3001".into(),
        }],
        balance: Balance::RoundRobin,
        connect_timeout: seconds(2),
        response_timeout: seconds(30),
        idle_timeout: seconds(60),
        keepalive: 256,
        keepalive_idle: seconds(60),
        max_inflight: None,
        retry: RetryPlan::CONNECTS_ONLY,
        breaker: Some(BreakerPlan::CONNECTS_ONLY),
        health: None,
    };
    let route = RoutePlan {
        name: "route-1".into(),
        hosts: vec![],
        paths: vec![PathPattern {
            text: "/x".into(),
            segments: vec![Segment::Literal("x".into())],
            tail: Tail::Exact,
        }],
        methods: vec![],
        headers: vec![],
        query: vec![],
        priority: 0,
        action: Action::Proxy(Proxy { upstream: 0, path: PathEdit::Keep, host: HostHeader::Upstream }),
        ip: IpRules::default(),
        cors: None,
        auth: vec![],
        require: Require::default(),
        rate_limits: vec![],
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        deprecated: None,
        timeout: None,
        max_inflight: None,
        upgrade: vec!["websocket".into()],
        scripts: vec![],
        vars: vec![],
    };
    assert_eq!(found.upstreams, [Arc::new(upstream)]);
    assert_eq!(found.routes, [Arc::new(route)]);
    let found = self::route("path = \"/x\"\nrespond = {}");
    assert_eq!(found.action, Action::Respond(Respond { status: 200, body: [].into(), content_type: None }));
    let Action::Redirect(redirect) = self::route("path = \"/x\"\nredirect = { to = \"/y\" }").action else {
        panic!("a redirect")
    };
    assert_eq!(redirect.status, 308);
}

#[test]
fn every_value_of_server_admin_and_log_is_taken() {
    let text = r#"
        [server]
        listen = ["127.0.0.1:1", "[::1]:2", ":3"]
        shards = 4
        pin_cores = false
        driver = "epoll"
        trusted_proxies = ["10.0.0.0/8", "192.0.2.1", "fd00::/8"]
        drain_timeout = "1m"
        limits = { header_bytes = "1KiB", header_count = 1000, body_bytes = "0", header_timeout = "1ms", body_timeout = "2s", min_rate = "1KiB", keepalive_timeout = "3m", max_connections = 1 }
        [admin]
        listen = "127.0.0.1:4"
        hosts = ["Gateway.Internal"]
        token = "env:SECRET"
        [log]
        access = "off"
        target = "/var/log/ringway.log"
        level = "trace"
        [[route]]
        path = "/"
        respond = {}
    "#;
    let found = plan(text);
    let listen: Vec<_> = found.server.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:1", "[::1]:2", "0.0.0.0:3"]);
    assert_eq!(found.server.shards, Some(4));
    assert!(!found.server.pin_cores);
    assert_eq!(found.server.driver, Driver::Epoll);
    let proxies: Vec<_> = found.server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"]);
    assert_eq!(found.server.drain_timeout, Duration::from_secs(60));
    let limits = ServerLimits {
        header_bytes: 1024,
        header_count: 1000,
        body_bytes: u64::MAX,
        header_timeout: Duration::from_millis(1),
        body_timeout: Duration::from_secs(2),
        min_rate: 1024,
        keepalive_timeout: Duration::from_secs(180),
        max_connections: 1,
    };
    assert_eq!(found.server.limits, limits);
    let admin = AdminSettings {
        listen: "127.0.0.1:4".parse().unwrap(),
        hosts: vec!["gateway.internal".into()],
        token: Some(Secret((*b"0123456789abcdef0123456789abcdef").into())),
    };
    assert_eq!(found.admin, Some(admin));
    let target = LogTarget::File("/var/log/ringway.log".into());
    assert_eq!(found.log, LogSettings { access: AccessFormat::Off, target, level: LogLevel::Trace });
}

#[test]
fn upstreams_keep_the_order_of_the_file_and_take_every_balance() {
    let text = r#"
        upstream.z = { targets = "http://a", balance = "least_connections" }
        upstream.y = { targets = { url = "unix:/s", weight = 7 }, balance = "p2c", keepalive = 0, max_inflight = 1 }
        upstream.b = { targets = ["http://a", { url = "http://b:81" }], balance = "random" }
        upstream.a = { targets = "http://a", balance = "hash" }
        upstream.c = { targets = "http://a", balance = "hash", hash_on = "header:X-Key" }
        upstream.d = { targets = "http://a", balance = "hash", hash_on = "cookie:Key" }
        upstream.e = { targets = "http://a", balance = "hash", hash_on = "query:Key" }
        upstream.f = { targets = "http://a", balance = "hash", hash_on = "path" }
        upstream.g = { targets = "http://a", balance = "hash", hash_on = "consumer" }
    "#;
    let found = plan(text).upstreams;
    let names: Vec<_> = found.iter().map(|upstream| &*upstream.name).collect();
    assert_eq!(names, ["z", "y", "b", "a", "c", "d", "e", "f", "g"]);
    let balances: Vec<_> = found.iter().map(|upstream| upstream.balance.clone()).collect();
    assert_eq!(
        balances,
        [
            Balance::LeastConnections,
            Balance::P2c,
            Balance::Random,
            Balance::Hash(HashOn::Ip),
            Balance::Hash(HashOn::Header("x-key".into())),
            Balance::Hash(HashOn::Cookie("Key".into())),
            Balance::Hash(HashOn::Query("Key".into())),
            Balance::Hash(HashOn::Path),
            Balance::Hash(HashOn::Consumer),
        ]
    );
    assert_eq!((found[1].targets[0].weight, found[1].keepalive, found[1].max_inflight), (7, 0, Some(1)));
    assert_eq!(&*found[2].targets[1].authority, "b:81");
}

#[test]
fn every_way_to_match_is_taken() {
    let found = route(
        r#"
        name = "all"
        host = ["A.example.com", "*.b.example.com"]
        path = ["/x/{id}", "/y/*"]
        method = ["GET", "PURGE"]
        headers = { X-Version = "2", x-beta = "*" }
        query = { beta = "1", any = "*" }
        priority = -3
        upstream = "up"
    "#,
    );
    assert_eq!(
        found.hosts,
        [HostPattern::Exact("a.example.com".into()), HostPattern::Wildcard("b.example.com".into())]
    );
    assert_eq!(found.paths.len(), 2);
    assert_eq!(found.methods, ["GET", "PURGE"].map(Arc::<str>::from));
    let condition =
        |name: &str, value: Option<&str>| Condition { name: name.into(), value: value.map(Into::into) };
    assert_eq!(found.headers, [condition("x-version", Some("2")), condition("x-beta", None)]);
    assert_eq!(found.query, [condition("beta", Some("1")), condition("any", None)]);
    assert_eq!((found.priority, &*found.name), (-3, "all"));
    assert_eq!(route("host = \"*\"\npath = \"/\"\nrespond = {}").hosts, []);
}

#[test]
fn every_action_and_policy_is_taken() {
    let found = route(
        r#"
        path = "/x/{id}/*"
        upstream = "up"
        rewrite = "/{id}/{rest}"
        host_header = "api.internal:81"
        timeout = "60s"
        max_inflight = 1000000
        request_headers = { set = { x-b = "1", X-a = "2" }, add = { x-c = "3" }, remove = ["Cookie"] }
        response_headers.remove = ["server"]
        deprecated = { since = 2026-01-31, sunset = "2027-01-31", link = "https://example.com/v1" }
    "#,
    );
    let Action::Proxy(proxy) = found.action else { panic!("a proxy") };
    assert_eq!(proxy.host, HostHeader::Literal("api.internal:81".into()));
    let text = |text: &str| Piece::Text(text.into());
    let capture = |name: &str| Piece::Capture(name.into());
    let rewrite = Template(vec![text("/"), capture("id"), text("/"), capture("rest")]);
    assert_eq!(proxy.path, PathEdit::Rewrite(rewrite));
    assert_eq!((found.timeout, found.max_inflight), (Some(Duration::from_secs(60)), Some(1_000_000)));
    let edits = HeaderEdits {
        remove: vec!["Cookie".into()],
        set: vec![("x-b".into(), "1".into()), ("X-a".into(), "2".into())],
        add: vec![("x-c".into(), "3".into())],
    };
    assert_eq!(found.request_headers, edits, "names as written, in the file's order");
    assert_eq!(found.response_headers.remove, ["server"].map(Arc::<str>::from));
    let deprecated = Deprecated {
        deprecation: "@1769817600".into(),
        sunset: Some("Sun, 31 Jan 2027 00:00:00 GMT".into()),
        link: Some("<https://example.com/v1>; rel=\"deprecation\"".into()),
    };
    assert_eq!(found.deprecated, Some(deprecated));
    let strip = route("path = \"/x/*\"\nupstream = \"up\"\nstrip_prefix = true\nhost_header = \"client\"");
    let action = Proxy { upstream: 0, path: PathEdit::StripPrefix, host: HostHeader::Client };
    assert_eq!(strip.action, Action::Proxy(action));
    let respond = route("path = \"/x\"\nrespond = { status = 418, body = \"tea\" }");
    let action = Respond { status: 418, body: (*b"tea").into(), content_type: Some("text/plain".into()) };
    assert_eq!(respond.action, Action::Respond(action));
}

#[test]
fn a_routes_own_policy_replaces_the_default_and_can_switch_it_off() {
    let text = r#"
        [defaults]
        timeout = "5s"
        max_inflight = 5
        host_header = "client"
        request_headers = { remove = ["cookie"] }
        response_headers = { set = { x = "1" } }
        deprecated = true
        [[route]]
        path = "/kept"
        upstream = "up"
        [[route]]
        path = "/replaced"
        upstream = "up"
        timeout = "1s"
        max_inflight = 1
        host_header = "upstream"
        response_headers = { remove = ["y"] }
        deprecated = { sunset = "2027-01-31" }
        [[route]]
        path = "/off"
        upstream = "up"
        timeout = false
        max_inflight = false
        request_headers = false
        response_headers = {}
        deprecated = false
        [upstream.up]
        targets = "http://a"
    "#;
    let routes = plan(text).routes;
    let host = |route: &RoutePlan| match &route.action {
        Action::Proxy(proxy) => proxy.host.clone(),
        _ => panic!("a proxy"),
    };
    let [kept, replaced, off] = &routes[..] else { panic!("three routes") };
    assert_eq!((kept.timeout, kept.max_inflight), (Some(Duration::from_secs(5)), Some(5)));
    assert_eq!(host(kept), HostHeader::Client);
    assert_eq!(kept.request_headers.remove, ["cookie"].map(Arc::<str>::from));
    assert_eq!(kept.response_headers.set.len(), 1);
    assert_eq!(&*kept.deprecated.as_ref().unwrap().deprecation, "true");
    assert_eq!((replaced.timeout, replaced.max_inflight), (Some(Duration::from_secs(1)), Some(1)));
    assert_eq!(host(replaced), HostHeader::Upstream);
    assert_eq!(replaced.request_headers, kept.request_headers);
    assert_eq!(replaced.response_headers.set.len(), 0, "replaced, not merged");
    assert!(replaced.deprecated.as_ref().unwrap().sunset.is_some());
    assert_eq!((off.timeout, off.max_inflight, &off.deprecated), (None, None, &None));
    assert_eq!(
        (&off.request_headers, &off.response_headers),
        (&HeaderEdits::default(), &HeaderEdits::default())
    );
}

#[test]
fn a_breaker_has_the_defaults_of_the_contract_and_can_be_switched_off() {
    let breaker = |keys: &str| {
        let text = format!(
            "[upstream.users]\ntargets = [\"http://127.0.0.1:3001\"]\n{keys}\n[[route]]\npath = \"/x\"\nupstream = \"users\""
        );
        plan(&text).upstreams[0].breaker.clone()
    };
    assert_eq!(breaker("breaker = false"), None);
    assert_eq!(breaker(""), Some(BreakerPlan::CONNECTS_ONLY));
    let seconds = Duration::from_secs;
    let defaults = BreakerPlan {
        failures: 5,
        counts: CountedFailures::All,
        failure_status: vec![500, 502, 503, 504],
        open_for: seconds(30),
        max_open_for: seconds(300),
        half_open: 1,
        max_ejected: 0.5,
        all_open: AllOpen::Refuse,
    };
    assert_eq!(breaker("breaker = {}").as_ref(), Some(&defaults));
    let text = "[upstream.users.breaker]\nfailures = 2\nfailure_status = [503, 429, 503]\nopen_for = \"10m\"\n\
                half_open = 3\nmax_ejected = 1";
    let all_set = BreakerPlan {
        failures: 2,
        failure_status: vec![429, 503],
        open_for: seconds(600),
        max_open_for: seconds(600),
        half_open: 3,
        max_ejected: 1.0,
        ..defaults
    };
    assert_eq!(breaker(text), Some(all_set));
}

#[test]
fn retries_have_the_defaults_of_the_contract() {
    let retry = |keys: &str| {
        let text = format!(
            "[upstream.users]\ntargets = [\"http://127.0.0.1:3001\"]\n{keys}\n[[route]]\npath = \"/x\"\nupstream = \"users\""
        );
        plan(&text).upstreams[0].retry.clone()
    };
    assert_eq!(retry(""), RetryPlan::CONNECTS_ONLY);
    let defaults = RetryPlan {
        attempts: 1,
        on_connect: true,
        on_reset: true,
        on_timeout: false,
        on_status: vec![],
        budget: Some(0.2),
    };
    assert_eq!(retry("retry = {}"), defaults);
    assert_eq!(retry("retry.attempts = 0"), RetryPlan { attempts: 0, ..defaults.clone() });
    let text =
        "[upstream.users.retry]\nattempts = 3\non = [\"503\", \"timeout\", \"502\", \"503\"]\nbudget = 1";
    let all_set = RetryPlan {
        attempts: 3,
        on_connect: false,
        on_reset: false,
        on_timeout: true,
        on_status: vec![502, 503],
        budget: Some(1.0),
    };
    assert_eq!(retry(text), all_set);
}
