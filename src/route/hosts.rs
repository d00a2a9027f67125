//! From a host to the tries of its routes.

use std::cmp::Reverse;

use super::trie::NodeIndex;
use crate::plan::HostPattern;

/// The roots of the hosts' tries.
#[derive(Clone, Default)]
pub(super) struct Hosts {
    exact: NodeIndex,
    /// By the suffix after `*.`.
    wildcard: NodeIndex,
    /// The distinct lengths of the keys of `wildcard`, longest first. Only suffixes of these lengths are hashed, so a host
    /// of thousands of labels costs no more than any other.
    lengths: Vec<usize>,
    any: Option<u32>,
}

impl Hosts {
    /// The root of this host's trie, made on first use; `None` stands for any host.
    pub(super) fn root(&mut self, host: Option<&HostPattern>, make: impl FnOnce() -> u32) -> u32 {
        match host {
            None => *self.any.get_or_insert_with(make),
            Some(HostPattern::Exact(name)) => *self.exact.entry(name.as_bytes().into()).or_insert_with(make),
            Some(HostPattern::Wildcard(suffix)) => {
                if let Err(at) =
                    self.lengths.binary_search_by_key(&Reverse(suffix.len()), |len| Reverse(*len))
                {
                    self.lengths.insert(at, suffix.len());
                }
                *self.wildcard.entry(suffix.as_bytes().into()).or_insert_with(make)
            }
        }
    }

    /// The roots for a request's host, most specific first.
    pub(super) fn of(&self, host: &[u8]) -> impl Iterator<Item = u32> {
        let wildcards = self.lengths.iter().filter_map(move |len| self.wildcard.get(suffix(host, *len)?));
        self.exact.get(host).into_iter().chain(wildcards).copied().chain(self.any)
    }

    /// The roots of the patterns that match every host that `host` matches, `host` itself first.
    pub(super) fn over(&self, host: Option<&HostPattern>) -> impl Iterator<Item = u32> {
        let key = match host {
            None => String::new(),
            Some(HostPattern::Exact(name)) => name.to_string(),
            // No exact host contains a `*`, so this finds the wildcards that cover all names below the suffix.
            Some(HostPattern::Wildcard(suffix)) => format!("*.{suffix}"),
        };
        self.of(key.as_bytes()).collect::<Vec<_>>().into_iter()
    }
}

/// The last `len` bytes of the host, if they start at a label and at least one label precedes them.
fn suffix(host: &[u8], len: usize) -> Option<&[u8]> {
    let dot = host.len().checked_sub(len + 1).filter(|dot| *dot > 0)?;
    (*host.get(dot)? == b'.').then(|| &host[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_begins_at_a_label_and_leaves_one_before_it() {
        assert_eq!(suffix(b"a.example.com", 11), Some(&b"example.com"[..]));
        assert_eq!(suffix(b"a.example.com", 3), Some(&b"com"[..]));
        for host in [&b"aexample.com"[..], b"example.com", b".example.com", b"", b"com"] {
            assert_eq!(suffix(host, 11), None, "{host:?}");
        }
    }

    #[test]
    fn roots_come_exact_first_then_the_longer_wildcard_then_any() {
        let mut hosts = Hosts::default();
        let wildcard = |suffix: &str| HostPattern::Wildcard(suffix.into());
        hosts.root(None, || 0);
        hosts.root(Some(&wildcard("com")), || 1);
        hosts.root(Some(&wildcard("b.com")), || 2);
        hosts.root(Some(&wildcard("c.com")), || 3);
        hosts.root(Some(&HostPattern::Exact("a.b.com".into())), || 4);
        let of = |host: &str| hosts.of(host.as_bytes()).collect::<Vec<_>>();
        assert_eq!(of("a.b.com"), [4, 2, 1, 0]);
        assert_eq!(of("x.a.b.com"), [2, 1, 0]);
        assert_eq!(of("b.com"), [1, 0]);
        assert_eq!(of("com"), [0]);
        assert_eq!(of(""), [0]);
        assert_eq!(hosts.over(Some(&wildcard("b.com"))).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(hosts.over(Some(&wildcard("com"))).collect::<Vec<_>>(), [1, 0]);
    }
}
