//! Calls that have no place in this code, or only in one.

use super::assert_none;
use super::source::{self, Source, is_word};

/// Where a rule holds.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    /// In production and test code alike.
    Everywhere,
    /// In `src/`, outside of test code.
    Production,
    /// In test code, and in `src/shard/`, which must never block.
    TestsAndShard,
    /// In the folders that take `now` as an argument, tests included: what they decide does not depend on the hour.
    Deciders,
}

/// The floors of deciders, and those above them that take `now` from the shard.
const DECIDERS: [&str; 10] =
    ["http", "route", "auth", "balance", "limit", "cache", "metrics", "plan", "pipeline", "exchange"];

struct Rule {
    /// As it stands in code; a word's beginning or end must be one there too.
    call: &'static str,
    holds: Where,
    why: &'static str,
    /// Beginnings of paths where it is allowed, each with its reason.
    but: &'static [(&'static str, &'static str)],
}

const RULES: &[Rule] = &[
    Rule { call: "todo!", holds: Where::Everywhere, why: "what is not done does not get in", but: &[] },
    Rule {
        call: "unimplemented!",
        holds: Where::Everywhere,
        why: "what is not done does not get in",
        but: &[],
    },
    Rule { call: "dbg!", holds: Where::Everywhere, why: "left over from a search", but: &[] },
    Rule {
        call: "println!",
        holds: Where::Production,
        why: "it panics when nobody reads: write, and look at the result",
        but: &[],
    },
    Rule {
        call: "print!",
        holds: Where::Production,
        why: "it panics when nobody reads: write, and look at the result",
        but: &[],
    },
    Rule {
        call: "eprintln!",
        holds: Where::Production,
        why: "it panics when nobody reads: log it, or write and look at the result",
        but: &[],
    },
    Rule {
        call: "eprint!",
        holds: Where::Production,
        why: "it panics when nobody reads: log it, or write and look at the result",
        but: &[],
    },
    Rule {
        call: ".unwrap()",
        holds: Where::Production,
        why: "`expect` says which invariant holds",
        but: &[],
    },
    Rule {
        call: "thread::sleep",
        holds: Where::TestsAndShard,
        why: "tests wait for events, with a deadline; a shard never blocks",
        but: &[
            ("tests/e2e/support/machine.rs", "`let_time_pass`, where time itself is what is tested"),
            ("src/store/tests/", "polls servers that do not say when they are up"),
        ],
    },
    Rule {
        call: "SystemTime::now",
        holds: Where::Deciders,
        why: "deciders take `now` as an argument",
        but: &[],
    },
    Rule {
        call: "Instant::now",
        holds: Where::Deciders,
        why: "deciders take `now` as an argument",
        but: &[],
    },
    Rule {
        call: "unsafe",
        holds: Where::Everywhere,
        why: "one named file has it all, with its reasons",
        but: &[("src/net/socket.rs", "monoio asks for it")],
    },
    Rule {
        call: "BufWriter",
        holds: Where::Production,
        why: "monoio's overruns its buffer, and a name is easily taken from the wrong crate",
        but: &[],
    },
];

impl Rule {
    fn applies(&self, source: &Source, at: usize) -> bool {
        match self.holds {
            Where::Everywhere => true,
            Where::Production => !source.is_test(at),
            Where::TestsAndShard => source.is_test(at) || source.folder() == Some("shard"),
            Where::Deciders => source.folder().is_some_and(|folder| DECIDERS.contains(&folder)),
        }
    }

    /// Where the call stands in the code.
    fn found<'a>(&'a self, source: &'a Source) -> impl Iterator<Item = usize> + 'a {
        let code = source.code.as_bytes();
        source.code.match_indices(self.call).map(|(at, _)| at).filter(move |at| {
            let end = at + self.call.len();
            let joined = |a: usize, b: usize| {
                code.get(a).is_some_and(|a| is_word(*a)) && code.get(b).is_some_and(|b| is_word(*b))
            };
            !(*at > 0 && joined(at - 1, *at) || joined(end - 1, end))
        })
    }
}

#[test]
fn banned_calls_stand_nowhere_but_where_they_are_allowed() {
    let mut violations = Vec::new();
    let mut unused: Vec<(&str, &str)> =
        RULES.iter().flat_map(|rule| rule.but.iter().map(|(path, _)| (rule.call, *path))).collect();
    for source in source::all() {
        for rule in RULES {
            for at in rule.found(&source).filter(|at| rule.applies(&source, *at)) {
                match rule.but.iter().find(|(path, _)| source.path.starts_with(path)) {
                    Some((path, _)) => unused.retain(|pair| *pair != (rule.call, *path)),
                    None => violations.push(format!(
                        "{}: no `{}` here: {}",
                        source.place(at),
                        rule.call,
                        rule.why
                    )),
                }
            }
        }
    }
    violations.extend(unused.iter().map(|(call, path)| {
        format!("tests/tidy/calls.rs: {path} has no `{call}` any more: take the exception out")
    }));
    assert_none(&violations);
}
