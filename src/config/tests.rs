//! A configuration's problems, defaults and meaning, from text.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan::*;
use super::problems::Problems;
use super::{Loaded, Outside, Shadow, Shadowed, load, parse, schema, summary};

const NO_SHADOWS: Shadowed<'static> = &|_| Vec::new();

fn outside(shadowed: Shadowed<'_>) -> Outside<'_> {
    Outside { shadowed, is_dir: &|path| path == Path::new("/var/log") || path == Path::new(".") }
}

fn read(text: &str) -> Result<Loaded, Problems> {
    parse(text, "f.toml", outside(NO_SHADOWS))
}

fn plan(text: &str) -> Plan {
    read(text).unwrap_or_else(|problems| panic!("{}", problems.render(false))).plan
}

/// A route of these lines, where `up` is an upstream.
fn route(lines: &str) -> Route {
    let text = format!("upstream.up.targets = \"http://127.0.0.1\"\n[[route]]\n{lines}");
    plan(&text).routes[0].as_ref().clone()
}

/// Every problem, warnings too, as `line:column: message (hint)`.
fn problems(text: &str) -> Vec<String> {
    let found = match read(text) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    found.lines().map(|line| line.strip_prefix("f.toml:").expect("each names its file").to_string()).collect()
}

/// Each text has one problem: at this place, with these words in the message or the hint.
fn each_has_one_problem(rows: &[(&str, &str, &str)]) {
    for (text, place, words) in rows {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        assert!(found[0].starts_with(&format!("{place}: ")), "{text}\nwanted {place}: {}", found[0]);
        assert!(found[0].contains(words), "{text}\nwanted {words}: {}", found[0]);
    }
}

/// The same for lines under a `[[route]]` that has what it needs; `place` counts from the first of them.
fn each_route_has_one_problem(rows: &[(&str, &str, &str)]) {
    for (lines, place, words) in rows {
        let (line, column) = place.split_once(':').expect("line:column");
        let head = "upstream.up.targets = \"http://127.0.0.1\"\n[[route]]\n";
        let rest = "[[route]]\npath=\"/other\"\nupstream=\"up\"\n";
        let line: usize = line.parse::<usize>().expect("a number") + 2;
        each_has_one_problem(&[(&format!("{head}{lines}\n{rest}"), &format!("{line}:{column}"), words)]);
    }
}

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
            limits: Limits {
                header_bytes: 16 * 1024,
                header_count: 96,
                body_bytes: 64 * 1024 * 1024,
                header_timeout: seconds(10),
                body_timeout: seconds(30),
                keepalive_timeout: seconds(75),
                max_connections: 10_000,
            },
        },
        admin: None,
        log: Log { access: AccessFormat::Json, target: LogTarget::Stdout, level: Level::Info },
        upstreams: vec![],
        routes: vec![],
    };
    assert_eq!(found, want);
    assert_eq!(plan("[admin]").admin, Some("127.0.0.1:9901".parse::<SocketAddr>().unwrap()));
}

#[test]
fn upstreams_and_routes_have_the_defaults_of_the_contract() {
    let found = plan(
        "[upstream.users]\ntargets = [\"http://127.0.0.1:3001\"]\n[[route]]\npath = \"/x\"\nupstream = \"users\"",
    );
    let seconds = Duration::from_secs;
    let upstream = Upstream {
        name: "users".into(),
        targets: vec![Target {
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
    };
    let route = Route {
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
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        deprecated: None,
        timeout: None,
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
        limits = { header_bytes = "1KiB", header_count = 1000, body_bytes = "0", header_timeout = "1ms", body_timeout = "2s", keepalive_timeout = "3m", max_connections = 1 }
        [admin]
        listen = "127.0.0.1:4"
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
    let limits = Limits {
        header_bytes: 1024,
        header_count: 1000,
        body_bytes: u64::MAX,
        header_timeout: Duration::from_millis(1),
        body_timeout: Duration::from_secs(2),
        keepalive_timeout: Duration::from_secs(180),
        max_connections: 1,
    };
    assert_eq!(found.server.limits, limits);
    assert_eq!(found.admin, Some("127.0.0.1:4".parse().unwrap()));
    let target = LogTarget::File("/var/log/ringway.log".into());
    assert_eq!(found.log, Log { access: AccessFormat::Off, target, level: Level::Trace });
}

#[test]
fn upstreams_keep_the_order_of_the_file_and_take_every_balance() {
    let text = r#"
        upstream.z = { targets = "http://a", balance = "least_connections" }
        upstream.y = { targets = { url = "unix:/s", weight = 7 }, balance = "p2c", keepalive = 0 }
        upstream.b = { targets = ["http://a", { url = "http://b:81" }], balance = "random" }
        upstream.a = { targets = "http://a", balance = "hash" }
        upstream.c = { targets = "http://a", balance = "hash", hash_on = "header:X-Key" }
        upstream.d = { targets = "http://a", balance = "hash", hash_on = "cookie:Key" }
        upstream.e = { targets = "http://a", balance = "hash", hash_on = "query:Key" }
        upstream.f = { targets = "http://a", balance = "hash", hash_on = "path" }
    "#;
    let found = plan(text).upstreams;
    let names: Vec<_> = found.iter().map(|upstream| &*upstream.name).collect();
    assert_eq!(names, ["z", "y", "b", "a", "c", "d", "e", "f"]);
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
        ]
    );
    assert_eq!((found[1].targets[0].weight, found[1].keepalive), (7, 0));
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
    assert_eq!(found.methods, ["GET".into(), "PURGE".into()]);
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
    assert_eq!(found.timeout, Some(Duration::from_secs(60)));
    let edits = HeaderEdits {
        remove: vec!["Cookie".into()],
        set: vec![("x-b".into(), "1".into()), ("X-a".into(), "2".into())],
        add: vec![("x-c".into(), "3".into())],
    };
    assert_eq!(found.request_headers, edits, "names as written, in the file's order");
    assert_eq!(found.response_headers.remove, ["server".into()]);
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
        host_header = "upstream"
        response_headers = { remove = ["y"] }
        deprecated = { sunset = "2027-01-31" }
        [[route]]
        path = "/off"
        upstream = "up"
        timeout = false
        request_headers = false
        response_headers = {}
        deprecated = false
        [upstream.up]
        targets = "http://a"
    "#;
    let routes = plan(text).routes;
    let host = |route: &Route| match &route.action {
        Action::Proxy(proxy) => proxy.host.clone(),
        _ => panic!("a proxy"),
    };
    let [kept, replaced, off] = &routes[..] else { panic!("three routes") };
    assert_eq!(kept.timeout, Some(Duration::from_secs(5)));
    assert_eq!(host(kept), HostHeader::Client);
    assert_eq!(kept.request_headers.remove, ["cookie".into()]);
    assert_eq!(kept.response_headers.set.len(), 1);
    assert_eq!(&*kept.deprecated.as_ref().unwrap().deprecation, "true");
    assert_eq!(replaced.timeout, Some(Duration::from_secs(1)));
    assert_eq!(host(replaced), HostHeader::Upstream);
    assert_eq!(replaced.request_headers, kept.request_headers);
    assert_eq!(replaced.response_headers.set.len(), 0, "replaced, not merged");
    assert!(replaced.deprecated.as_ref().unwrap().sunset.is_some());
    assert_eq!((off.timeout, &off.deprecated), (None, &None));
    assert_eq!(
        (&off.request_headers, &off.response_headers),
        (&HeaderEdits::default(), &HeaderEdits::default())
    );
}

#[test]
fn syntax_errors_are_shown_where_the_parser_found_them() {
    let found = problems("[server]\nlisten = \"127.0.0.1:80\nshards = 1\n");
    assert!(found[0].starts_with("2:"), "{found:?}");
    let found = problems("a = 1\na = 2\n");
    assert!(found[0].starts_with("2:1: duplicate key"), "{found:?}");
}

#[test]
fn unknown_keys_are_errors_that_name_the_nearest_one() {
    each_has_one_problem(&[
        ("sever = {}\nroute = []", "1:1", "unknown key `sever` (did you mean `server`?)"),
        ("route = []\n[server]\nlimit = {}", "3:1", "did you mean `limits`?"),
        ("route = []\n[server.limits]\nmax_connection = 1", "3:1", "did you mean `max_connections`?"),
        ("route = []\n[admin]\nlisten_on = \"\"", "3:1", "did you mean `listen`?"),
        ("route = []\n[log]\nacess = \"json\"", "3:1", "did you mean `access`?"),
        ("route = []\n[defaults]\npath = \"/\"", "3:1", "`path` is a key of `[[route]]`"),
        ("route = []\n[admin]\nshards = 1", "3:1", "`shards` is a key of `[server]`"),
    ]);
    each_route_has_one_problem(&[
        ("path = \"/x\"\nupstrem = \"up\"", "2:1", "did you mean `upstream`?"),
        ("pth = \"/x\"\nupstream = \"up\"", "1:1", "did you mean `path`?"),
        ("path = \"/x\"\nrespond = { code = 200 }", "2:13", "known here: status, body, content_type"),
        ("path = \"/x\"\nredirect = { too = \"/y\" }", "2:14", "did you mean `to`?"),
        ("path = \"/x\"\nrespond = {}\nresponse_headers = { sett = {} }", "3:22", "did you mean `set`?"),
    ]);
}

#[test]
fn keys_of_later_versions_are_refused_as_not_supported_yet() {
    for key in schema::SCHEMA.iter().filter(|key| !key.supported) {
        let (section, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        let text = match section {
            "" => format!("route = []\n{name} = {{}}"),
            "route" => format!("[[route]]\npath = \"/x\"\nrespond = {{}}\n{name} = {{}}"),
            "upstream.NAME" => format!(
                "[upstream.up]\ntargets = \"http://a\"\n{name} = {{}}\n[[route]]\npath = \"/x\"\nupstream = \"up\""
            ),
            _ => format!("route = []\n[{section}]\n{name} = {{}}"),
        };
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{text}\n{found:?}");
        assert!(found[0].contains(&format!("`{name}` is not supported yet")), "{found:?}");
    }
}

#[test]
fn values_of_the_wrong_kind_are_told_what_to_write() {
    each_has_one_problem(&[
        ("route = []\nserver = 1", "2:10", "`server` must be a table, not an integer"),
        (
            "route = []\n[server]\nlisten = 8080",
            "3:10",
            "must be a string or a list of strings, not an integer",
        ),
        ("route = []\n[server]\nlisten = [80]", "3:11", "`listen` must be a string, not an integer"),
        ("route = []\n[server]\nlisten = []", "3:10", "empty list"),
        ("route = []\n[server]\nshards = true", "3:10", "write shards = 2 or shards = \"auto\""),
        ("route = []\n[server]\nshards = 1.5", "3:10", "not a float"),
        ("route = []\n[server]\npin_cores = \"yes\"", "3:13", "must be true or false, not a string"),
        (
            "route = []\n[server]\ndrain_timeout = 10",
            "3:17",
            "must be a duration, not an integer (write \"10s\")",
        ),
        ("route = []\n[server]\ntrusted_proxies = \"10.0.0.0/8\"", "3:19", "must be a list of strings"),
        (
            "route = []\n[server.limits]\nheader_bytes = 16384",
            "3:16",
            "must be a size, not an integer (write \"16384B\")",
        ),
        (
            "route = []\n[server.limits]\nheader_count = \"96\"",
            "3:16",
            "must be a whole number, not a string",
        ),
        ("[route]\npath = \"/x\"", "1:1", "write `[[route]]`"),
        ("route = []\n[[upstream]]\nname = \"x\"", "2:1", "write `[upstream.NAME]`"),
        ("route = []\n[upstream]\ntargets = [\"http://a\"]", "3:11", "write `[upstream.NAME]`"),
    ]);
    each_route_has_one_problem(&[
        ("path = 1\nupstream = \"up\"", "1:8", "must be a string or a list"),
        ("path = \"/x\"\nupstream = [\"up\"]", "2:12", "must be a string, not an array"),
        ("path = \"/x\"\nrespond = \"hello\"", "2:11", "must be a table, not a string"),
        ("path = \"/x\"\nrespond = {}\ntimeout = true", "3:11", "must be a duration"),
        ("path = \"/x\"\nrespond = {}\nheaders = { x = 1 }", "3:17", "`x` must be a string"),
        ("path = \"/x\"\nrespond = {}\nresponse_headers = true", "3:20", "to switch it off"),
        ("path = \"/x\"\nrespond = {}\ndeprecated = \"yes\"", "3:14", "a table, true or false"),
    ]);
}

#[test]
fn server_values_out_of_range_are_refused() {
    each_has_one_problem(&[
        ("route=[]\nserver.listen = \"here\"", "2:17", "add a port"),
        ("route=[]\nserver.shards = 0", "2:17", "from 1 to 1024"),
        ("route=[]\nserver.shards = \"many\"", "2:17", "one of \"auto\""),
        ("route=[]\nserver.driver = \"iouring\"", "2:17", "did you mean \"io_uring\"?"),
        ("route=[]\nserver.drain_timeout = \"0s\"", "2:24", "no time at all"),
        ("route=[]\nserver.trusted_proxies = [\"10/8\"]", "2:27", "neither a network nor"),
        ("route=[]\nserver.trusted_proxies = [\"10.1.2.3/8\"]", "2:27", "write \"10.0.0.0/8\""),
        ("route=[]\nserver.limits.header_bytes = \"1023B\"", "2:30", "from \"1KiB\" to \"1MiB\""),
        ("route=[]\nserver.limits.header_bytes = \"2MiB\"", "2:30", "out of range"),
        ("route=[]\nserver.limits.header_count = 1001", "2:30", "from 1 to 1000"),
        ("route=[]\nserver.limits.max_connections = 0", "2:33", "from 1 to"),
        ("route=[]\nserver.limits.max_connections = 99999999999999999999", "2:33", "out of range"),
        ("route=[]\nserver.limits.body_bytes = \"1TB\"", "2:28", "not a size"),
        ("route=[]\nadmin.listen = \"9901\"", "2:16", "write \"0.0.0.0:9901\""),
        ("route=[]\nlog.access = \"text\"", "2:14", "\"json\", \"common\", \"off\""),
        ("route=[]\nlog.level = \"warning\"", "2:13", "did you mean \"warn\"?"),
        ("route=[]\nlog.target = \"\"", "2:14", "not a file"),
        ("route=[]\nlog.target = \"/var/log\"", "2:14", "not a file"),
        ("route=[]\nlog.target = \"stderr\"", "2:14", "/dev/stderr"),
        ("route=[]\nlog.target = \"/nowhere/access.log\"", "2:14", "there is no directory `/nowhere`"),
    ]);
}

#[test]
fn a_port_given_twice_is_an_error_and_port_0_never_is() {
    each_has_one_problem(&[
        ("route=[]\nserver.listen = [\":80\", \"127.0.0.1:80\"]", "2:25", "port 80 is given twice"),
        (
            "route=[]\nserver.listen = \":80\"\nadmin.listen = \"0.0.0.0:80\"",
            "3:16",
            "port 80 is given twice",
        ),
        ("route=[]\n[admin]\nlisten = \"127.0.0.1:8080\"", "3:10", "port 8080 is given twice"),
    ]);
    assert_eq!(
        problems("route=[]\nserver.listen = [\":0\", \":0\"]\nadmin.listen = \":0\""),
        Vec::<String>::new()
    );
    assert_eq!(problems("route=[]\nserver.listen = [\"0.0.0.0:80\", \"[::]:80\"]"), Vec::<String>::new());
}

#[test]
fn upstream_values_out_of_range_are_refused() {
    let rows = [
        ("", "1:1", "has no `targets`"),
        ("targets = []", "2:11", "at least one"),
        ("targets = [\"https://a\"]", "2:12", "`https://` is not supported yet"),
        ("targets = [\"http://a/x\"]", "2:12", "`rewrite` changes the path"),
        ("targets = [\"http://a:0\"]", "2:12", "from 1 to 65535"),
        ("targets = [\"a:80\"]", "2:12", "is not a target"),
        ("targets = [{ weight = 2 }]", "2:12", "a target without `url`"),
        ("targets = [{ uri = \"http://a\" }]", "2:14", "did you mean `url`?"),
        ("targets = [{ url = \"http://a\", weight = 0 }]", "2:41", "from 1 to 65535"),
        ("targets = [{ url = \"http://a\", weight = 65536 }]", "2:41", "from 1 to 65535"),
        ("targets = \"http://a\"\nbalance = \"round-robin\"", "3:11", "did you mean \"round_robin\"?"),
        ("targets = \"http://a\"\nhash_on = \"ip\"", "3:11", "does nothing without"),
        ("targets = \"http://a\"\nbalance = \"hash\"\nhash_on = \"consumer\"", "4:11", "not supported yet"),
        ("targets = \"http://a\"\nbalance = \"hash\"\nhash_on = \"body\"", "4:11", "is not known"),
        ("targets = \"http://a\"\nbalance = \"hash\"\nhash_on = \"header:\"", "4:11", "has no name"),
        (
            "targets = \"http://a\"\nbalance = \"hash\"\nhash_on = \"cookie:a b\"",
            "4:11",
            "that none can have",
        ),
        ("targets = \"http://a\"\nconnect_timeout = \"0ms\"", "3:19", "no time at all"),
        ("targets = \"http://a\"\nkeepalive = -1", "3:13", "from 0 to 65535"),
    ];
    for (lines, place, words) in rows {
        let text = format!("[upstream.up]\n{lines}\n[[route]]\npath=\"/x\"\nupstream=\"up\"");
        each_has_one_problem(&[(&text, place, words)]);
    }
}

#[test]
fn what_a_route_matches_is_checked() {
    let ok = "upstream = \"up\"";
    let rows = [
        ("", "0:1", "a route without `path`"),
        ("path = []", "1:8", "empty list"),
        ("path = \"x\"", "1:8", "write \"/x\""),
        ("path = [\"/x\", \"/a b\"]", "1:15", "write \"a%20b\""),
        ("path = [\"/x/{a}\", \"/x/{a}\"]", "1:8", "says the same twice"),
        ("path = \"/x\"\nhost = \"a.com:80\"", "2:8", "without a port"),
        ("path = \"/x\"\nhost = [\"*\", \"a.com\"]", "2:9", "any host"),
        ("path = \"/x\"\nhost = [\"a.com\", \"A.com\"]", "2:8", "says the same twice"),
        ("path = \"/x\"\nmethod = \"get\"", "2:10", "write \"GET\""),
        ("path = \"/x\"\nmethod = \"CONNECT\"", "2:10", "refuses CONNECT"),
        ("path = \"/x\"\nmethod = \"GET POST\"", "2:10", "is not a method"),
        ("path = \"/x\"\nheaders = { \"a b\" = \"1\" }", "2:13", "is not a field name"),
        ("path = \"/x\"\nheaders = { Host = \"1\" }", "2:13", "use the route's `host`"),
        ("path = \"/x\"\nheaders = { a = \"1\", A = \"1\" }", "2:22", "field names have no case"),
        ("path = \"/x\"\nheaders = { a = \" 1\" }", "2:17", "ends with a blank"),
        ("path = \"/x\"\nquery = { \"\" = \"1\" }", "2:11", "without a name"),
        ("path = \"/x\"\npriority = 99999999999999999999", "2:12", "out of range"),
        ("path = \"/x\"\nname = \"\"", "2:8", "is not a name"),
    ];
    let rows: Vec<_> = rows.map(|(lines, place, words)| (format!("{lines}\n{ok}"), place, words)).into();
    let rows: Vec<_> = rows.iter().map(|(lines, place, words)| (lines.as_str(), *place, *words)).collect();
    each_route_has_one_problem(&rows);
}

#[test]
fn what_a_route_does_is_checked() {
    each_route_has_one_problem(&[
        ("path = \"/x\"", "0:1", "without `upstream`, `respond` or `redirect`"),
        ("path = \"/x\"\nupstream = \"up\"\nrespond = {}", "3:11", "both `upstream` and `respond`"),
        ("path = \"/x\"\nredirect = { to = \"/y\" }\nrespond = {}", "3:11", "both `redirect` and `respond`"),
        ("path = \"/x\"\nupstream = \"upp\"", "2:12", "there is no upstream `upp` (did you mean `up`?)"),
        ("path = \"/x\"\nupstream = \"users\"", "2:12", "add a section `[upstream.users]`"),
        ("path = \"/x\"\nupstream = \"up\"\nstrip_prefix = true", "3:16", "finds no prefix in `/x`"),
        ("path = \"/x/*\"\nupstream = \"up\"\nstrip_prefix = true\nrewrite = \"/\"", "4:11", "together"),
        ("path = \"/x/{id}\"\nupstream = \"up\"\nrewrite = \"/{idd}\"", "3:11", "did you mean `{id}`?"),
        ("path = \"/x/*\"\nupstream = \"up\"\nrewrite = \"/{name}\"", "3:11", "it captures `{rest}`"),
        (
            "path = [\"/{a}\", \"/x\"]\nupstream = \"up\"\nrewrite = \"/{a}\"",
            "3:11",
            "which `/x` does not capture",
        ),
        ("path = \"/x\"\nupstream = \"up\"\nrewrite = \"y\"", "3:11", "write \"/y\""),
        ("path = \"/x\"\nupstream = \"up\"\nrewrite = \"/y?z\"", "3:11", "more than a path"),
        (
            "path = \"/x\"\nrespond = {}\nrewrite = \"/y\"",
            "3:11",
            "does nothing on a route without `upstream`",
        ),
        ("path = \"/x\"\nrespond = {}\nhost_header = \"client\"", "3:15", "does nothing"),
        ("path = \"/x\"\nrespond = { status = 199 }", "2:22", "from 200 to 599"),
        ("path = \"/x\"\nrespond = { status = 204, body = \"x\" }", "2:34", "has no body"),
        ("path = \"/x\"\nrespond = { content_type = \"a\\nb\" }", "2:28", "control characters"),
        ("path = \"/x\"\nredirect = { to = \"/y\", status = 200 }", "2:34", "one of 301"),
        ("path = \"/x\"\nredirect = {}", "2:12", "a redirect without `to`"),
        ("path = \"/x/*\"\nredirect = { to = \"https://{rest}/\" }", "2:19", "choose the host"),
        ("path = \"/x\"\nredirect = { to = \"/{id}\" }", "2:19", "it captures nothing"),
    ]);
}

#[test]
fn what_a_routes_policies_say_is_checked() {
    let rows = [
        ("host_header = \"a b\"", "3:15", "\"upstream\", \"client\""),
        ("timeout = \"0s\"", "3:11", "no time at all"),
        ("request_headers.set = { \"a:\" = \"1\" }", "3:25", "is not a field name"),
        ("request_headers.set = { host = \"a\" }", "3:25", "use `host_header`"),
        ("request_headers.add = { Transfer-Encoding = \"chunked\" }", "3:25", "cannot be edited"),
        ("response_headers.remove = [\"Content-Length\"]", "3:28", "cannot be edited"),
        ("response_headers.set = { a = \"x\\r\\ny: z\" }", "3:30", "control characters"),
        ("response_headers.set = { a = \"1\", A = \"2\" }", "3:35", "there twice"),
        ("deprecated = { sunset = \"2027-02-30\" }", "3:25", "a day that exists"),
        ("deprecated = { sunset = \"soon\" }", "3:25", "write \"2027-01-31\""),
        ("deprecated = { since = 2027-01-31T10:00:00Z }", "3:24", "is not a date"),
        ("deprecated = { since = \"2027-02-01\", sunset = \"2027-01-31\" }", "3:47", "before `since`"),
        ("deprecated = { link = \"a>b\" }", "3:23", "https://example.com"),
    ];
    let start = "path = \"/x\"\nupstream = \"up\"\n";
    let rows: Vec<_> = rows.map(|(line, place, words)| (format!("{start}{line}"), place, words)).into();
    let rows: Vec<_> = rows.iter().map(|(lines, place, words)| (lines.as_str(), *place, *words)).collect();
    each_route_has_one_problem(&rows);
}

#[test]
fn route_names_are_given_once() {
    let route = |name: &str, path: &str| format!("[[route]]\n{name}\npath = \"{path}\"\nrespond = {{}}\n");
    let text = route("name = \"a\"", "/1") + &route("name = \"a\"", "/2");
    each_has_one_problem(&[(&text, "6:8", "route name `a` is given twice")]);
    assert!(read(&text).unwrap_err().render(false).contains("first here"), "it shows both places");
    let text = route("", "/1") + &route("name = \"route-1\"", "/2");
    each_has_one_problem(&[(&text, "6:8", "`route-1` is given twice")]);
}

#[test]
fn unused_upstreams_and_a_file_without_routes_are_warnings_only() {
    let text = "[upstream.idle]\ntargets = \"http://a\"\n[[route]]\npath = \"/\"\nrespond = {}";
    each_has_one_problem(&[
        (text, "1:11", "upstream `idle` is never used"),
        ("", "1:1", "answered with 404"),
    ]);
    let warnings = read(text).expect("a warning keeps nothing from running").warnings;
    assert!(!warnings.has_errors() && warnings.iter().all(|problem| problem.is_warning()));
    assert!(warnings.render(false).starts_with("warning: "));
}

#[test]
fn routes_that_can_never_match_are_errors_that_show_both() {
    let text = "[[route]]\nname = \"a\"\npath = \"x\"\nrespond = {}\n\
                [[route]]\nname = \"b\"\npath = \"/*\"\nrespond = {}\n\
                [[route]]\nname = \"c\"\npath = \"/x\"\nupstream = \"none\"\n\
                [[route]]\nname = \"d\"\npath = \"/*\"\nrespond = {}\n";
    // The first route has no path that could be compared, the third no action; the others keep their places.
    let shadowed = |routes: &[Arc<Route>]| {
        assert_eq!(routes.iter().map(|route| &*route.name).collect::<Vec<_>>(), ["b", "c", "d"]);
        vec![Shadow { dead: 1, by: 0, same: false }, Shadow { dead: 2, by: 0, same: true }]
    };
    let found = parse(text, "f", outside(&shadowed)).unwrap_err();
    let lines: Vec<_> = found.lines().collect();
    assert!(lines[1].starts_with("f:9:1: route `c` can never match: route `b` takes all"), "{lines:#?}");
    assert!(lines[3].starts_with("f:13:1: route `d` matches exactly what route `b` matches"), "{lines:#?}");
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(found.render(false).contains("5 | [[route]]"), "{}", found.render(false));
}

#[test]
fn all_problems_of_a_file_are_reported_in_its_order() {
    let text = r#"
[server]
listen = 80
shards = 0
[serve]
[upstream.up]
targets = ["http://a/x", "ftp://b"]
[store]
url = "redis://127.0.0.1"
[[route]]
path = ["x", "/y z"]
methods = ["GET"]
upstream = "down"
timeout = 5
"#;
    let found = problems(text);
    let places: Vec<_> =
        found.iter().map(|line| line.splitn(3, ':').take(2).collect::<Vec<_>>().join(":")).collect();
    assert_eq!(
        places,
        ["3:10", "4:10", "5:2", "6:11", "7:12", "7:26", "8:2", "11:9", "11:14", "12:1", "13:12", "14:11"],
        "{found:#?}"
    );
}

#[test]
fn a_problem_is_shown_with_its_line_a_caret_and_a_hint() {
    let found = read("[[route]]\npath = \"/x\"\nupstrem = \"users\"\n").unwrap_err();
    let want = "\
error: unknown key `upstrem`
 --> f.toml:3:1
  |
3 | upstrem = \"users\"
  | ^^^^^^^
  |
  = help: did you mean `upstream`?

";
    assert_eq!(found.render(false), want);
    assert!(found.render(true).contains("\u{1b}["), "coloured for a terminal");
}

#[test]
fn secrets_are_never_shown() {
    let hush = "hush-hush";
    for text in [
        format!("jwt.main.secret = \"{hush}\""),
        format!("jwt = {{ main = {{ secret = \"{hush}\" }} }}"),
        format!("consumer = [{{ name = \"a\", api_keys = [\"{hush}\"] }}]"),
        format!("consumer = [{{ name = \"a\", api_keys = [\n\"{hush}\"\n\"{hush}\" ] }}]"),
        format!("store = {{ url = \"redis://me:{hush}@127.0.0.1\" }}"),
        format!("[jwt.main]\nsecret = \"{hush}"),
        format!("[upstream.a]\ntargets = [\"http://me:{hush}@a\"]"),
        format!("[upstream.a]\ntargets = [\"redis://me:{hush}@a\"]"),
    ] {
        let found = read(&text).unwrap_err();
        let shown = found.render(false) + &found.lines().collect::<String>() + &format!("{found:?}");
        assert!(!shown.contains(hush), "{shown}");
    }
}

#[test]
fn an_unreadable_file_and_one_that_is_not_utf_8_are_problems() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.toml");
    let found = load(&path, NO_SHADOWS).unwrap_err();
    assert!(found.render(false).contains("cannot read the configuration: No such file"), "{found:?}");
    assert!(found.render(false).contains("--config FILE"));
    std::fs::write(&path, b"[server]\nlisten = \"\xff\"\n").unwrap();
    let found = load(&path, NO_SHADOWS).unwrap_err();
    assert!(found.lines().next().unwrap().contains("none.toml:2:11: this is not UTF-8"), "{found:?}");
}

#[test]
fn the_starter_and_the_demo_load_without_a_word() {
    for file in ["config/gateway.toml", "config/demo.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let loaded = load(&path, NO_SHADOWS).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
    }
}

#[test]
fn the_schema_and_the_documentation_name_the_same_keys() {
    let doc = include_str!("../../docs/configuration.md");
    let mut documented: Vec<&str> = doc
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split_once('`'))
        .map(|(key, _)| key)
        .collect();
    let mut known: Vec<_> = schema::SCHEMA.iter().map(|key| key.path).collect();
    documented.sort_unstable();
    known.sort_unstable();
    assert_eq!(documented, known);
}

#[test]
fn the_summary_fits_a_screen_however_much_there_is() {
    let route = |n: usize| format!("[[route]]\nname = \"r{n}\"\npath = \"/{n}/*\"\nupstream = \"u{n}\"\n");
    let upstream = |n: usize| format!("[upstream.u{n}]\ntargets = [\"http://a\", \"http://b\"]\n");
    let text: String = (0..100).map(|n| route(n) + &upstream(n)).collect();
    let shown = summary(&plan(&text));
    assert!(shown.lines().count() <= 40, "{shown}");
    assert!(shown.contains("0.0.0.0:8080") && shown.contains("http://a, http://b"), "{shown}");
    assert!(shown.contains("/0/* -> u0") && shown.contains("… and 84 more"), "{shown}");
}

#[test]
fn many_routes_load_in_a_time_that_grows_with_their_number_alone() {
    let text = |routes: usize, wrong: bool| {
        let upstream = if wrong { "none" } else { "up" };
        let head = "upstream.up.targets = \"http://a\"\n".to_string();
        let route = |n| {
            format!("[[route]]\nname = \"r{n}\"\npath = \"/api/{n}/{{id}}\"\nupstream = \"{upstream}\"\n")
        };
        head + &(0..routes).map(route).collect::<String>()
    };
    let took = |text: &str| {
        let start = Instant::now();
        let lines = read(text)
            .map_or_else(|problems| problems.render(false).len(), |loaded| loaded.plan.routes.len());
        assert!(lines > 0);
        start.elapsed()
    };
    for wrong in [false, true] {
        let (few, many) = (took(&text(500, wrong)), took(&text(8_000, wrong)));
        assert!(many < few * 100, "16 times the routes: {few:?}, then {many:?}");
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_every_problem_has_a_place_in_it(text in "[a-z=\\[\\]{}\"'.\n é0-9,#/*]{0,200}") {
            if let Err(found) = read(&text) {
                prop_assert!(found.has_errors());
                let lines = text.lines().count().max(1) + 1;
                for problem in found.iter() {
                    let (line, _) = found.position(problem).expect("a place");
                    prop_assert!(line <= lines);
                }
                found.render(true);
            }
        }

        #[test]
        fn no_value_of_a_route_makes_it_panic(path in ".{0,40}", rewrite in ".{0,40}", host in ".{0,20}") {
            let quote = |text: &str| toml::Value::from(text).to_string();
            let text = format!(
                "[[route]]\npath = {}\nhost = {}\nrewrite = {}\nredirect = {{ to = {} }}",
                quote(&path), quote(&host), quote(&rewrite), quote(&rewrite)
            );
            if let Err(found) = read(&text) {
                found.render(true);
            }
        }
    }
}
