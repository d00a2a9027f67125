//! The route of a request: hosts by hash, paths by a trie of segments, conditions by the route itself.
//!
//! The order in which routes are tried (the first whose conditions are met wins):
//!
//! 1. `priority`, higher first, before everything else.
//! 2. Host: exact, then wildcard (the longer suffix first), then any.
//! 3. Path, segment by segment: literal, then `{capture}`, then `*`; so longer comes before shorter.
//! 4. The route with more conditions: one for `method`, one for each header, one for each query parameter.
//! 5. File order.
//!
//! `GET` in a route's methods includes `HEAD`. A route that names `HEAD` for the same path has no precedence
//! by that alone: it must come first in the order above, or `check` reports it as dead.
//!
//! A look-up costs the depth of the path and the wildcards that the host could match, whatever the number of
//! routes; only routes of one and the same host and path are tried one after the other.

mod captures;
mod conditions;
pub mod edit;
mod hosts;
mod trie;
pub mod unreachable;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::sync::Arc;

use crate::plan::{HostPattern, RoutePlan};

pub use captures::Captures;
use captures::PatternShape;
use conditions::Fit;
use hosts::Hosts;
use trie::Trie;

/// The parts of a request that decide its route.
pub struct MatchInput<'a, H: HeaderLookup + ?Sized> {
    /// Lower case, without port and trailing dot; empty: none.
    pub host: &'a [u8],
    /// Normalised: starts with `/`, or is the `*` of `OPTIONS *`, which no route matches.
    pub path: &'a [u8],
    /// Raw, without the `?`.
    pub query: &'a [u8],
    pub method: &'a [u8],
    pub header: &'a H,
}

/// Access to a request's header fields, so that the table need not know how they are stored.
///
/// Closures of the same shape implement it.
pub trait HeaderLookup {
    /// Whether `holds` is true for any field line's value of this name (given in lower case).
    fn any(&self, lower_name: &[u8], holds: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

impl<F> HeaderLookup for F
where
    F: Fn(&[u8], &mut dyn FnMut(&[u8]) -> bool) -> bool + ?Sized,
{
    fn any(&self, lower_name: &[u8], holds: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self(lower_name, holds)
    }
}

/// The result of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The index of the route among those the table was built of.
    Route(usize),
    /// Routes match by host, path, headers and query, but none by method: 405, with [`RouteTable::allowed`].
    MethodNotAllowed,
    /// 404.
    None,
}

/// All routes, ready for look-ups. Immutable; each shard has its own clone.
#[derive(Clone)]
pub struct RouteTable {
    hosts: Hosts,
    trie: Trie,
    /// By terminal of the trie: the entries of one host and path, in the order in which they are tried.
    terminals: Vec<Vec<RouteEntry>>,
    /// By [`RouteEntry::shape`].
    shapes: Vec<PatternShape>,
    routes: Vec<Arc<RoutePlan>>,
}

/// One path of one route under one host.
#[derive(Clone, Copy)]
struct RouteEntry {
    priority: i64,
    /// The number of the route's conditions beyond host and path.
    conditions: u32,
    route: u32,
    shape: u32,
}

impl RouteTable {
    /// Builds the table; a route's index here is its index in [`Found::Route`].
    pub fn build(routes: &[Arc<RoutePlan>]) -> RouteTable {
        let mut table = RouteTable {
            hosts: Hosts::default(),
            trie: Trie::default(),
            terminals: Vec::new(),
            shapes: Vec::new(),
            routes: routes.to_vec(),
        };
        for (index, route) in (0..).zip(routes) {
            table.insert(index, route);
        }
        for entries in &mut table.terminals {
            entries.sort_by_key(|entry| (Reverse(entry.priority), Reverse(entry.conditions), entry.route));
        }
        table
    }

    fn insert(&mut self, index: u32, route: &RoutePlan) {
        let first_shape = self.shapes.len() as u32;
        self.shapes.extend(route.paths.iter().map(PatternShape::of));
        for_each_pair(route, &mut self.hosts, &mut self.trie, |shape, terminal| {
            if self.terminals.len() <= terminal as usize {
                self.terminals.resize_with(terminal as usize + 1, Vec::new);
            }
            self.terminals[terminal as usize].push(RouteEntry {
                priority: route.priority,
                conditions: conditions::count(route),
                route: index,
                shape: first_shape + shape as u32,
            });
        });
    }

    /// The route of a request. `captures` then holds the captures of its path pattern.
    pub fn find<H: HeaderLookup + ?Sized>(
        &self,
        request: &MatchInput<'_, H>,
        captures: &mut Captures,
    ) -> Found {
        let mut best: Option<&RouteEntry> = None;
        let mut method_refused = false;
        self.search(request.host, request.path, captures, |entries| {
            for entry in entries {
                // Entries are in falling priority, and of two with equal priority the first wins.
                if best.is_some_and(|best| best.priority >= entry.priority) {
                    break;
                }
                match self.fit(entry, request) {
                    Fit::Yes => best = Some(entry),
                    Fit::AllButMethod => method_refused = true,
                    Fit::No => {}
                }
            }
            best.map(|best| best.priority)
        });
        match best {
            Some(entry) => {
                captures.record(&self.shapes[entry.shape as usize], request.path);
                Found::Route(entry.route as usize)
            }
            None if method_refused => Found::MethodNotAllowed,
            None => Found::None,
        }
    }

    /// Appends the value of `Allow` (RFC 9110, 10.2.1) for a request that found [`Found::MethodNotAllowed`]: the methods
    /// with which the same request would find a route, sorted, `HEAD` beside every `GET`.
    pub fn allowed<H: HeaderLookup + ?Sized>(&self, request: &MatchInput<'_, H>, out: &mut Vec<u8>) {
        let mut methods: Vec<&str> = Vec::new();
        self.search(request.host, request.path, &mut Captures::default(), |entries| {
            for entry in entries.iter().filter(|entry| self.fit(entry, request) != Fit::No) {
                for method in &self.routes[entry.route as usize].methods {
                    methods.push(method);
                    methods.extend((&**method == "GET").then_some("HEAD"));
                }
            }
            None
        });
        methods.sort_unstable();
        methods.dedup();
        out.extend_from_slice(methods.join(", ").as_bytes());
    }

    fn fit<H: HeaderLookup + ?Sized>(&self, entry: &RouteEntry, request: &MatchInput<'_, H>) -> Fit {
        match entry.conditions {
            0 => Fit::Yes,
            _ => conditions::fit(&self.routes[entry.route as usize], request),
        }
    }

    /// Calls `visit` with the entries of every matching host and path, the more specific first. `visit` returns the
    /// priority found so far: from then on only entries that could exceed it are visited.
    /// Returns the number of trie nodes examined.
    fn search<'t>(
        &'t self,
        host: &[u8],
        path: &[u8],
        captures: &mut Captures,
        mut visit: impl FnMut(&'t [RouteEntry]) -> Option<i64>,
    ) -> usize {
        let Some((path, pending)) = captures.split(path, self.trie.depth()) else { return 0 };
        let mut found = None;
        let mut steps = 0;
        for root in self.hosts.of(host) {
            steps += self.trie.walk(root, &path, pending, found, |terminal| {
                found = visit(&self.terminals[terminal as usize]);
                found
            });
            if found == self.trie.highest() {
                break;
            }
        }
        steps
    }
}

/// Inserts every pair of host and path of a route. `each` is called with the path's index and the pair's terminal, host by
/// host and in the order of the paths.
fn for_each_pair(route: &RoutePlan, hosts: &mut Hosts, trie: &mut Trie, mut each: impl FnMut(usize, u32)) {
    let under = |host: Option<&HostPattern>| {
        let root = hosts.root(host, || trie.add_root());
        for (index, path) in route.paths.iter().enumerate() {
            each(index, trie.insert(root, path, route.priority));
        }
    };
    hosts_of(route).for_each(under);
}

/// The hosts of a route, `None` standing for any.
fn hosts_of(route: &RoutePlan) -> impl Iterator<Item = Option<&HostPattern>> {
    route.hosts.iter().map(Some).chain(route.hosts.is_empty().then_some(None))
}
