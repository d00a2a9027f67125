//! Smooth weighted round robin, as nginx does it: weights 5, 1, 1 give A A B A C A A, never five A in a row.

/// Above this many picks a start is not looked for further on in the cycle: weights like 65535 and 65534 have a
/// cycle too long to walk through while building.
const MAX_START: u64 = 4096;

/// Each usable endpoint gains its weight at every pick; the one with the most is picked and pays what all gained.
#[derive(Clone, Debug)]
pub(super) struct RoundRobin {
    endpoints: Box<[CreditedEndpoint]>,
}

#[derive(Clone, Debug)]
struct CreditedEndpoint {
    weight: u32,
    credit: i64,
}

impl RoundRobin {
    /// Begins `seed` picks into the cycle.
    pub(super) fn new(weights: &[u32], seed: u64) -> RoundRobin {
        let endpoint = |weight: &u32| CreditedEndpoint { weight: *weight, credit: 0 };
        let mut round_robin = RoundRobin { endpoints: weights.iter().map(endpoint).collect() };
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
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            // Without a weight one has no turn, even where all others are in debt.
            if endpoint.weight == 0 || !usable(index) {
                continue;
            }
            gained += i64::from(endpoint.weight);
            // Saturating, because nobody has proved a bound for every order in which endpoints come and go.
            endpoint.credit = endpoint.credit.saturating_add(i64::from(endpoint.weight));
            if best.is_none_or(|(_, credit)| endpoint.credit > credit) {
                best = Some((index, endpoint.credit));
            }
        }
        let (index, credit) = best?;
        self.endpoints[index].credit = credit.saturating_sub(gained);
        Some(index)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
