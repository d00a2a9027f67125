//! The cost of hostile paths and large tables, in trie nodes examined.

use super::*;

/// The number of nodes that a search for this URL examines.
fn steps(table: &RouteTable, url: &str) -> usize {
    let request = get(url);
    table.search(request.host.as_bytes(), request.path.as_bytes(), &mut Captures::default(), |_| None)
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
fn backtracking_examines_each_node_at_most_once() {
    // Every mix of literal and capture over twelve segments: 2^12 ways to fail at the thirteenth.
    let mixes: Vec<Arc<RoutePlan>> = (0..1_u32 << 12)
        .map(|mix| (0..12).map(|at| if mix >> at & 1 == 1 { "/a" } else { "/{x}" }).collect::<String>())
        .map(|path| Arc::new(route(&(path + "/end"))))
        .collect();
    let table = RouteTable::build(&mixes);
    let nodes = (1 << 13) - 1;
    assert_eq!(steps(&table, &("/a".repeat(12) + "/miss")), nodes);
    assert_eq!(steps(&table, &"/a".repeat(4000)), nodes);
    // One way through 2,000 captures and 2,000 tails.
    let deep = table_of((1..2000).map(|depth| "/{x}".repeat(depth) + "/*"));
    assert!(steps(&deep, &"/a".repeat(8000)) < 2 * 2000);
}

#[test]
fn a_host_of_many_labels_is_hashed_only_at_the_lengths_of_the_wildcards() {
    let table = table([route("/").on("*.example.com"), route("/").on("*.a.a")]);
    let host = "a.".repeat(8 << 10) + "a";
    assert_eq!(found(&table, &get(&(host + "/"))), Found::Route(1));
}

fn table_of(paths: impl Iterator<Item = String>) -> RouteTable {
    RouteTable::build(&paths.map(|path| Arc::new(route(&path))).collect::<Vec<_>>())
}

#[test]
fn the_steps_of_a_search_do_not_grow_with_the_number_of_routes() {
    let routes = |count: usize| table_of((0..count).map(|n| format!("/api/service-{n}/items/{{id}}")));
    for url in ["/api/service-7/items/1", "/api/service-7/none", "/none"] {
        assert_eq!(steps(&routes(10), url), steps(&routes(2000), url), "{url}");
    }
    let every_priority: Vec<Arc<RoutePlan>> =
        (0..2000).map(|n| Arc::new(route(&format!("/{n}/{{x}}")).priority(n))).collect();
    assert_eq!(steps(&RouteTable::build(&every_priority), "/7/a"), 3);
}
