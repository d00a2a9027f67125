//! Smooth weighted round robin, as nginx does it: weights 5, 1, 1 give A A B A C A A, never five A in a row.

/// Above this many picks a start is not looked for further on in the cycle: weights like 65535 and 65534 have a
/// cycle too long to walk through while building.
const MAX_START: u64 = 4096;

/// Each usable target gains its weight at every pick; the one with the most is picked and pays what all gained.
#[derive(Clone, Debug)]
pub(super) struct RoundRobin {
    targets: Box<[Target]>,
}

#[derive(Clone, Debug)]
struct Target {
    weight: u32,
    credit: i64,
}

impl RoundRobin {
    /// Begins `seed` picks into the cycle.
    pub(super) fn new(weights: &[u32], seed: u64) -> RoundRobin {
        let targets = weights.iter().map(|weight| Target { weight: *weight, credit: 0 }).collect();
        let mut round_robin = RoundRobin { targets };
        let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, u64::from(*weight))).max(1);
        let cycle = weights.iter().map(|weight| u64::from(*weight) / divisor).sum::<u64>();
        for _ in 0..seed % cycle.clamp(1, MAX_START) {
            round_robin.pick(|_| true);
        }
        round_robin
    }

    pub(super) fn pick(&mut self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut gained = 0_i64;
        let mut best: Option<(usize, i64)> = None;
        for (index, target) in self.targets.iter_mut().enumerate().filter(|(index, _)| usable(*index)) {
            gained += i64::from(target.weight);
            // Saturating, because nobody has proved a bound for every order in which targets come and go.
            target.credit = target.credit.saturating_add(i64::from(target.weight));
            if best.is_none_or(|(_, credit)| target.credit > credit) {
                best = Some((index, target.credit));
            }
        }
        let (index, credit) = best?;
        self.targets[index].credit = credit.saturating_sub(gained);
        Some(index)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
