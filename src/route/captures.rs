//! The captures of a path pattern, and the buffers of a look-up. Made once per connection and reused by every request,
//! so that a look-up allocates nothing once they have grown to the table's depth.

use super::trie::{PendingNode, TriePath, TrieStep};
use crate::plan::{PathPattern, Segment, Tail};

/// Spans of the request's path by capture name.
#[derive(Default)]
pub struct Captures {
    /// The offset of the slash before each segment, down to the depth of the deepest pattern.
    slashes: Vec<usize>,
    pending: Vec<PendingNode>,
    /// The names joined. Copied, so that neither a lifetime nor a reference count ties them to the table.
    names: String,
    spans: Vec<CaptureSpan>,
    prefix_len: usize,
}

#[derive(Clone, Copy)]
struct CaptureSpan {
    /// The end of the name in `names`; it starts at the end of the previous one.
    name_end: usize,
    start: usize,
    end: usize,
}

/// The captures of a pattern and its depth in segments.
#[derive(Clone)]
pub(super) struct PatternShape {
    depth: usize,
    /// Segment index and capture name.
    captures: Box<[(usize, Box<str>)]>,
    /// The name of the tail; `None`: the pattern has none.
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

/// A request's path, split at its slashes.
pub(super) struct SplitPath<'c> {
    path: &'c [u8],
    slashes: &'c [usize],
}

impl Captures {
    /// The value of the capture of this name in `path`, which must be the path of the look-up; `*` is `rest`.
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

    /// The bytes of the path before the tail, which `strip_prefix` removes: 10 for `/api/users/*` on `/api/users/42`. The
    /// whole path where the pattern has no tail.
    pub fn prefix_len(&self) -> usize {
        self.prefix_len
    }

    /// Clears the last look-up and splits `path` into at most `depth + 1` segments: only a tail matches deeper ones, so a
    /// path of thousands of slashes costs no more than the deepest pattern. `None`: not a path (`*`).
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

    /// Stores the captures of `shape` in the path that was split last.
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

impl TriePath for SplitPath<'_> {
    fn step(&self, depth: usize) -> TrieStep<'_> {
        let Some(slash) = self.slashes.get(depth) else { return TrieStep::End { exact: true } };
        let end = self.slashes.get(depth + 1).copied().unwrap_or(self.path.len());
        let segment = self.path.get(slash + 1..end).unwrap_or_default();
        TrieStep::Segment { literal: Some(segment), capturable: !segment.is_empty() }
    }
}
