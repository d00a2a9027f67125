//! Which routes are reported as unreachable, and which are not.

use super::*;
use crate::route::unreachable::{UnreachableRoute, unreachable_routes};

fn unreachable(routes: &[RoutePlan]) -> Vec<(usize, usize, bool)> {
    let routes: Vec<_> = routes.iter().cloned().map(Arc::new).collect();
    let found = unreachable_routes(&routes).into_iter();
    found.map(|UnreachableRoute { route, taken_by, is_duplicate }| (route, taken_by, is_duplicate)).collect()
}

#[test]
fn a_duplicate_is_unreachable_whatever_the_order_of_its_parts() {
    let one = route("/a /b/{x}").on("x.com *.y.com").method("GET PUT").header("v", "1").header("w", "*");
    let two = route("/b/{y} /a").on("*.y.com x.com").method("PUT GET").header("w", "*").header("v", "1");
    assert_eq!(unreachable(&[one.clone(), two.clone()]), [(1, 0, true)]);
    assert_eq!(unreachable(&[one.clone(), two.clone().priority(-1)]), [(1, 0, false)]);
    assert_eq!(unreachable(&[one.clone(), two, one]), [(1, 0, true), (2, 0, true)]);
}

#[test]
fn a_route_is_unreachable_behind_an_earlier_one_that_asks_as_much_but_takes_more() {
    let get = || route("/a").method("GET");
    assert_eq!(unreachable(&[route("/a").method("GET POST"), get()]), [(1, 0, false)]);
    assert_eq!(unreachable(&[get(), route("/a").method("HEAD")]), [(1, 0, false)]);
    assert_eq!(unreachable(&[route("/a").header("v", "*"), route("/a").header("v", "1")]), [(1, 0, false)]);
    assert_eq!(unreachable(&[route("/a").query("q", "*"), route("/a").query("q", "1")]), [(1, 0, false)]);
    assert_eq!(unreachable(&[route("/a /b"), route("/b")]), [(1, 0, false)]);
}

#[test]
fn a_route_is_unreachable_behind_a_wider_one_of_higher_priority() {
    let narrow = || route("/a/{x}").on("x.y.com").method("GET").header("v", "1");
    for wide in ["/*", "/a/*", "/{a}/{b}", "/a/{b}/*", "/a/{b}"] {
        for host in ["", "*.com", "*.y.com", "x.y.com", "z.com x.y.com"] {
            let wide = route(wide).on(host).priority(1);
            assert_eq!(unreachable(&[narrow(), wide.clone()]), [(0, 1, false)], "{wide:?}");
            assert_eq!(unreachable(&[narrow(), wide.clone().header("v", "*")]), [(0, 1, false)]);
            assert_eq!(unreachable(&[narrow(), wide.priority(0)]), []);
        }
    }
    assert_eq!(
        unreachable(&[route("/a").on("*.x.y.com"), route("/*").on("*.y.com").priority(1)]),
        [(0, 1, false)]
    );
}

#[test]
fn a_route_with_several_paths_or_hosts_is_unreachable_only_if_each_of_them_is() {
    assert_eq!(unreachable(&[route("/a"), route("/a /b")]), []);
    assert_eq!(unreachable(&[route("/a"), route("/b"), route("/a /b")]), [], "no single one takes all");
    assert_eq!(unreachable(&[route("/a").on("x.com"), route("/a").on("x.com y.com")]), []);
    assert_eq!(unreachable(&[route("/a/*").priority(1), route("/a /a/b /a/{x}")]), [(1, 0, false)]);
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
        assert_eq!(unreachable(&routes), [], "{routes:?}");
    }
}
