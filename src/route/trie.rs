//! Path patterns as tries of segments, one trie per host, all in one arena.
//!
//! Every pattern ends in a *terminal*: a number for one host and one path shape (capture names do not count). Each node
//! has one depth and is examined at most once in a search, so a search is bounded by the trie and not by the request,
//! however much the patterns backtrack.

use std::collections::HashMap;

use crate::plan::{PathPattern, Segment, Tail};

/// An index of nodes. Its keys come from the configuration alone, so fixed hash seeds are safe.
pub(super) type NodeIndex = HashMap<Box<[u8]>, u32, foldhash::fast::FixedState>;

#[derive(Clone, Default)]
pub(super) struct Trie {
    nodes: Vec<TrieNode>,
    terminals: u32,
    depth: usize,
    /// The highest priority of all patterns.
    highest: Option<i64>,
}

#[derive(Clone)]
struct TrieNode {
    literals: NodeIndex,
    capture: Option<u32>,
    /// The terminal of the pattern that ends here.
    exact: Option<u32>,
    /// The terminal of the pattern whose tail starts here.
    tail: Option<u32>,
    /// The highest priority of this node and those below it.
    highest: i64,
}

/// A path at one depth.
pub(super) enum TrieStep<'p> {
    Segment {
        /// `None`: any text, which no literal covers.
        literal: Option<&'p [u8]>,
        /// Whether `{capture}` matches it: it does not match the empty segment.
        capturable: bool,
    },
    /// No segments are left; `exact`: and nothing may follow.
    End { exact: bool },
}

/// A path to search a trie for: a request's, or a pattern whose covering patterns are wanted.
pub(super) trait TriePath {
    fn step(&self, depth: usize) -> TrieStep<'_>;
}

/// A node that a search has still to examine.
pub(super) struct PendingNode {
    node: u32,
    depth: u32,
    /// Only the node's tail.
    tail: bool,
}

impl Trie {
    /// The number of segments of the deepest pattern.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// The highest priority of all patterns; `None`: there are none.
    pub(super) fn highest(&self) -> Option<i64> {
        self.highest
    }

    /// Adds the root of another host's trie.
    pub(super) fn add_root(&mut self) -> u32 {
        self.add_node()
    }

    /// Inserts a pattern below `root` and returns its terminal; terminals are numbered from 0 without gaps.
    pub(super) fn insert(&mut self, root: u32, pattern: &PathPattern, priority: i64) -> u32 {
        self.depth = self.depth.max(pattern.segments.len());
        self.highest = self.highest.max(Some(priority));
        let mut at = root;
        self.raise(at, priority);
        for segment in &pattern.segments {
            at = self.child(at, segment);
            self.raise(at, priority);
        }
        let node = &mut self.nodes[at as usize];
        let terminal = match pattern.tail {
            Tail::Exact => &mut node.exact,
            Tail::Any | Tail::Capture(_) => &mut node.tail,
        };
        *terminal.get_or_insert_with(|| {
            self.terminals += 1;
            self.terminals - 1
        })
    }

    fn child(&mut self, parent: u32, segment: &Segment) -> u32 {
        let node = &self.nodes[parent as usize];
        let known = match segment {
            Segment::Literal(text) => node.literals.get(text.as_bytes()).copied(),
            Segment::Capture(_) => node.capture,
        };
        known.unwrap_or_else(|| {
            let child = self.add_node();
            let node = &mut self.nodes[parent as usize];
            match segment {
                Segment::Literal(text) => drop(node.literals.insert(text.as_bytes().into(), child)),
                Segment::Capture(_) => node.capture = Some(child),
            }
            child
        })
    }

    fn add_node(&mut self) -> u32 {
        self.nodes.push(TrieNode {
            literals: NodeIndex::default(),
            capture: None,
            exact: None,
            tail: None,
            highest: i64::MIN,
        });
        self.nodes.len() as u32 - 1
    }

    fn raise(&mut self, node: u32, priority: i64) {
        let highest = &mut self.nodes[node as usize].highest;
        *highest = priority.max(*highest);
    }

    /// Visits the terminals that match `path`, the more specific first: by segment, literal before capture before
    /// `*`. Only nodes whose priority exceeds `floor` are examined; `visit` returns the new floor.
    /// Returns the number of nodes examined.
    pub(super) fn walk(
        &self,
        root: u32,
        path: &impl TriePath,
        pending: &mut Vec<PendingNode>,
        mut floor: Option<i64>,
        mut visit: impl FnMut(u32) -> Option<i64>,
    ) -> usize {
        let mut steps = 0;
        pending.clear();
        pending.push(PendingNode { node: root, depth: 0, tail: false });
        while let Some(PendingNode { node: at, depth, tail }) = pending.pop() {
            let node = &self.nodes[at as usize];
            if floor >= Some(node.highest) {
                continue;
            }
            steps += 1;
            let step = if tail { TrieStep::End { exact: false } } else { path.step(depth as usize) };
            match step {
                TrieStep::End { exact } => {
                    for terminal in node.exact.filter(|_| exact).into_iter().chain(node.tail) {
                        floor = visit(terminal);
                    }
                }
                // The last one pushed is examined next.
                TrieStep::Segment { literal, capturable } => {
                    if node.tail.is_some() {
                        pending.push(PendingNode { node: at, depth, tail: true });
                    }
                    let capture = node.capture.filter(|_| capturable);
                    let literal = literal.and_then(|text| node.literals.get(text)).copied();
                    for child in capture.into_iter().chain(literal) {
                        pending.push(PendingNode { node: child, depth: depth + 1, tail: false });
                    }
                }
            }
        }
        steps
    }
}

/// A search for a pattern visits the patterns that match every path it matches.
impl TriePath for PathPattern {
    fn step(&self, depth: usize) -> TrieStep<'_> {
        match self.segments.get(depth) {
            Some(Segment::Literal(text)) => {
                TrieStep::Segment { literal: Some(text.as_bytes()), capturable: !text.is_empty() }
            }
            Some(Segment::Capture(_)) => TrieStep::Segment { literal: None, capturable: true },
            None => TrieStep::End { exact: self.tail == Tail::Exact },
        }
    }
}
