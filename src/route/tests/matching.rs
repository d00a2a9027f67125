//! The rules of matching, one test a rule.

use super::*;

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
        assert_eq!(found(&table, &TestRequest { path: path.into(), ..get("/") }), Found::None, "{path}");
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
fn the_search_backtracks_to_less_specific_paths() {
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
    let request = TestRequest { headers: vec![("v".into(), "1".into())], ..get("x.com/a/b") };
    assert_eq!(found(&table, &request), Found::Route(4));
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
    let with = |header: &str, query: &str| TestRequest {
        headers: vec![(header.into(), "1".into())],
        query: vec![(query.into(), "1".into())],
        ..get("/a")
    };
    assert_eq!(found(&table, &get("/a")), Found::Route(1));
    assert_eq!(found(&table, &with("v", "q")), Found::Route(2));
    assert_eq!(found(&table, &with("w", "q")), Found::Route(3));
    assert_eq!(found(&table, &with("w", "r")), Found::Route(1));
    assert_eq!(found(&table, &TestRequest { method: "PUT".into(), ..get("/a") }), Found::Route(0));
}

#[test]
fn a_header_condition_holds_for_any_field_line_with_exactly_that_value() {
    let table = table([route("/a").header("v", "Two"), route("/b").header("v", "*")]);
    let with = |url: &str, values: &[&str]| {
        let headers = values.iter().map(|value| ("v".to_string(), value.to_string())).collect();
        found(&table, &TestRequest { headers, ..get(url) })
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
    assert_eq!(found(&table, &TestRequest { method: "POST".into(), ..get("x.com/a/b") }), Found::Route(1));
    let request = TestRequest { query: vec![("q".into(), String::new())], ..get("x.com/a/b") };
    assert_eq!(found(&table, &request), Found::Route(2));
}

#[test]
fn a_path_without_a_fitting_method_is_405_with_allow() {
    let table = table([
        route("/a").method("POST GET"),
        route("/{x}").method("DELETE"),
        route("/a").method("PATCH").header("v", "1"),
        route("/a").on("x.com").method("PUT"),
    ]);
    let put = |url: &str| TestRequest { method: "PUT".into(), ..get(url) };
    assert_eq!(found(&table, &put("/a")), Found::MethodNotAllowed);
    assert_eq!(put("/a").allowed(&table), "DELETE, GET, HEAD, POST");
    assert_eq!(put("/b").allowed(&table), "DELETE");
    assert_eq!(found(&table, &put("/b/c")), Found::None);
    let with_header = TestRequest { headers: vec![("v".into(), "1".into())], ..put("/a") };
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
fn get_includes_head_without_changing_the_order_of_routes() {
    let head = TestRequest { method: "HEAD".into(), ..get("/a") };
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
    let request = TestRequest { method: "get".into(), ..get("/a") };
    assert_eq!(found(&table([route("/a").method("GET")]), &request), Found::MethodNotAllowed);
}
