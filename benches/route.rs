//! Route look-ups in tables of 10, 100 and 10,000 routes, and the cost of building such a table.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringway::plan::{Action, Condition, HostPattern, PathPattern, Respond, RoutePlan, Segment, Tail};
use ringway::route::unreachable::unreachable_routes;
use ringway::route::{Captures, Found, MatchInput, RouteTable};

const SIZES: [usize; 3] = [10, 100, 10_000];

fn pattern(text: &str) -> PathPattern {
    let mut pattern = PathPattern { text: text.into(), segments: Vec::new(), tail: Tail::Exact };
    for part in text[1..].split('/') {
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            _ if part == "*" => pattern.tail = Tail::Any,
            Some(name) => pattern.segments.push(Segment::Capture(name.into())),
            None => pattern.segments.push(Segment::Literal(part.into())),
        }
    }
    pattern
}

fn route(path: &str) -> RoutePlan {
    RoutePlan {
        name: path.into(),
        paths: vec![pattern(path)],
        action: Action::Respond(Respond { status: 200, body: Arc::new([]), content_type: None }),
        ..RoutePlan::default()
    }
}

/// The mix of a real gateway: plain paths, captures, tails, methods, hosts and a header here and there.
fn routes(count: usize) -> Vec<Arc<RoutePlan>> {
    let mixed = |n: usize| match n % 5 {
        0 => route(&format!("/api/v1/service-{n}/health")),
        1 => route(&format!("/api/v1/service-{n}/items/{{id}}")),
        2 => RoutePlan {
            methods: vec!["GET".into(), "PUT".into()],
            ..route(&format!("/api/v1/service-{n}/*"))
        },
        3 => RoutePlan {
            hosts: vec![HostPattern::Exact(format!("tenant-{n}.example.com").into())],
            ..route("/{collection}/{id}")
        },
        _ => RoutePlan {
            hosts: vec![HostPattern::Wildcard(format!("region-{n}.example.com").into())],
            headers: vec![Condition { name: "x-api-version".into(), value: Some("2".into()) }],
            ..route("/*")
        },
    };
    (0..count).map(mixed).map(Arc::new).collect()
}

/// Requests, and the route that each must find.
const REQUESTS: [(&str, &str, &str, &str, Found); 7] = [
    ("plain path", "GET", "any.example.org", "/api/v1/service-5/health", Found::Route(5)),
    ("capture", "GET", "any.example.org", "/api/v1/service-6/items/42", Found::Route(6)),
    ("tail", "GET", "any.example.org", "/api/v1/service-7/a/b/c", Found::Route(7)),
    ("exact host", "GET", "tenant-3.example.com", "/users/42", Found::Route(3)),
    ("wildcard host, header", "GET", "a.b.region-4.example.com", "/users/42", Found::Route(4)),
    ("405", "DELETE", "any.example.org", "/api/v1/service-7/a", Found::MethodNotAllowed),
    ("404", "GET", "any.example.org", "/api/v1/nothing/here", Found::None),
];

fn look_up(c: &mut Criterion) {
    let header = |name: &[u8], holds: &mut dyn FnMut(&[u8]) -> bool| name == b"x-api-version" && holds(b"2");
    for (name, method, host, path, expected) in REQUESTS {
        let mut group = c.benchmark_group(format!("find/{name}"));
        for count in SIZES {
            let table = RouteTable::build(&routes(count));
            let mut captures = Captures::default();
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter(|| {
                    let (host, path) = (host.as_bytes(), path.as_bytes());
                    let request =
                        MatchInput { host, path, query: b"", method: method.as_bytes(), header: &header };
                    let found = table.find(black_box(&request), &mut captures);
                    assert_eq!(found, expected);
                })
            });
        }
        group.finish();
    }
}

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("load");
    group.sample_size(20);
    for count in SIZES {
        let routes = routes(count);
        group.bench_function(BenchmarkId::new("build", count), |b| {
            b.iter(|| RouteTable::build(black_box(&routes)))
        });
        group.bench_function(BenchmarkId::new("shadowed", count), |b| {
            b.iter(|| unreachable_routes(black_box(&routes)))
        });
    }
    group.finish();
}

criterion_group!(benches, look_up, build);
criterion_main!(benches);
