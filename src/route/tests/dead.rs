//! Which routes are reported as dead, and which are not.

use super::*;
use crate::route::unreachable::{Shadow, shadowed};

fn dead(routes: &[RoutePlan]) -> Vec<(usize, usize, bool)> {
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
