//! Regular expressions whose searches look at the clock as they go, so that none holds up a shard beyond its call's time.
//!
//! The crate `regex` cannot be interrupted, and there are patterns and texts with which one search takes seconds. So
//! this uses the parts it is made of (`regex-automata`): a lazily built automaton reads most texts, byte by byte; where
//! that cannot (`\b` in a text that is not ASCII), and for groups, the pattern's threads are simulated.

mod threads;

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use regex_automata::hybrid::dfa::{Builder, Cache, Config, DFA};
use regex_automata::hybrid::{BuildError, CacheError, LazyStateID};
use regex_automata::nfa::thompson::{self, Compiler, NFA, WhichCaptures};
use regex_automata::util::interpolate;
use regex_automata::util::primitives::PatternID;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchError, MatchKind};

use threads::Threads;

/// Longer patterns are refused: what is parsed takes many times its text.
const MAX_PATTERN_BYTES: usize = 8 * 1024;
/// Bytes that one compiled pattern may take in each direction, and the states of its lazily built automaton as much again.
const MAX_BYTES: usize = 256 * 1024;

/// Why a text is no pattern that can be used.
pub(super) enum PatternError {
    Malformed(String),
    TooLarge(&'static str, usize),
    TooManyGroups,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::Malformed(why) => write!(f, "is no regular expression: {why}"),
            PatternError::TooLarge(what, bytes) => {
                write!(f, "is too large for a regular expression: {what} more than {bytes} bytes")
            }
            PatternError::TooManyGroups => f.write_str("has too many groups for its size"),
        }
    }
}

/// The call's time was over before the search.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TimeOver;

/// Has a search look at the clock after a certain amount of work.
pub(super) struct SearchTime<'a> {
    left: u32,
    is_left: &'a dyn Fn() -> bool,
}

impl<'a> SearchTime<'a> {
    /// Work between two looks at the clock. A thread's step is 1, some nanoseconds.
    const INTERVAL: u32 = 1024;
    /// A byte read by the automaton: a nanosecond or two, unless it has to build a state.
    const BYTE: u32 = 16;

    /// `is_left`: whether there is time left.
    pub fn new(is_left: &'a dyn Fn() -> bool) -> SearchTime<'a> {
        SearchTime { left: Self::INTERVAL, is_left }
    }

    fn spend(&mut self, work: u32) -> Result<(), TimeOver> {
        if let Some(left) = self.left.checked_sub(work) {
            self.left = left;
            return Ok(());
        }
        self.left = Self::INTERVAL;
        if (self.is_left)() { Ok(()) } else { Err(TimeOver) }
    }
}

/// Bytes that the automaton reads between two looks at the clock.
const CHUNK_BYTES: usize = (SearchTime::INTERVAL / SearchTime::BYTE) as usize;

/// Why the automaton has not read a text to its end.
enum Interruption {
    TimeOver,
    /// It cannot tell what comes next: a word boundary beside a character that is not ASCII.
    Unreadable,
}

impl From<TimeOver> for Interruption {
    fn from(_: TimeOver) -> Interruption {
        Interruption::TimeOver
    }
}

impl From<MatchError> for Interruption {
    fn from(_: MatchError) -> Interruption {
        Interruption::Unreadable
    }
}

impl From<CacheError> for Interruption {
    fn from(_: CacheError) -> Interruption {
        Interruption::Unreadable
    }
}

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Finds where a match ends.
    forward: DFA,
    /// Finds where it starts, from its end.
    reverse: DFA,
    /// The states that they have built so far.
    caches: RefCell<(Cache, Cache)>,
}

impl Pattern {
    /// # Errors
    /// A text that is no pattern, or one of which too much would be made.
    pub fn new(pattern: &str) -> Result<Pattern, PatternError> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLarge("it has", MAX_PATTERN_BYTES));
        }
        let parsed = syntax::parse(pattern).map_err(|error| PatternError::Malformed(error.to_string()))?;
        let compile = |is_reverse: bool| {
            let captures = if is_reverse { WhichCaptures::None } else { WhichCaptures::All };
            let config = thompson::Config::new()
                .reverse(is_reverse)
                .which_captures(captures)
                .nfa_size_limit(Some(MAX_BYTES));
            let built = Compiler::new().configure(config).build_from_hir(&parsed);
            built.map_err(|error| match error.size_limit() {
                Some(bytes) => PatternError::TooLarge("compiled, it takes", bytes),
                None => PatternError::Malformed(error.to_string()),
            })
        };
        let automaton = |nfa: NFA, kind: MatchKind| {
            let config = Config::new()
                .match_kind(kind)
                .unicode_word_boundary(true)
                .cache_capacity(MAX_BYTES)
                // As much as a handful of states takes, where that is more.
                .skip_cache_capacity_check(true);
            Builder::new()
                .configure(config)
                .build_from_nfa(nfa)
                .map_err(|error: BuildError| PatternError::Malformed(error.to_string()))
        };
        let forward = automaton(compile(false)?, MatchKind::LeftmostFirst)?;
        let reverse = automaton(compile(true)?, MatchKind::All)?;
        let caches = RefCell::new((forward.create_cache(), reverse.create_cache()));
        Ok(Pattern { forward, reverse, caches })
    }

    /// Whether it matches anywhere in the text.
    ///
    /// # Errors
    /// There was no time to find out.
    pub fn is_match(&self, text: &str, time: SearchTime<'_>) -> Result<bool, TimeOver> {
        let mut search =
            Search { pattern: self, text, from: 0, last_end: None, threads: None, slots: 2, time };
        // An empty match may lie within a character, where it is none.
        if self.nfa().has_empty() {
            return Ok(search.find(0)?.is_some());
        }
        match self.end_of_match(text.as_bytes(), 0, true, &mut search.time) {
            Ok(end) => Ok(end.is_some()),
            Err(Interruption::TimeOver) => Err(TimeOver),
            Err(Interruption::Unreadable) => Ok(search.find_by_threads(0)?.is_some()),
        }
    }

    /// All matches in the text from left to right; with their groups, if `has_groups`.
    ///
    /// # Errors
    /// More groups than can be kept for a pattern of its size.
    pub fn search<'s>(
        &'s self,
        text: &'s str,
        has_groups: bool,
        time: SearchTime<'s>,
    ) -> Result<Search<'s>, PatternError> {
        let slots = if has_groups { self.nfa().group_info().slot_len() } else { 2 };
        if !Threads::is_affordable(self.nfa(), slots) {
            return Err(PatternError::TooManyGroups);
        }
        Ok(Search { pattern: self, text, from: 0, last_end: None, threads: None, slots, time })
    }

    fn nfa(&self) -> &NFA {
        self.forward.get_nfa()
    }

    /// The end of the first match that starts at `from` or later; of any match, if `is_any` will do.
    fn end_of_match(
        &self,
        text: &[u8],
        from: usize,
        is_any: bool,
        time: &mut SearchTime<'_>,
    ) -> Result<Option<usize>, Interruption> {
        let (dfa, cache) = (&self.forward, &mut self.caches.borrow_mut().0);
        let mut state = dfa.start_state_forward(cache, &Input::new(text).range(from..))?;
        let mut end = None;
        let mut at = from;
        time.spend(SearchTime::BYTE)?;
        for chunk in text[from..].chunks(CHUNK_BYTES) {
            for byte in chunk {
                state = dfa.next_state(cache, state, *byte)?;
                // What a state says is of the bytes before this one.
                if is_match(state)? {
                    end = Some(at);
                }
                if state.is_dead() || (is_any && end.is_some()) {
                    return Ok(end);
                }
                at += 1;
            }
            time.spend(SearchTime::INTERVAL)?;
        }
        if is_match(dfa.next_eoi_state(cache, state)?)? {
            end = Some(at);
        }
        Ok(end)
    }

    /// The start of the match that ends there, at `from` or later.
    fn start_of_match(
        &self,
        text: &[u8],
        from: usize,
        end: usize,
        time: &mut SearchTime<'_>,
    ) -> Result<Option<usize>, Interruption> {
        if from == end || self.nfa().is_always_start_anchored() {
            return Ok(Some(from));
        }
        let (dfa, cache) = (&self.reverse, &mut self.caches.borrow_mut().1);
        let input = Input::new(text).range(from..end).anchored(Anchored::Yes);
        let mut state = dfa.start_state_reverse(cache, &input)?;
        let mut start = None;
        let mut at = end;
        for chunk in text[from..end].rchunks(CHUNK_BYTES) {
            for byte in chunk.iter().rev() {
                state = dfa.next_state(cache, state, *byte)?;
                if is_match(state)? {
                    start = Some(at);
                }
                if state.is_dead() {
                    return Ok(start);
                }
                at -= 1;
            }
            time.spend(SearchTime::BYTE * u32::try_from(chunk.len()).unwrap_or(SearchTime::INTERVAL))?;
        }
        state = match from.checked_sub(1) {
            Some(before) => dfa.next_state(cache, state, text[before])?,
            None => dfa.next_eoi_state(cache, state)?,
        };
        if is_match(state)? {
            start = Some(at);
        }
        Ok(start)
    }
}

/// Whether the bytes before the one that led to this state are a match.
fn is_match(state: LazyStateID) -> Result<bool, Interruption> {
    if state.is_quit() { Err(Interruption::Unreadable) } else { Ok(state.is_match()) }
}

/// The matches of a pattern in a text.
pub(super) struct Search<'s> {
    pattern: &'s Pattern,
    text: &'s str,
    from: usize,
    last_end: Option<usize>,
    /// Made when they are needed first.
    threads: Option<Threads>,
    slots: usize,
    time: SearchTime<'s>,
}

impl Search<'_> {
    /// The next match; none is empty where the one before it ends.
    ///
    /// # Errors
    /// There was no time to find it.
    pub fn next(&mut self) -> Result<Option<Range<usize>>, TimeOver> {
        let mut found = self.find(self.from)?;
        if let Some(range) = &found
            && range.is_empty()
            && self.last_end == Some(range.end)
        {
            if self.from == self.text.len() {
                return Ok(None);
            }
            found = self.find(self.from + 1)?;
        }
        if let Some(range) = &found {
            self.from = range.end;
            self.last_end = Some(range.end);
        }
        Ok(found)
    }

    /// Appends `with`, in which `$1` and `${name}` are groups of this match.
    ///
    /// # Errors
    /// There was no time to find the groups.
    pub fn expand(&mut self, found: Range<usize>, with: &str, out: &mut String) -> Result<(), TimeOver> {
        let nfa = self.pattern.nfa();
        let threads = self.threads.get_or_insert_with(|| Threads::new(nfa, self.slots));
        threads.search(nfa, self.text.as_bytes(), found, true, &mut self.time)?;
        let (text, groups) = (self.text, nfa.group_info());
        interpolate::string(
            with,
            |group, out| {
                let range = groups.slot(PatternID::ZERO, group).and_then(|slot| threads.found(slot));
                out.push_str(range.and_then(|range| text.get(range)).unwrap_or_default());
            },
            |name| groups.to_index(PatternID::ZERO, name),
            out,
        );
        Ok(())
    }

    /// The first match from there on.
    fn find(&mut self, mut from: usize) -> Result<Option<Range<usize>>, TimeOver> {
        loop {
            let found = self.find_bytes(from)?;
            match found {
                // An empty match within a character is none.
                Some(range) if !self.text.is_char_boundary(range.end) => from += 1,
                found => return Ok(found),
            }
        }
    }

    fn find_bytes(&mut self, from: usize) -> Result<Option<Range<usize>>, TimeOver> {
        let text = self.text.as_bytes();
        let found = self.pattern.end_of_match(text, from, false, &mut self.time).and_then(|end| {
            let Some(end) = end else { return Ok(None) };
            let start = self.pattern.start_of_match(text, from, end, &mut self.time)?;
            start.map(|start| Some(start..end)).ok_or(Interruption::Unreadable)
        });
        match found {
            Ok(found) => Ok(found),
            Err(Interruption::TimeOver) => Err(TimeOver),
            Err(Interruption::Unreadable) => self.find_by_threads(from),
        }
    }

    fn find_by_threads(&mut self, from: usize) -> Result<Option<Range<usize>>, TimeOver> {
        let nfa = self.pattern.nfa();
        let threads = self.threads.get_or_insert_with(|| Threads::new(nfa, self.slots));
        let range = from..self.text.len();
        let is_found = threads.search(nfa, self.text.as_bytes(), range, false, &mut self.time)?;
        Ok(if is_found { threads.found(0) } else { None })
    }
}

#[cfg(test)]
mod tests;
