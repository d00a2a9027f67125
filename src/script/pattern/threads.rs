//! A pattern's threads, simulated side by side: slower than the automaton, but they know every boundary and the groups.
//!
//! One pass over the text; each byte costs at most a step for each state of the pattern.

use std::mem;
use std::ops::Range;

use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::primitives::StateID;

use super::{SearchTime, TimeOver};

/// Positions that are kept for all threads together: 1 MiB, twice.
const MAX_SLOTS: usize = 256 * 1024;
/// A slot without a position. No string of a script is as long.
const NOWHERE: u32 = u32::MAX;

/// The threads of a search, and what they have found: where each group starts and ends.
pub(super) struct Threads {
    current: ThreadSet,
    next: ThreadSet,
    stack: Vec<Frame>,
    /// The positions of the thread that is on its way.
    slots: Vec<u32>,
    found: Vec<u32>,
}

/// Threads by the state they are in, in the order of their preference, each with its positions.
struct ThreadSet {
    order: Vec<StateID>,
    is_in: Vec<bool>,
    slots: Vec<u32>,
}

enum Frame {
    Explore(StateID),
    /// What lies behind an alternative must not see its groups.
    Restore {
        slot: usize,
        position: u32,
    },
}

impl ThreadSet {
    fn new(states: usize, slots: usize) -> ThreadSet {
        ThreadSet { order: Vec::new(), is_in: vec![false; states], slots: vec![NOWHERE; states * slots] }
    }

    fn clear(&mut self) {
        for state in self.order.drain(..) {
            self.is_in[state.as_usize()] = false;
        }
    }

    fn insert(&mut self, state: StateID) -> bool {
        if mem::replace(&mut self.is_in[state.as_usize()], true) {
            return false;
        }
        self.order.push(state);
        true
    }

    fn slots_of(&mut self, state: StateID, slots: usize) -> &mut [u32] {
        &mut self.slots[state.as_usize() * slots..][..slots]
    }
}

impl Threads {
    /// Whether so many positions for each state of the pattern are within bounds.
    pub fn is_affordable(nfa: &NFA, slots: usize) -> bool {
        nfa.states().len().saturating_mul(slots) <= MAX_SLOTS
    }

    /// `slots`: two for each group, the whole match being the first.
    pub fn new(nfa: &NFA, slots: usize) -> Threads {
        let set = || ThreadSet::new(nfa.states().len(), slots);
        Threads {
            current: set(),
            next: set(),
            stack: Vec::new(),
            slots: vec![NOWHERE; slots],
            found: vec![NOWHERE; slots],
        }
    }

    /// What the last search has found between this slot and the next.
    pub fn found(&self, slot: usize) -> Option<Range<usize>> {
        match *self.found.get(slot..slot + 2)? {
            [start, end] if start != NOWHERE && end != NOWHERE => Some(start as usize..end as usize),
            _ => None,
        }
    }

    /// Looks for the first match in that range of the text; `is_anchored`: for one at its start.
    pub fn search(
        &mut self,
        nfa: &NFA,
        text: &[u8],
        range: Range<usize>,
        is_anchored: bool,
        time: &mut SearchTime<'_>,
    ) -> Result<bool, TimeOver> {
        let Threads { current, next, stack, slots, found } = self;
        current.clear();
        next.clear();
        let mut is_found = false;
        for at in range.start..=range.end {
            let may_start = !is_found && (at == range.start || !is_anchored);
            if current.order.is_empty() && !may_start {
                break;
            }
            let mut walk = Walk { nfa, text, at, stack: &mut *stack, slots: &mut *slots, work: 1 };
            if may_start {
                walk.slots.fill(NOWHERE);
                walk.enter(current, nfa.start_anchored());
            }
            let byte = text.get(at).copied().filter(|_| at < range.end);
            walk.at += 1;
            for index in 0..current.order.len() {
                let state = current.order[index];
                let after = match nfa.state(state) {
                    State::Match { .. } => {
                        is_found = true;
                        let count = found.len();
                        found.copy_from_slice(current.slots_of(state, count));
                        // Those after it are less preferred.
                        break;
                    }
                    State::ByteRange { trans } => {
                        byte.filter(|byte| trans.matches_byte(*byte)).map(|_| trans.next)
                    }
                    State::Sparse(transitions) => byte.and_then(|byte| transitions.matches_byte(byte)),
                    State::Dense(transitions) => byte.and_then(|byte| transitions.matches_byte(byte)),
                    _ => None,
                };
                if let Some(after) = after {
                    let count = walk.slots.len();
                    walk.slots.copy_from_slice(current.slots_of(state, count));
                    walk.enter(next, after);
                }
            }
            let work = walk.work.saturating_add(u32::try_from(current.order.len()).unwrap_or(u32::MAX));
            mem::swap(current, next);
            next.clear();
            time.spend(work)?;
        }
        Ok(is_found)
    }
}

/// How one thread goes on at a position, without reading a byte.
struct Walk<'w> {
    nfa: &'w NFA,
    text: &'w [u8],
    at: usize,
    stack: &'w mut Vec<Frame>,
    /// The thread's positions.
    slots: &'w mut [u32],
    work: u32,
}

impl Walk<'_> {
    /// Puts into the set, in the order of preference, the states that can be reached from this one.
    fn enter(&mut self, set: &mut ThreadSet, state: StateID) {
        self.stack.push(Frame::Explore(state));
        while let Some(frame) = self.stack.pop() {
            match frame {
                Frame::Restore { slot, position } => self.slots[slot] = position,
                Frame::Explore(state) => self.explore(set, state),
            }
        }
    }

    fn explore(&mut self, set: &mut ThreadSet, mut state: StateID) {
        let count = self.slots.len();
        while set.insert(state) {
            self.work += 1;
            state = match self.nfa.state(state) {
                State::Look { look, next } => {
                    if !self.nfa.look_matcher().matches(*look, self.text, self.at) {
                        return;
                    }
                    *next
                }
                State::Union { alternates } => {
                    let Some((first, others)) = alternates.split_first() else { return };
                    self.stack.extend(others.iter().rev().map(|state| Frame::Explore(*state)));
                    *first
                }
                State::BinaryUnion { alt1, alt2 } => {
                    self.stack.push(Frame::Explore(*alt2));
                    *alt1
                }
                State::Capture { next, slot, .. } => {
                    let slot = slot.as_usize();
                    if slot < count {
                        self.stack.push(Frame::Restore { slot, position: self.slots[slot] });
                        self.slots[slot] = u32::try_from(self.at).unwrap_or(NOWHERE);
                    }
                    *next
                }
                _ => return set.slots_of(state, count).copy_from_slice(self.slots),
            };
        }
    }
}
