//! Who may come in, from where and how often: `ip`, `cors`, `auth`, `require` and `rate_limit` of routes.

use std::time::Duration;

use super::*;

const HEAD: &str = "jwt.main = { algorithms = [\"HS256\"], secret = \"env:SECRET\" }\n\
                    jwt.next = { algorithms = [\"HS256\"], secret = \"env:SECRET\" }\n";

/// A route that answers by itself and has these lines, where two providers of tokens are.
fn route_with(lines: &str) -> RoutePlan {
    plan(&format!("{HEAD}[[route]]\nname = \"r\"\npath = \"/\"\nrespond = {{}}\n{lines}")).routes[0]
        .as_ref()
        .clone()
}

/// The same route, for lines with a problem.
fn route_frame() -> String {
    format!("{HEAD}[[route]]\npath = \"/\"\nrespond = {{}}\n@")
}

fn words(list: &[&str]) -> Vec<Arc<str>> {
    list.iter().map(|text| (*text).into()).collect()
}

#[test]
fn ip_rules_are_networks_and_single_addresses() {
    let found = route_with("ip = { allow = [\"10.0.0.0/8\", \"::1\"], deny = [\"10.1.0.0/16\"] }").ip;
    let texts = |list: &[ipnet::IpNet]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&found.allow), ["10.0.0.0/8", "::1/128"]);
    assert_eq!(texts(&found.deny), ["10.1.0.0/16"]);
    each_has_one_problem(
        &route_frame(),
        &[
            ("ip = { allow = [\"10/8\"] }", "1:17", "neither a network nor"),
            ("ip = { deny = [\"10.1.2.3/8\"] }", "1:16", "write \"10.0.0.0/8\""),
            ("ip = { allow = [] }", "1:16", "would let nobody in (name networks; leave the key out"),
            ("ip = { denny = [] }", "1:8", "did you mean `deny`?"),
            ("ip = true", "1:6", "to switch it off"),
        ],
    );
}

#[test]
fn cors_has_defaults_and_takes_every_kind_of_origin() {
    let found = route_with("cors = { origins = [\"*\"] }").cors.unwrap();
    let want = Cors {
        origins: vec![Origin::Any],
        methods: words(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
        headers: vec![],
        expose: vec![],
        credentials: false,
        max_age: None,
    };
    assert_eq!(found, want);
    let found = route_with(
        r#"
        [route.cors]
        origins = ["https://App.example.com", "http://localhost:3000", "https://*.example.com:8443", "app://x"]
        methods = ["GET", "PURGE"]
        headers = ["authorization", "X-Custom"]
        expose = ["x-request-id"]
        credentials = true
        max_age = "10m"
    "#,
    );
    let exact = |text: &str| Origin::Exact(text.into());
    let want = Cors {
        origins: vec![
            exact("https://app.example.com"),
            exact("http://localhost:3000"),
            Origin::Below { scheme: "https://".into(), domain: ".example.com:8443".into() },
            exact("app://x"),
        ],
        methods: words(&["GET", "PURGE"]),
        headers: words(&["authorization", "X-Custom"]),
        expose: words(&["x-request-id"]),
        credentials: true,
        max_age: Some(Duration::from_secs(600)),
    };
    assert_eq!(found.cors, Some(want));
}

#[test]
fn cors_that_no_browser_would_follow_is_refused() {
    each_has_one_problem(
        &route_frame(),
        &[
            ("cors = { methods = [\"GET\"] }", "1:8", "`cors` without `origins`"),
            ("cors = { origins = [] }", "1:20", "`cors` without `origins`"),
            ("cors = { origin = [\"*\"] }", "1:10", "did you mean `origins`?"),
            ("cors = { origins = [\"app.example.com\"] }", "1:21", "write \"https://app.example.com\""),
            ("cors = { origins = [\"null\"] }", "1:21", "is not an origin"),
            ("cors = { origins = [\"https://a.com/\"] }", "1:21", "has no path: write \"https://a.com\""),
            ("cors = { origins = [\"https://a.com:443\"] }", "1:21", "leave it out here too"),
            ("cors = { origins = [\"https://a.*.com\"] }", "1:21", "is not an origin"),
            ("cors = { origins = [\"*\"], methods = [\"get\"] }", "1:38", "write \"GET\""),
            ("cors = { origins = [\"*\"], headers = [\"a, b\"] }", "1:38", "a string of its own"),
            (
                "cors = { origins = [\"*\"], credentials = true }",
                "1:21",
                "`*` in `origins` together with `credentials`",
            ),
            (
                "cors = { origins = [\"https://a\"], expose = [\"*\"], credentials = true }",
                "1:45",
                "name the expose",
            ),
            ("cors = { origins = [\"*\"], max_age = \"1ms\" }", "1:37", "whole seconds"),
        ],
    );
}

#[test]
fn auth_names_providers_and_keys_in_their_order() {
    assert_eq!(
        route_with("auth = [\"jwt:next\", \"key\", \"jwt:main\"]").auth,
        [AuthMethod::Jwt(1), AuthMethod::Key, AuthMethod::Jwt(0)]
    );
    each_has_one_problem(
        &route_frame(),
        &[
            ("auth = \"key\"", "1:8", "must be a list of strings"),
            ("auth = [\"keys\"]", "1:9", "did you mean \"key\"?"),
            ("auth = [\"jwt:mian\"]", "1:9", "did you mean \"jwt:main\"?"),
            ("auth = [\"main\"]\nrequire = { scopes = [\"a\"] }", "1:9", "`auth` cannot be `main`"),
            ("auth = [\"jwt:somebody-else\"]", "1:9", "add a section `[jwt.somebody-else]`"),
            ("auth = [\"key\", \"key\"]", "1:16", "is there twice"),
        ],
    );
}

#[test]
fn requirements_are_taken_and_need_someone_to_ask() {
    let lines = "auth = [\"jwt:main\"]\nrequire = { groups = [\"gold\"], permissions = [\"write\"], \
                 scopes = [\"users.read\"], claims = { tenant = \"acme\" } }";
    let want = Require {
        groups: words(&["gold"]),
        permissions: words(&["write"]),
        scopes: words(&["users.read"]),
        claims: vec![("tenant".into(), "acme".into())],
    };
    assert_eq!(route_with(lines).require, want);
    each_has_one_problem(
        &route_frame(),
        &[
            ("require = { groups = [\"gold\"] }", "1:11", "`require` without `auth`"),
            ("auth = []\nrequire = { groups = [\"gold\"] }", "2:11", "`require` without `auth`"),
            ("auth = [\"key\"]\nrequire = { scopes = [\"a\"] }", "2:22", "`scopes` are a token's"),
            ("auth = [\"key\"]\nrequire = { claims = { a = \"b\" } }", "2:22", "`claims` are a token's"),
            ("auth = [\"jwt:main\"]\nrequire = { scopes = [\"a b\"] }", "2:23", "is not one word"),
            ("auth = [\"jwt:main\"]\nrequire = { claims = { admin = true } }", "2:32", "must be a string"),
        ],
    );
}

#[test]
fn a_default_requirement_is_switched_off_with_auth_and_never_forgotten() {
    let defaults = "consumer = [{ name = \"a\" }]\n[defaults]\nrequire = { groups = [\"gold\"] }\n";
    let open =
        plan(&format!("{defaults}auth = [\"key\"]\n[[route]]\npath = \"/\"\nrespond = {{}}\nauth = []"));
    assert_eq!((&open.routes[0].auth, &open.routes[0].require), (&vec![], &Require::default()));
    let text = format!("{defaults}[[route]]\npath = \"/\"\nrespond = {{}}");
    each_has_one_problem("@", &[(&text, "4:1", "the `require` of `[defaults]` without `auth`")]);
}

#[test]
fn a_rate_limit_has_the_defaults_of_the_contract() {
    let found = route_with("rate_limit = [{ rate = \"100/min\" }]").rate_limits;
    let rate = Rate { tokens: 100, period: Period::Minute };
    let want = RateLimit {
        name: "r-1".into(),
        rate,
        burst: None,
        algorithm: RateAlgorithm::TokenBucket,
        by: LimitBy::Consumer,
        mode: LimitMode::Shared,
        on_store_failure: OnStoreFailure::Local,
        headers: Some(Dialect::XRateLimit),
        dry_run: false,
        before_auth: false,
    };
    assert_eq!(found, std::slice::from_ref(&want));
    assert_eq!(want.burst_at(rate), 100);
}

#[test]
fn every_key_of_a_rate_limit_is_taken() {
    let text = r#"
        auth = ["jwt:main"]
        [[route.rate_limit]]
        name = "api"
        rate = "1000/hour"
        burst = 50
        by = "header:X-Tenant"
        mode = "strict"
        on_store_failure = "deny"
        headers = "ietf"
        dry_run = true
        before_auth = true
        [[route.rate_limit]]
        rate = "10/s"
        by = "jwt:Tenant"
        algorithm = "fixed_window"
        mode = "local"
        headers = "off"
        [[route.rate_limit]]
        name = "r-2"
        rate = "10000/day"
        by = "route"
        headers = "kong"
        on_store_failure = "allow"
    "#;
    let found = route_with(text).rate_limits;
    let first = RateLimit {
        name: "api".into(),
        rate: Rate { tokens: 1000, period: Period::Hour },
        burst: Some(50),
        algorithm: RateAlgorithm::TokenBucket,
        by: LimitBy::Header("x-tenant".into()),
        mode: LimitMode::Strict,
        on_store_failure: OnStoreFailure::Deny,
        headers: Some(Dialect::Ietf),
        dry_run: true,
        before_auth: true,
    };
    assert_eq!(found[0], first);
    assert_eq!(first.burst_at(Rate { tokens: 9, period: Period::Day }), 50, "what is written stays");
    assert_eq!(&*found[1].name, "r-3", "a name that is given is nobody else's");
    assert_eq!(
        (&found[1].by, found[1].algorithm),
        (&LimitBy::Claim("Tenant".into()), RateAlgorithm::FixedWindow)
    );
    assert_eq!((found[1].mode, found[1].headers), (LimitMode::Local, None));
    assert_eq!((&found[2].by, found[2].headers), (&LimitBy::Route, Some(Dialect::Kong)));
    assert_eq!(found[2].on_store_failure, OnStoreFailure::Allow);
}

#[test]
fn rate_limits_that_contradict_themselves_are_refused() {
    let rows = [
        ("", "1:16", "a rate limit without `rate`"),
        ("rat = \"1/s\"", "1:17", "did you mean `rate`?"),
        ("rate = \"fast\"", "1:24", "is not a rate"),
        ("rate = \"0/s\"", "1:24", "lets nothing through"),
        ("rate = \"1/s\", burst = 0", "1:39", "from 1 to"),
        ("rate = \"1/s\", name = \"\"", "1:38", "is not a name"),
        ("rate = \"1/s\", by = \"user\"", "1:36", "`by` cannot be"),
        ("rate = \"1/s\", by = \"header:\"", "1:36", "`by` cannot be"),
        ("rate = \"1/s\", by = \"jwt:sub\"", "1:36", "takes no token"),
        ("rate = \"1/s\", mode = \"share\"", "1:38", "did you mean \"shared\"?"),
        ("rate = \"1/s\", algorithm = \"gcra\"", "1:43", "one of \"token_bucket\""),
        ("rate = \"1/s\", on_store_failure = \"open\"", "1:50", "cannot be"),
        ("rate = \"1/s\", headers = \"x\"", "1:41", "cannot be"),
        ("rate = \"1/s\", algorithm = \"fixed_window\", burst = 2", "1:67", "has no `burst`"),
        ("rate = \"1/s\", before_auth = true", "1:45", "add by = \"ip\""),
        ("rate = \"1/s\", before_auth = true, by = \"consumer\"", "1:45", "before it is known"),
        ("rate = \"1/s\", mode = \"local\", on_store_failure = \"deny\"", "1:66", "does nothing"),
    ];
    let rows = rows.map(|(limit, place, words)| (format!("rate_limit = [ {{{limit} }}]"), place, words));
    for (limit, place, words) in &rows {
        each_has_one_problem(&route_frame(), &[(limit, place, words)]);
    }
    each_has_one_problem(
        &route_frame(),
        &[
            (
                "rate_limit = [{ name = \"a\", rate = \"1/s\" }, { name = \"a\", rate = \"2/s\" }]",
                "1:54",
                "given twice",
            ),
            ("rate_limit = { rate = \"1/s\" }", "1:14", "write `[[route.rate_limit]]`"),
        ],
    );
}

#[test]
fn what_is_wrong_in_the_defaults_is_reported_once_however_many_routes_there_are() {
    let routes: String = (0..3).map(|n| format!("[[route]]\npath = \"/{n}\"\nrespond = {{}}\n")).collect();
    for routes in ["route = []\n".to_owned(), routes] {
        let defaults =
            "auth = [\"keys\"]\ncors = {x = 1}\nhost_header = \"a b\"\nrate_limit = [{ rate = \"fast\" }]";
        let routes_first = routes.starts_with("route");
        let text = match routes_first {
            true => format!("{routes}[defaults]\n{defaults}\n"),
            false => format!("[defaults]\n{defaults}\n{routes}"),
        };
        let found = problems(&text);
        for words in ["`auth` cannot be `keys`", "unknown key `x`", "`host_header` cannot", "is not a rate"] {
            assert_eq!(found.iter().filter(|line| line.contains(words)).count(), 1, "{words}\n{found:#?}");
        }
    }
}

#[test]
fn a_route_replaces_each_default_and_can_switch_it_off() {
    let text = r#"
        [jwt.main]
        algorithms = ["HS256"]
        secret = "env:SECRET"
        [defaults]
        ip = { deny = ["192.0.2.1"] }
        cors = { origins = ["*"] }
        auth = ["jwt:main"]
        require = { scopes = ["a"] }
        rate_limit = [{ rate = "1/s", by = "jwt:sub" }]
        [[route]]
        name = "kept"
        path = "/kept"
        respond = {}
        [[route]]
        name = "replaced"
        path = "/replaced"
        respond = {}
        ip = { allow = ["192.0.2.2"] }
        cors = { origins = ["https://a"] }
        auth = ["key"]
        require = { groups = ["g"] }
        rate_limit = [{ name = "mine", rate = "2/s" }]
        [[route]]
        name = "off"
        path = "/off"
        respond = {}
        ip = {}
        cors = false
        auth = []
        require = {}
        rate_limit = []
    "#;
    let routes = plan(text).routes;
    let [kept, replaced, off] = &routes[..] else { panic!("three routes") };
    assert_eq!((kept.ip.deny.len(), kept.cors.is_some(), kept.auth.len()), (1, true, 1));
    assert_eq!((kept.require.scopes.len(), &*kept.rate_limits[0].name), (1, "kept-1"));
    assert_eq!((replaced.ip.deny.len(), replaced.ip.allow.len()), (0, 1), "replaced, not merged");
    assert_eq!(replaced.cors.as_ref().unwrap().origins, [Origin::Exact("https://a".into())]);
    assert_eq!((&replaced.auth, &replaced.require.scopes), (&vec![AuthMethod::Key], &vec![]));
    assert_eq!(&*replaced.rate_limits[0].name, "mine");
    assert_eq!((&off.ip, &off.cors, &off.auth), (&IpRules::default(), &None, &vec![]));
    assert_eq!((&off.require, &off.rate_limits), (&Require::default(), &vec![]));
}
