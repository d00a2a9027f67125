//! A second, simple implementation of the rules as a scan over all routes, compared with the table by property tests.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{TestRequest, hosts, pattern, route};
use crate::plan::{Condition, HostPattern, PathPattern, RoutePlan, Segment, Tail};
use crate::route::unreachable::unreachable_routes;
use crate::route::{Captures, Found, RouteTable};

/// Priority, host, path, conditions, place in the file: the smallest goes first.
type Rank = (Reverse<i64>, (u8, Reverse<usize>), Vec<u8>, Reverse<usize>, usize);

/// A route's match with a request and its rank in the order; the lowest wins.
struct Candidate<'r> {
    rank: Rank,
    path: &'r PathPattern,
    method_fits: bool,
}

fn candidates<'r>(routes: &'r [Arc<RoutePlan>], request: &TestRequest) -> Vec<Candidate<'r>> {
    let mut candidates = Vec::new();
    for (index, route) in routes.iter().enumerate().filter(|(_, route)| conditions_hold(route, request)) {
        let conditions = usize::from(!route.methods.is_empty()) + route.headers.len() + route.query.len();
        for host in host_ranks(route, &request.host) {
            for path in route.paths.iter().filter(|path| path_matches(path, &request.path)) {
                candidates.push(Candidate {
                    rank: (Reverse(route.priority), host, path_rank(path), Reverse(conditions), index),
                    path,
                    method_fits: method_fits(route, &request.method),
                });
            }
        }
    }
    candidates.sort_by(|a, b| a.rank.cmp(&b.rank));
    candidates
}

fn host_ranks(route: &RoutePlan, host: &str) -> Vec<(u8, Reverse<usize>)> {
    let rank = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => (**name == *host).then_some((0, Reverse(0))),
        HostPattern::Wildcard(suffix) => {
            let label = host.strip_suffix(&format!(".{suffix}"))?;
            (!label.is_empty()).then_some((1, Reverse(suffix.len())))
        }
    };
    if route.hosts.is_empty() { vec![(2, Reverse(0))] } else { route.hosts.iter().filter_map(rank).collect() }
}

fn path_matches(pattern: &PathPattern, path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let segments: Vec<&str> = path.split('/').collect();
    let fits = |(pattern, segment): (&Segment, &&str)| match pattern {
        Segment::Literal(text) => **text == **segment,
        Segment::Capture(_) => !segment.is_empty(),
    };
    let (wanted, given) = (pattern.segments.len(), segments.len());
    (if pattern.tail == Tail::Exact { given == wanted } else { given >= wanted })
        && pattern.segments.iter().zip(&segments).all(fits)
}

fn path_rank(pattern: &PathPattern) -> Vec<u8> {
    let rank = |segment: &Segment| u8::from(matches!(segment, Segment::Capture(_)));
    let end = if pattern.tail == Tail::Exact { 2 } else { 3 };
    pattern.segments.iter().map(rank).chain([end]).collect()
}

fn captured(pattern: &PathPattern, path: &str) -> Vec<(String, String)> {
    let segments: Vec<&str> = path[1..].split('/').collect();
    let mut captured = Vec::new();
    for (pattern, segment) in pattern.segments.iter().zip(&segments) {
        if let Segment::Capture(name) = pattern {
            captured.push((name.to_string(), segment.to_string()));
        }
    }
    let rest = segments[pattern.segments.len()..].join("/");
    match &pattern.tail {
        Tail::Exact => {}
        Tail::Any => captured.push(("rest".into(), rest)),
        Tail::Capture(name) => captured.push((name.to_string(), rest)),
    }
    captured
}

fn method_fits(route: &RoutePlan, method: &str) -> bool {
    route.methods.is_empty()
        || route.methods.iter().any(|known| **known == *method || (&**known, method) == ("GET", "HEAD"))
}

fn conditions_hold(route: &RoutePlan, request: &TestRequest) -> bool {
    let holds = |given: &[(String, String)], condition: &Condition| {
        let value_fits = |value: &str| condition.value.as_ref().is_none_or(|wanted| **wanted == *value);
        given.iter().any(|(name, value)| *name == *condition.name && value_fits(value))
    };
    route.headers.iter().all(|condition| holds(&request.headers, condition))
        && route.query.iter().all(|condition| holds(&request.query, condition))
}

/// The route with its pattern, or whether a method was missing.
fn find<'r>(routes: &'r [Arc<RoutePlan>], request: &TestRequest) -> (Found, Option<&'r PathPattern>) {
    let candidates = candidates(routes, request);
    match candidates.iter().find(|candidate| candidate.method_fits) {
        Some(candidate) => (Found::Route(candidate.rank.4), Some(candidate.path)),
        None if candidates.is_empty() => (Found::None, None),
        None => (Found::MethodNotAllowed, None),
    }
}

fn allowed(routes: &[Arc<RoutePlan>], request: &TestRequest) -> String {
    let mut methods = BTreeSet::new();
    for candidate in candidates(routes, request) {
        for method in &routes[candidate.rank.4].methods {
            methods.insert(method.to_string());
            if &**method == "GET" {
                methods.insert("HEAD".into());
            }
        }
    }
    methods.into_iter().collect::<Vec<_>>().join(", ")
}

// A small alphabet, so that routes collide and requests hit.

fn any_path() -> impl Strategy<Value = PathPattern> {
    let segment = select(vec!["a", "b", "{x}", "{y}", ""]);
    let tail = select(vec!["", "", "/*", "/{*z}"]);
    (prop::collection::vec(segment, 0..4), tail).prop_map(|(segments, tail)| {
        let text: String = segments.iter().flat_map(|segment| ["/", segment]).chain([tail]).collect();
        pattern(if text.is_empty() { "/" } else { &text })
    })
}

fn any_conditions() -> impl Strategy<Value = Vec<Condition>> {
    let value = select(vec![None, Some("1"), Some("2")]);
    let condition = |name: &'static str| {
        prop::option::weighted(0.25, value.clone()).prop_map(move |value| {
            value.map(|value| Condition { name: name.into(), value: value.map(Into::into) })
        })
    };
    (condition("v"), condition("w")).prop_map(|(v, w)| v.into_iter().chain(w).collect())
}

fn any_route() -> impl Strategy<Value = Arc<RoutePlan>> {
    let hosts_given =
        select(vec!["", "", "", "b.c", "a.b.c", "*.c", "*.b.c", "b.c *.b.c", "*.c *.b.c", "a.b.c b.c"]);
    let paths = prop::collection::vec(any_path(), 1..3);
    let methods = prop_oneof![Just(vec![]), subsequence(vec!["GET", "HEAD", "POST"], 1..=2)];
    let priority = select(vec![0, 0, 0, 0, 1, -1]);
    (hosts_given, paths, methods, any_conditions(), any_conditions(), priority).prop_map(
        |(given, paths, methods, headers, query, priority)| {
            Arc::new(RoutePlan {
                hosts: hosts(given),
                paths,
                methods: methods.into_iter().map(Into::into).collect(),
                headers,
                query,
                priority,
                ..route("/")
            })
        },
    )
}

fn any_request() -> impl Strategy<Value = TestRequest> {
    let host = select(vec!["", "c", "b.c", "a.b.c", "z.b.c", "z.a.b.c", "d"]);
    let path = prop::collection::vec(select(vec!["a", "a", "b", "c", ""]), 1..5);
    let method = select(vec!["GET", "HEAD", "POST", "PUT"]);
    let given = || {
        let pair = (select(vec!["v", "w"]), select(vec!["1", "2", "3"]));
        prop::collection::vec(pair.prop_map(|(name, value)| (name.to_string(), value.to_string())), 0..3)
    };
    (host, path, method, given(), given()).prop_map(|(host, path, method, headers, query)| TestRequest {
        host: host.into(),
        path: format!("/{}", path.join("/")),
        method: method.into(),
        headers,
        query,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_table_finds_what_a_sorted_scan_finds(
        routes in prop::collection::vec(any_route(), 0..12),
        requests in prop::collection::vec(any_request(), 40),
    ) {
        let table = RouteTable::build(&routes);
        let mut captures = Captures::default();
        for request in &requests {
            let (expected, pattern) = find(&routes, request);
            prop_assert_eq!(request.find(&table, &mut captures), expected, "{:?}", request);
            let spans = captures.iter(request.path.as_bytes());
            let spans: Vec<_> = spans.map(|(name, value)| (name, str::from_utf8(value).expect("cut at slashes"))).collect();
            let wanted = pattern.map(|pattern| captured(pattern, &request.path)).unwrap_or_default();
            prop_assert!(spans.iter().copied().eq(wanted.iter().map(|(name, value)| (&**name, &**value))));
            prop_assert_eq!(request.allowed(&table), allowed(&routes, request));
        }
    }

    #[test]
    fn every_method_in_allow_would_have_found_a_route(
        routes in prop::collection::vec(any_route(), 1..12),
        requests in prop::collection::vec(any_request(), 40),
    ) {
        let table = RouteTable::build(&routes);
        for request in requests {
            if request.find(&table, &mut Captures::default()) == Found::MethodNotAllowed {
                for method in request.allowed(&table).split(", ") {
                    let again = TestRequest { method: method.into(), ..request.clone() };
                    let found = again.find(&table, &mut Captures::default());
                    prop_assert!(matches!(found, Found::Route(_)), "{method}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn a_dead_route_is_never_chosen_and_the_one_named_is_enough_to_kill_it(
        routes in prop::collection::vec(any_route(), 2..16),
        requests in prop::collection::vec(any_request(), 150),
    ) {
        for found in unreachable_routes(&routes) {
            let (first, second) = (found.taken_by.min(found.route), found.taken_by.max(found.route));
            let both = [routes[first].clone(), routes[second].clone()];
            let dead_of_both = usize::from(found.route == second);
            for request in &requests {
                prop_assert_ne!(find(&routes, request).0, Found::Route(found.route), "{:?} {:?}", request, found);
                prop_assert_ne!(find(&both, request).0, Found::Route(dead_of_both), "{:?} {:?}", request, found);
            }
        }
    }

    #[test]
    fn a_route_written_twice_is_always_reported(
        mut routes in prop::collection::vec(any_route(), 1..10),
        which in any::<prop::sample::Index>(),
    ) {
        routes.push(routes[which.index(routes.len())].clone());
        let dead = routes.len() - 1;
        let found = unreachable_routes(&routes);
        prop_assert!(found.iter().any(|unreachable| unreachable.route == dead), "{found:?}");
    }
}
