//! The rules of matching as a table of features, and what hostile paths and big tables cost.

use std::sync::Arc;

use super::edit::{expand, strip_prefix};
use super::shadow::{Shadow, shadowed};
use super::{Captures, Found, Request, Table};
use crate::config::plan::{
    Action, Condition, HeaderEdits, HostPattern, PathPattern, Piece, Respond, Route, Segment, Tail, Template,
};

/// A request in owned parts.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) host: String,
    pub(super) path: String,
    pub(super) method: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
}

impl Asked {
    pub(super) fn find(&self, table: &Table, captures: &mut Captures) -> Found {
        self.with_request(|request| table.find(request, captures))
    }

    pub(super) fn allowed(&self, table: &Table) -> String {
        let mut out = Vec::new();
        self.with_request(|request| table.allowed(request, &mut out));
        String::from_utf8(out).expect("methods are text")
    }

    fn with_request<R>(&self, run: impl FnOnce(&Request<'_, Lookup<'_>>) -> R) -> R {
        let query: Vec<String> = self.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let any = |name: &[u8], holds: &mut dyn FnMut(&[u8]) -> bool| {
            self.headers.iter().any(|(known, value)| known.as_bytes() == name && holds(value.as_bytes()))
        };
        run(&Request {
            host: self.host.as_bytes(),
            path: self.path.as_bytes(),
            query: query.join("&").as_bytes(),
            method: self.method.as_bytes(),
            header: &any,
        })
    }
}

type Lookup<'a> = dyn Fn(&[u8], &mut dyn FnMut(&[u8]) -> bool) -> bool + 'a;

/// `GET` of "host/path".
fn get(url: &str) -> Asked {
    let (host, path) = url.split_at(url.find('/').unwrap_or(url.len()));
    let (method, path) = ("GET".into(), path.into());
    Asked { host: host.into(), path, method, headers: Vec::new(), query: Vec::new() }
}

pub(super) fn pattern(text: &str) -> PathPattern {
    let mut pattern = PathPattern { text: text.into(), segments: Vec::new(), tail: Tail::Exact };
    for part in text[1..].split('/') {
        let capture = part.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        match capture.map(|name| (name, name.strip_prefix('*'))) {
            Some((_, Some(rest))) => pattern.tail = Tail::Capture(rest.into()),
            Some((name, None)) => pattern.segments.push(Segment::Capture(name.into())),
            None if part == "*" => pattern.tail = Tail::Any,
            None => pattern.segments.push(Segment::Literal(part.into())),
        }
    }
    pattern
}

pub(super) fn hosts(given: &str) -> Vec<HostPattern> {
    let host = |text: &str| match text.strip_prefix("*.") {
        Some(suffix) => HostPattern::Wildcard(suffix.into()),
        None => HostPattern::Exact(text.into()),
    };
    given.split_whitespace().map(host).collect()
}

/// A route of these paths (separated by spaces) that asks for nothing else.
pub(super) fn route(paths: &str) -> Route {
    Route {
        name: paths.into(),
        hosts: Vec::new(),
        paths: paths.split(' ').map(pattern).collect(),
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        priority: 0,
        action: Action::Respond(Respond { status: 200, body: Arc::new([]), content_type: None }),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        deprecated: None,
        timeout: None,
    }
}

impl Route {
    fn on(self, given: &str) -> Route {
        Route { hosts: hosts(given), ..self }
    }

    fn method(self, methods: &str) -> Route {
        Route { methods: methods.split(' ').map(Into::into).collect(), ..self }
    }

    fn header(mut self, name: &str, value: &str) -> Route {
        self.headers.push(condition(name, value));
        self
    }

    fn query(mut self, name: &str, value: &str) -> Route {
        self.query.push(condition(name, value));
        self
    }

    fn priority(self, priority: i64) -> Route {
        Route { priority, ..self }
    }
}

fn condition(name: &str, value: &str) -> Condition {
    Condition { name: name.into(), value: (value != "*").then(|| value.into()) }
}

fn table<const N: usize>(routes: [Route; N]) -> Table {
    Table::build(&routes.map(Arc::new))
}

fn found(table: &Table, asked: &Asked) -> Found {
    asked.find(table, &mut Captures::default())
}

/// Which route each URL finds.
fn assert_finds(table: &Table, expected: &[(&str, Option<usize>)]) {
    for (url, route) in expected {
        assert_eq!(found(table, &get(url)), route.map_or(Found::None, Found::Route), "{url}");
    }
}

#[test]
fn an_empty_table_finds_nothing() {
    assert_finds(&table([]), &[("/", None), ("a.com/x", None), ("", None)]);
}

#[test]
fn an_exact_path_matches_itself_alone() {
    let table = table([route("/x"), route("/x/y/"), route("/")]);
    assert_finds(&table, &[("/x", Some(0)), ("/x/y/", Some(1)), ("/", Some(2))]);
    assert_finds(
        &table,
        &[("/x/", None), ("/x/y", None), ("/xy", None), ("//", None), ("/X", None), ("/x//", None)],
    );
}

#[test]
fn a_star_matches_the_path_before_it_and_all_below() {
    let table = table([route("/x/*"), route("/y/{*all}")]);
    assert_finds(&table, &[("/x", Some(0)), ("/x/", Some(0)), ("/x/a/b", Some(0)), ("/x//", Some(0))]);
    assert_finds(&table, &[("/y", Some(1)), ("/y/a", Some(1)), ("/xy", None), ("/", None)]);
}

#[test]
fn a_star_alone_matches_every_path_but_not_the_asterisk_form() {
    let table = table([route("/*")]);
    assert_finds(&table, &[("/", Some(0)), ("/a", Some(0)), ("//", Some(0)), ("a.com/a/b/", Some(0))]);
    for path in ["*", "", "x"] {
        assert_eq!(found(&table, &Asked { path: path.into(), ..get("/") }), Found::None, "{path}");
    }
}

#[test]
fn a_capture_matches_one_segment_that_is_not_empty() {
    let table = table([route("/x/{id}"), route("/x/{id}/y")]);
    assert_finds(&table, &[("/x/1", Some(0)), ("/x/1/y", Some(1))]);
    assert_finds(&table, &[("/x/", None), ("/x//y", None), ("/x/1/", None), ("/x", None), ("/x/1/2", None)]);
}

#[test]
fn literal_comes_before_capture_before_star_and_longer_before_shorter() {
    let table =
        table([route("/*"), route("/a/*"), route("/a/{x}"), route("/a/b"), route("/a/{x}/*"), route("/a")]);
    assert_finds(&table, &[("/a/b", Some(3)), ("/a/c", Some(2)), ("/a/b/c", Some(4)), ("/a/", Some(1))]);
    assert_finds(&table, &[("/a", Some(5)), ("/b", Some(0)), ("/", Some(0))]);
}

#[test]
fn segments_are_compared_from_the_left() {
    let table = table([route("/{x}/b/c"), route("/a/{y}/{z}"), route("/a/*")]);
    assert_finds(&table, &[("/a/b/c", Some(1)), ("/a/b/c/d", Some(2)), ("/d/b/c", Some(0))]);
}

#[test]
fn the_search_goes_back_to_less_specific_paths() {
    let table = table([route("/a/b/c"), route("/a/{x}/d"), route("/{y}/b/e"), route("/{y}/*")]);
    assert_finds(
        &table,
        &[("/a/b/c", Some(0)), ("/a/b/d", Some(1)), ("/a/b/e", Some(2)), ("/a/b/f", Some(3))],
    );
}

#[test]
fn hosts_go_exact_then_longer_wildcard_then_any() {
    let table = table([
        route("/*"),
        route("/*").on("*.example.com"),
        route("/*").on("*.eu.example.com"),
        route("/*").on("api.eu.example.com"),
    ]);
    assert_finds(&table, &[("api.eu.example.com/", Some(3)), ("b.eu.example.com/", Some(2))]);
    assert_finds(&table, &[("a.b.eu.example.com/", Some(2)), ("eu.example.com/", Some(1))]);
    assert_finds(&table, &[("example.com/", Some(0)), ("badexample.com/", Some(0)), ("/", Some(0))]);
}

#[test]
fn the_host_goes_before_the_path() {
    let table = table([route("/a/b"), route("/*").on("*.com"), route("/a/*").on("x.com")]);
    assert_finds(
        &table,
        &[("x.com/a/b", Some(2)), ("x.com/b", Some(1)), ("y.com/a/b", Some(1)), ("/a/b", Some(0))],
    );
}

#[test]
fn a_host_without_the_path_falls_back_to_a_less_specific_host() {
    let table = table([route("/a").on("x.com"), route("/b").on("*.com"), route("/c")]);
    assert_finds(
        &table,
        &[("x.com/a", Some(0)), ("x.com/b", Some(1)), ("x.com/c", Some(2)), ("x.com/d", None)],
    );
}

#[test]
fn a_route_may_have_several_hosts_and_paths() {
    let table = table([route("/a /b/*").on("x.com *.y.com"), route("/b/c").on("x.com")]);
    assert_finds(
        &table,
        &[("x.com/a", Some(0)), ("w.y.com/b/c", Some(0)), ("x.com/b/c", Some(1)), ("z.com/a", None)],
    );
}

#[test]
fn priority_goes_before_everything() {
    let table = table([
        route("/a/b").on("x.com"),
        route("/*").priority(1),
        route("/a/*").on("x.com").priority(1),
        route("/a/{x}").on("x.com").priority(-1),
        route("/*").header("v", "1").priority(9),
    ]);
    assert_finds(&table, &[("x.com/a/b", Some(2)), ("x.com/b", Some(1)), ("/a/b", Some(1))]);
    let asked = Asked { headers: vec![("v".into(), "1".into())], ..get("x.com/a/b") };
    assert_eq!(found(&table, &asked), Found::Route(4));
}

#[test]
fn more_conditions_come_first_then_file_order() {
    let table = table([
        route("/a"),
        route("/a").method("GET POST"),
        route("/a").method("GET").header("v", "1"),
        route("/a").header("w", "*").query("q", "1"),
        route("/a"),
    ]);
    let with = |header: &str, query: &str| Asked {
        headers: vec![(header.into(), "1".into())],
        query: vec![(query.into(), "1".into())],
        ..get("/a")
    };
    assert_eq!(found(&table, &get("/a")), Found::Route(1));
    assert_eq!(found(&table, &with("v", "q")), Found::Route(2));
    assert_eq!(found(&table, &with("w", "q")), Found::Route(3));
    assert_eq!(found(&table, &with("w", "r")), Found::Route(1));
    assert_eq!(found(&table, &Asked { method: "PUT".into(), ..get("/a") }), Found::Route(0));
}

#[test]
fn a_header_condition_holds_for_any_field_line_with_exactly_that_value() {
    let table = table([route("/a").header("v", "Two"), route("/b").header("v", "*")]);
    let with = |url: &str, values: &[&str]| {
        let headers = values.iter().map(|value| ("v".to_string(), value.to_string())).collect();
        found(&table, &Asked { headers, ..get(url) })
    };
    assert_eq!(with("/a", &["1", "Two"]), Found::Route(0));
    assert_eq!(with("/a", &["two"]), Found::None);
    assert_eq!(with("/a", &["Two, 1"]), Found::None);
    assert_eq!(with("/b", &[""]), Found::Route(1));
    assert_eq!(with("/b", &[]), Found::None);
}

#[test]
fn conditions_that_do_not_hold_leave_the_request_to_less_specific_routes() {
    let table = table([
        route("/a/b").on("x.com").header("v", "2"),
        route("/a/{x}").on("x.com").method("POST"),
        route("/a/*").query("q", "*"),
        route("/*").method("GET"),
    ]);
    assert_eq!(found(&table, &get("x.com/a/b")), Found::Route(3));
    assert_eq!(found(&table, &Asked { method: "POST".into(), ..get("x.com/a/b") }), Found::Route(1));
    let asked = Asked { query: vec![("q".into(), String::new())], ..get("x.com/a/b") };
    assert_eq!(found(&table, &asked), Found::Route(2));
}

#[test]
fn a_path_without_a_fitting_method_is_405_with_allow() {
    let table = table([
        route("/a").method("POST GET"),
        route("/{x}").method("DELETE"),
        route("/a").method("PATCH").header("v", "1"),
        route("/a").on("x.com").method("PUT"),
    ]);
    let put = |url: &str| Asked { method: "PUT".into(), ..get(url) };
    assert_eq!(found(&table, &put("/a")), Found::MethodNotAllowed);
    assert_eq!(put("/a").allowed(&table), "DELETE, GET, HEAD, POST");
    assert_eq!(put("/b").allowed(&table), "DELETE");
    assert_eq!(found(&table, &put("/b/c")), Found::None);
    let with_header = Asked { headers: vec![("v".into(), "1".into())], ..put("/a") };
    assert_eq!(with_header.allowed(&table), "DELETE, GET, HEAD, PATCH, POST");
    assert_eq!(found(&table, &put("x.com/a")), Found::Route(3));
}

#[test]
fn a_path_whose_headers_or_query_do_not_hold_is_404_whatever_the_method() {
    let table =
        table([route("/a").method("GET").header("v", "1"), route("/b").method("PUT").query("q", "1")]);
    assert_finds(&table, &[("/a", None), ("/b", None)]);
}

#[test]
fn get_answers_head_and_the_order_of_routes_is_not_changed_by_it() {
    let head = Asked { method: "HEAD".into(), ..get("/a") };
    assert_eq!(found(&table([route("/a").method("GET")]), &head), Found::Route(0));
    assert_eq!(found(&table([route("/a").method("POST")]), &head), Found::MethodNotAllowed);
    assert_eq!(
        found(&table([route("/a").method("GET"), route("/a").method("HEAD")]), &head),
        Found::Route(0)
    );
    assert_eq!(
        found(&table([route("/a").method("HEAD"), route("/a").method("GET")]), &head),
        Found::Route(0)
    );
    assert_eq!(
        found(&table([route("/{x}").method("GET"), route("/a").method("HEAD")]), &head),
        Found::Route(1)
    );
}

#[test]
fn methods_are_case_sensitive() {
    let asked = Asked { method: "get".into(), ..get("/a") };
    assert_eq!(found(&table([route("/a").method("GET")]), &asked), Found::MethodNotAllowed);
}

/// The captures of a path under one pattern, the part before the tail, and the path with it stripped.
fn captured(pattern: &str, path: &str) -> (Vec<(String, String)>, usize, String) {
    let mut captures = Captures::default();
    let found = get(path).find(&table([route(pattern)]), &mut captures);
    assert_eq!(found, Found::Route(0), "{pattern} {path}");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let spans = captures.iter(path.as_bytes()).map(|(name, value)| (name.to_string(), text(value))).collect();
    let mut stripped = Vec::new();
    strip_prefix(path.as_bytes(), &captures, &mut stripped);
    (spans, captures.prefix_len(), text(&stripped))
}

#[test]
fn captures_prefix_and_stripped_path() {
    for (pattern, path, spans, prefix_len, stripped) in [
        ("/api/users/*", "/api/users/42", "rest=42", 10, "/42"),
        ("/api/users/*", "/api/users", "rest=", 10, "/"),
        ("/api/users/*", "/api/users/", "rest=", 10, "/"),
        ("/api/users/*", "/api/users/4/2/", "rest=4/2/", 10, "/4/2/"),
        ("/api/users/*", "/api/users//2", "rest=/2", 10, "//2"),
        ("/*", "/", "rest=", 0, "/"),
        ("/*", "/a/b", "rest=a/b", 0, "/a/b"),
        ("/{*all}", "/a%2Fb", "all=a%2Fb", 0, "/a%2Fb"),
        ("/{v}/users/{id}/*", "/v1/users/42/x/y", "v=v1 id=42 rest=x/y", 12, "/x/y"),
        ("/{v}/users/{id}", "/v1/users/42", "v=v1 id=42", 12, "/"),
        ("/x", "/x", "", 2, "/"),
    ] {
        let (got, prefix, got_stripped) = captured(pattern, path);
        let got: Vec<String> = got.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            (got.join(" ").as_str(), prefix, &*got_stripped),
            (spans, prefix_len, stripped),
            "{pattern} {path}"
        );
    }
}

#[test]
fn captures_do_not_outlive_the_next_look_up() {
    let table = table([route("/a/{id}"), route("/b")]);
    let mut captures = Captures::default();
    get("/a/1").find(&table, &mut captures);
    assert_eq!(captures.get("id", b"/a/1"), Some(&b"1"[..]));
    assert_eq!(captures.get("other", b"/a/1"), None);
    for path in ["/b", "/none", "*"] {
        get(path).find(&table, &mut captures);
        assert_eq!(captures.get("id", path.as_bytes()), None, "{path}");
    }
}

#[test]
fn a_template_is_filled_with_captures_and_cannot_be_turned_to_another_host() {
    let text = |text: &str| Piece::Text(text.into());
    let capture = |name: &str| Piece::Capture(name.into());
    for (path, template, expected) in [
        ("/old/a/b", vec![text("/new/"), capture("rest")], "/new/a/b"),
        ("/old", vec![text("/new/"), capture("rest"), text("?x=1")], "/new/?x=1"),
        ("/old/a%20b", vec![text("https://x.com/"), capture("rest")], "https://x.com/a%20b"),
        ("/old/a", vec![text("/"), capture("none"), text("x")], "/x"),
        ("/old//evil.com", vec![text("/"), capture("rest")], "/evil.com"),
        ("/old/\\evil.com", vec![text("/"), capture("rest")], "/evil.com"),
        ("/old///evil.com", vec![capture("rest")], "/evil.com"),
        ("/old//a", vec![text("//cdn.com/"), capture("rest")], "//cdn.com//a"),
        ("/old//a", vec![text("/b/"), capture("rest")], "/b//a"),
    ] {
        let mut captures = Captures::default();
        get(path).find(&table([route("/old/*")]), &mut captures);
        let mut out = b"//kept ".to_vec();
        expand(&Template(template), path.as_bytes(), &captures, &mut out);
        assert_eq!(str::from_utf8(&out[7..]), Ok(expected), "{path}");
        assert!(out.starts_with(b"//kept "));
    }
}

/// The nodes that a search for this URL looks at.
fn steps(table: &Table, url: &str) -> usize {
    let asked = get(url);
    table.search(asked.host.as_bytes(), asked.path.as_bytes(), &mut Captures::default(), |_| None)
}

#[test]
fn a_path_of_slashes_costs_no_more_than_the_deepest_route() {
    let table = table([route("/a/{b}/c/*"), route("/{x}"), route("//{y}")]);
    let slashes = "/".repeat(16 << 10);
    assert!(steps(&table, &slashes) <= 6);
    let mut captures = Captures::default();
    assert_eq!(get(&slashes).find(&table, &mut captures), Found::None);
    assert_eq!(get(&"/a".repeat(8 << 10)).find(&table, &mut captures), Found::None);
    assert_eq!(get(&format!("/a/b/c{slashes}")).find(&table, &mut captures), Found::Route(0));
}

#[test]
fn going_back_looks_at_each_node_once_at_most() {
    // Every mix of literal and capture over twelve segments: 2^12 ways to fail at the thirteenth.
    let mixes: Vec<Arc<Route>> = (0..1_u32 << 12)
        .map(|mix| (0..12).map(|at| if mix >> at & 1 == 1 { "/a" } else { "/{x}" }).collect::<String>())
        .map(|path| Arc::new(route(&(path + "/end"))))
        .collect();
    let table = Table::build(&mixes);
    let nodes = (1 << 13) - 1;
    assert_eq!(steps(&table, &("/a".repeat(12) + "/miss")), nodes);
    assert_eq!(steps(&table, &"/a".repeat(4000)), nodes);
    // One way through 2,000 captures and 2,000 tails.
    let deep = table_of((1..2000).map(|depth| "/{x}".repeat(depth) + "/*"));
    assert!(steps(&deep, &"/a".repeat(8000)) < 2 * 2000);
}

#[test]
fn a_host_of_many_labels_is_cut_only_at_the_lengths_of_the_wildcards() {
    let table = table([route("/").on("*.example.com"), route("/").on("*.a.a")]);
    let host = "a.".repeat(8 << 10) + "a";
    assert_eq!(found(&table, &get(&(host + "/"))), Found::Route(1));
}

fn table_of(paths: impl Iterator<Item = String>) -> Table {
    Table::build(&paths.map(|path| Arc::new(route(&path))).collect::<Vec<_>>())
}

#[test]
fn the_steps_of_a_search_do_not_grow_with_the_number_of_routes() {
    let routes = |count: usize| table_of((0..count).map(|n| format!("/api/service-{n}/items/{{id}}")));
    for url in ["/api/service-7/items/1", "/api/service-7/none", "/none"] {
        assert_eq!(steps(&routes(10), url), steps(&routes(2000), url), "{url}");
    }
    let every_priority: Vec<Arc<Route>> =
        (0..2000).map(|n| Arc::new(route(&format!("/{n}/{{x}}")).priority(n))).collect();
    assert_eq!(steps(&Table::build(&every_priority), "/7/a"), 3);
}

fn dead(routes: &[Route]) -> Vec<(usize, usize, bool)> {
    let routes: Vec<_> = routes.iter().cloned().map(Arc::new).collect();
    shadowed(&routes).into_iter().map(|Shadow { dead, by, same }| (dead, by, same)).collect()
}

#[test]
fn a_duplicate_is_dead_whatever_the_order_of_its_parts() {
    let one = route("/a /b/{x}").on("x.com *.y.com").method("GET PUT").header("v", "1").header("w", "*");
    let two = route("/b/{y} /a").on("*.y.com x.com").method("PUT GET").header("w", "*").header("v", "1");
    assert_eq!(dead(&[one.clone(), two.clone()]), [(1, 0, true)]);
    assert_eq!(dead(&[one.clone(), two.clone().priority(-1)]), [(1, 0, false)]);
    assert_eq!(dead(&[one.clone(), two, one]), [(1, 0, true), (2, 0, true)]);
}

#[test]
fn a_route_is_dead_behind_an_earlier_one_that_asks_as_much_but_takes_more() {
    let get = || route("/a").method("GET");
    assert_eq!(dead(&[route("/a").method("GET POST"), get()]), [(1, 0, false)]);
    assert_eq!(dead(&[get(), route("/a").method("HEAD")]), [(1, 0, false)]);
    assert_eq!(dead(&[route("/a").header("v", "*"), route("/a").header("v", "1")]), [(1, 0, false)]);
    assert_eq!(dead(&[route("/a").query("q", "*"), route("/a").query("q", "1")]), [(1, 0, false)]);
    assert_eq!(dead(&[route("/a /b"), route("/b")]), [(1, 0, false)]);
}

#[test]
fn a_route_is_dead_behind_a_wider_one_of_higher_priority() {
    let narrow = || route("/a/{x}").on("x.y.com").method("GET").header("v", "1");
    for wide in ["/*", "/a/*", "/{a}/{b}", "/a/{b}/*", "/a/{b}"] {
        for host in ["", "*.com", "*.y.com", "x.y.com", "z.com x.y.com"] {
            let wide = route(wide).on(host).priority(1);
            assert_eq!(dead(&[narrow(), wide.clone()]), [(0, 1, false)], "{wide:?}");
            assert_eq!(dead(&[narrow(), wide.clone().header("v", "*")]), [(0, 1, false)]);
            assert_eq!(dead(&[narrow(), wide.priority(0)]), []);
        }
    }
    assert_eq!(dead(&[route("/a").on("*.x.y.com"), route("/*").on("*.y.com").priority(1)]), [(0, 1, false)]);
}

#[test]
fn a_route_with_several_paths_or_hosts_is_dead_only_if_each_of_them_is() {
    assert_eq!(dead(&[route("/a"), route("/a /b")]), []);
    assert_eq!(dead(&[route("/a"), route("/b"), route("/a /b")]), [], "no single one takes all");
    assert_eq!(dead(&[route("/a").on("x.com"), route("/a").on("x.com y.com")]), []);
    assert_eq!(dead(&[route("/a/*").priority(1), route("/a /a/b /a/{x}")]), [(1, 0, false)]);
}

#[test]
fn what_may_still_be_chosen_is_not_reported() {
    for routes in [
        [route("/a"), route("/a").method("GET")],
        [route("/a").method("HEAD"), route("/a").method("GET")],
        [route("/a").header("v", "1"), route("/a").header("v", "*")],
        [route("/a").header("v", "1"), route("/a").header("v", "2")],
        [route("/a").header("v", "1"), route("/a").query("v", "1")],
        [route("/*"), route("/a")],
        [route("/a/*"), route("/a/")],
        [route("/a/{x}").priority(1), route("/a/*")],
        [route("/a/{x}").priority(1), route("/a/")],
        [route("/a/").priority(1), route("/a/*")],
        [route("/*").on("*.com").priority(1), route("/a").on("com")],
        [route("/*").on("*.com").priority(1), route("/a")],
        [route("/*").on("x.com").priority(1), route("/a").on("*.com")],
        [route("/*").method("GET").priority(1), route("/a")],
    ] {
        assert_eq!(dead(&routes), [], "{routes:?}");
    }
}
