//! Routes that can never be chosen, because one other route comes first for all of their requests.
//!
//! What is reported is proved: [`takes`] compares two routes by the order of the table. An index of hosts, paths
//! and conditions finds the few routes worth comparing, so that ten thousand routes need no comparison of all
//! pairs. A route that several others take only together is not reported.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::hosts::Hosts;
use super::trie::{Trie, TriePath, TrieStep};
use super::{conditions, for_each_pair, hosts_of};
use crate::plan::{HostPattern, PathPattern, RoutePlan, Segment, Tail};

/// A route that can never be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreachableRoute {
    /// Its index.
    pub route: usize,
    /// The index of a route that takes all of its requests.
    pub taken_by: usize,
    /// Both match the same: a duplicate rather than a mistake in the order.
    pub is_duplicate: bool,
}

/// The unreachable routes in file order, each with one route that takes all of its requests.
pub fn unreachable_routes(routes: &[Arc<RoutePlan>]) -> Vec<UnreachableRoute> {
    let index = TakerIndex::build(routes);
    let unreachable = |route: usize| {
        let taken_by = index.taker(route)?;
        let is_duplicate = matches_the_same(&routes[taken_by], &routes[route]);
        Some(UnreachableRoute { route, taken_by, is_duplicate })
    };
    (0..routes.len()).filter_map(unreachable).collect()
}

/// A condition on a header (`false`) or query parameter (`true`), by name and value.
type RequiredCondition<'r> = (bool, &'r str, Option<&'r str>);

/// Finds the routes that may take another's requests.
struct TakerIndex<'r> {
    routes: &'r [Arc<RoutePlan>],
    hosts: Hosts,
    trie: Trie,
    /// By route: the terminals of its pairs, host by host and in the order of its paths.
    pairs: Vec<Vec<u32>>,
    /// By terminal and the rarest condition of a route. A route that takes all requests of another has only conditions
    /// that the other has too, so it is found under one of the latter's conditions, or under none.
    takers: HashMap<(u32, Option<RequiredCondition<'r>>), Vec<usize>, FixedState>,
    /// By terminal: how many routes have it.
    route_counts: Vec<usize>,
}

impl<'r> TakerIndex<'r> {
    fn build(routes: &'r [Arc<RoutePlan>]) -> TakerIndex<'r> {
        let (hosts, trie) = Default::default();
        let mut index = TakerIndex {
            routes,
            hosts,
            trie,
            pairs: Vec::with_capacity(routes.len()),
            takers: HashMap::default(),
            route_counts: Vec::new(),
        };
        let mut frequency: HashMap<RequiredCondition<'r>, usize, FixedState> = HashMap::default();
        for condition in routes.iter().flat_map(|route| required_conditions(route)) {
            *frequency.entry(condition).or_default() += 1;
        }
        for (number, route) in routes.iter().enumerate() {
            let rarest = required_conditions(route).min_by_key(|condition| frequency[condition]);
            let mut pairs = Vec::new();
            for_each_pair(route, &mut index.hosts, &mut index.trie, |_, terminal| pairs.push(terminal));
            for terminal in &pairs {
                index.takers.entry((*terminal, rarest)).or_default().push(number);
                index.route_counts.resize(index.route_counts.len().max(*terminal as usize + 1), 0);
                index.route_counts[*terminal as usize] += 1;
            }
            index.pairs.push(pairs);
        }
        let order = |number: &usize| {
            let route = &routes[*number];
            (Reverse(route.priority), Reverse(conditions::count(route)), *number)
        };
        index.takers.values_mut().for_each(|takers| takers.sort_by_key(order));
        index
    }

    /// A route that takes all requests of `narrow`.
    fn taker(&self, narrow: usize) -> Option<usize> {
        let route = &self.routes[narrow];
        // What takes all of its pairs takes the one that the fewest routes have.
        let by_route_count = |(_, terminal): &(usize, &u32)| self.route_counts[**terminal as usize];
        let (pair, own) = self.pairs[narrow].iter().enumerate().min_by_key(by_route_count)?;
        let host = route.hosts.get(pair / route.paths.len());
        let path = &route.paths[pair % route.paths.len()];

        // A wider pattern takes these requests only at a higher priority; of the same, only the pair itself.
        let (mut terminals, mut pending) = (vec![*own], Vec::new());
        let floor = Some(route.priority);
        for root in self.hosts.over(host).filter(|_| self.trie.highest() > floor) {
            self.trie.walk(root, path, &mut pending, floor, |terminal| {
                terminals.push(terminal);
                floor
            });
        }

        let keys = required_conditions(route)
            .flat_map(|(query, name, value)| [(query, name, value), (query, name, None)]);
        let keys: Vec<_> = keys.map(Some).chain([None]).collect();
        let lists = terminals.iter().flat_map(|terminal| keys.iter().map(|key| (*terminal, *key)));
        let mut takers = lists.filter_map(|key| self.takers.get(&key)).flatten();
        takers.find(|wide| takes(self.routes, **wide, narrow)).copied()
    }
}

fn required_conditions(route: &RoutePlan) -> impl Iterator<Item = RequiredCondition<'_>> {
    let both = [(false, &route.headers), (true, &route.query)];
    both.into_iter().flat_map(|(query, conditions)| {
        conditions.iter().map(move |condition| (query, &*condition.name, condition.value.as_deref()))
    })
}

/// Whether the route at `first` comes before the one at `second` for every request that the latter matches, and takes
/// it.
///
/// At a higher priority it is enough to match more. At the same priority the more specific host and path come first,
/// so there both must have the same hosts and paths, and the first one more conditions or an earlier place.
fn takes(routes: &[Arc<RoutePlan>], first: usize, second: usize) -> bool {
    let (wide, narrow) = (&routes[first], &routes[second]);
    if first == second || wide.priority < narrow.priority || !conditions::implied(wide, narrow) {
        return false;
    }
    if wide.priority > narrow.priority {
        return hosts_within(wide, narrow, host_covers) && paths_within(wide, narrow, path_covers);
    }
    let rank = |number: usize| (conditions::count(&routes[number]), Reverse(number));
    rank(first) > rank(second)
        && hosts_within(wide, narrow, |a, b| a == b)
        && paths_within(wide, narrow, path_equals)
}

/// Whether both routes match the same: hosts, paths, methods, headers, query and priority, in whatever order.
fn matches_the_same(a: &RoutePlan, b: &RoutePlan) -> bool {
    let within = |a: &RoutePlan, b: &RoutePlan| {
        hosts_within(a, b, |a, b| a == b)
            && paths_within(a, b, path_equals)
            && b.methods.iter().all(|method| a.methods.contains(method))
            && b.headers.iter().all(|condition| a.headers.contains(condition))
            && b.query.iter().all(|condition| a.query.contains(condition))
    };
    a.priority == b.priority && within(a, b) && within(b, a)
}

/// A host of a route; `None`: any.
type RouteHost<'r> = Option<&'r HostPattern>;

/// Whether each host of `narrow` relates to one of `wide`.
fn hosts_within(
    wide: &RoutePlan,
    narrow: &RoutePlan,
    relates: impl Fn(RouteHost<'_>, RouteHost<'_>) -> bool,
) -> bool {
    hosts_of(narrow).all(|host| hosts_of(wide).any(|other| relates(other, host)))
}

/// Whether each path of `narrow` relates to one of `wide`.
fn paths_within(
    wide: &RoutePlan,
    narrow: &RoutePlan,
    relates: impl Fn(&PathPattern, &PathPattern) -> bool,
) -> bool {
    narrow.paths.iter().all(|path| wide.paths.iter().any(|other| relates(other, path)))
}

/// Whether `wide` matches every host that `narrow` matches.
fn host_covers(wide: RouteHost<'_>, narrow: RouteHost<'_>) -> bool {
    let below = |name: &str, suffix: &str| {
        name.strip_suffix(suffix).and_then(|labels| labels.strip_suffix('.')).is_some_and(|l| !l.is_empty())
    };
    match (wide, narrow) {
        (None, _) => true,
        (Some(HostPattern::Wildcard(suffix)), Some(HostPattern::Exact(name))) => below(name, suffix),
        (Some(HostPattern::Wildcard(suffix)), Some(HostPattern::Wildcard(name))) => {
            name == suffix || below(name, suffix)
        }
        _ => wide == narrow,
    }
}

/// Whether `wide` matches every path that `narrow` matches.
fn path_covers(wide: &PathPattern, narrow: &PathPattern) -> bool {
    let segment_covers = |(depth, segment): (usize, &Segment)| match (segment, narrow.step(depth)) {
        (Segment::Literal(text), TrieStep::Segment { literal, .. }) => literal == Some(text.as_bytes()),
        (Segment::Capture(_), TrieStep::Segment { capturable, .. }) => capturable,
        (_, TrieStep::End { .. }) => false,
    };
    let ends = match wide.tail {
        Tail::Exact => narrow.tail == Tail::Exact && narrow.segments.len() == wide.segments.len(),
        Tail::Any | Tail::Capture(_) => true,
    };
    ends && wide.segments.iter().enumerate().all(segment_covers)
}

/// Whether two patterns match the same paths: they may differ in the names of captures.
fn path_equals(a: &PathPattern, b: &PathPattern) -> bool {
    path_covers(a, b) && path_covers(b, a)
}
