//! What a path pattern captured, and the buffers a look-up works in: made once per connection, used again by
//! every request, so that a look-up allocates nothing once they have grown to the table's depth.

use super::trie::{PatternPath, PendingNode, TrieStep};
use crate::plan::{PathPattern, Segment, Tail};

/// Spans of the request's path by the name of their capture.
#[derive(Default)]
pub struct Captures {
    /// Where the slash before each segment stands, down to the depth of the deepest pattern.
    slashes: Vec<usize>,
    pending: Vec<PendingNode>,
    /// The names one after the other: copied, so that neither a lifetime nor a counted reference is needed.
    names: String,
    spans: Vec<CaptureSpan>,
    prefix_len: usize,
}

#[derive(Clone, Copy)]
struct CaptureSpan {
    /// Where the name ends in `names`; it begins where the previous one ends.
    name_end: usize,
    start: usize,
    end: usize,
}

/// What a pattern captures, and how deep it is.
#[derive(Clone)]
pub(super) struct PatternShape {
    depth: usize,
    /// The segment's index and its name.
    captures: Box<[(usize, Box<str>)]>,
    /// The name of the rest; `None`: the path ends with the pattern.
    rest: Option<Box<str>>,
}

impl PatternShape {
    pub(super) fn of(pattern: &PathPattern) -> PatternShape {
        let capture = |(index, segment): (usize, &Segment)| match segment {
            Segment::Capture(name) => Some((index, (**name).into())),
            Segment::Literal(_) => None,
        };
        PatternShape {
            depth: pattern.segments.len(),
            captures: pattern.segments.iter().enumerate().filter_map(capture).collect(),
            rest: match &pattern.tail {
                Tail::Exact => None,
                Tail::Any => Some("rest".into()),
                Tail::Capture(name) => Some((**name).into()),
            },
        }
    }
}

/// A request's path, cut at its slashes.
pub(super) struct SplitPath<'c> {
    path: &'c [u8],
    slashes: &'c [usize],
}

impl Captures {
    /// What the capture of this name took of `path`, which must be the path of the look-up; `*` is `rest`.
    pub fn get<'p>(&self, name: &str, path: &'p [u8]) -> Option<&'p [u8]> {
        self.iter(path).find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All captures in the order of the pattern.
    pub fn iter<'s, 'p>(&'s self, path: &'p [u8]) -> impl Iterator<Item = (&'s str, &'p [u8])> {
        self.spans.iter().scan(0, move |name_start, span| {
            let name = self.names.get(*name_start..span.name_end)?;
            *name_start = span.name_end;
            Some((name, path.get(span.start..span.end)?))
        })
    }

    /// How many bytes of the path stand before the tail: what `strip_prefix` removes. `/api/users/*` on
    /// `/api/users/42`: 10. The whole path where the pattern has no tail.
    pub fn prefix_len(&self) -> usize {
        self.prefix_len
    }

    /// Forgets the last look-up and cuts `path` down to `depth` segments and one: what is deeper only a tail
    /// takes, so a path of thousands of slashes costs what the configuration asks for, no more.
    /// `None` for what is no path (`*`).
    pub(super) fn split<'c>(
        &'c mut self,
        path: &'c [u8],
        depth: usize,
    ) -> Option<(SplitPath<'c>, &'c mut Vec<PendingNode>)> {
        self.names.clear();
        self.spans.clear();
        self.slashes.clear();
        self.prefix_len = 0;
        if !path.starts_with(b"/") {
            return None;
        }
        self.slashes.extend(memchr::memchr_iter(b'/', path).take(depth + 1));
        Some((SplitPath { path, slashes: &self.slashes }, &mut self.pending))
    }

    /// Keeps what `shape` captures of the path that was split last.
    pub(super) fn record(&mut self, shape: &PatternShape, path: &[u8]) {
        let starts_at = |index: usize| self.slashes.get(index).copied().unwrap_or(path.len());
        self.prefix_len = if shape.rest.is_some() { starts_at(shape.depth) } else { path.len() };
        for (index, name) in &shape.captures {
            self.names.push_str(name);
            let (start, end) = (starts_at(*index) + 1, starts_at(index + 1));
            self.spans.push(CaptureSpan { name_end: self.names.len(), start, end });
        }
        if let Some(name) = &shape.rest {
            self.names.push_str(name);
            let start = path.len().min(self.prefix_len + 1);
            self.spans.push(CaptureSpan { name_end: self.names.len(), start, end: path.len() });
        }
    }
}

impl PatternPath for SplitPath<'_> {
    fn step(&self, depth: usize) -> TrieStep<'_> {
        let Some(slash) = self.slashes.get(depth) else { return TrieStep::End { exact: true } };
        let end = self.slashes.get(depth + 1).copied().unwrap_or(self.path.len());
        let segment = self.path.get(slash + 1..end).unwrap_or_default();
        TrieStep::Segment { literal: Some(segment), capturable: !segment.is_empty() }
    }
}
