//! A seeded simulation: endpoints that fail and recover at random, chosen by every strategy with breakers before them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Admission, Balancer, Breaker, WeightedEndpoint, mix};
use crate::plan::{AllOpen, Balance, BreakerPlan, CountedFailures, HashOn};

const WEIGHTS: [u32; 5] = [1, 2, 3, 4, 10];
/// One request begins in each millisecond.
const OUTAGES_MS: u64 = 60_000;
/// After the outages: twice the longest time that a breaker stays open.
const RECOVERY_MS: u64 = 20_000;
const MEASURED_MS: u64 = 100_000;
const LATENCY_MS: u64 = 40;

fn breaker_plan() -> BreakerPlan {
    BreakerPlan {
        failures: 3,
        counts: CountedFailures::All,
        failure_status: vec![],
        open_for: Duration::from_millis(500),
        max_open_for: Duration::from_secs(8),
        half_open: 2,
        max_ejected: 1.0,
        all_open: AllOpen::Refuse,
    }
}

/// Numbers that follow from the seed alone.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % bound
    }
}

struct Endpoint {
    breaker: Breaker,
    works: bool,
    active: u32,
    /// Requests in flight that the breaker let through as trials.
    trials: u32,
    picked: u64,
}

struct Request {
    endpoint: usize,
    admission: Admission,
    is_trial: bool,
    result: Option<bool>,
}

struct Run {
    plan: BreakerPlan,
    endpoints: Vec<Endpoint>,
    balancer: Balancer,
    in_flight: BTreeMap<u64, Vec<Request>>,
    draws: Draws,
    refused: u64,
}

impl Run {
    fn new(balance: &Balance, seed: u64) -> Run {
        let weighted: Vec<_> = (WEIGHTS.iter().enumerate())
            .map(|(index, weight)| WeightedEndpoint { name: index.to_string().into(), weight: *weight })
            .collect();
        let endpoint =
            |_| Endpoint { breaker: Breaker::default(), works: true, active: 0, trials: 0, picked: 0 };
        Run {
            plan: breaker_plan(),
            endpoints: WEIGHTS.iter().map(endpoint).collect(),
            balancer: Balancer::build(balance, &weighted, seed),
            in_flight: BTreeMap::new(),
            draws: Draws(mix(seed)),
            refused: 0,
        }
    }

    fn step(&mut self, now_ms: u64) {
        self.end(now_ms);
        let Run { endpoints, balancer, draws, plan, .. } = self;
        let key = mix(draws.below(u64::MAX));
        let admits = |index: usize| endpoints[index].breaker.admits(plan, now_ms);
        let Some(index) = balancer.pick(key, admits, |index| endpoints[index].active) else {
            assert!(!(0..WEIGHTS.len()).any(admits), "one was usable");
            self.refused += 1;
            return;
        };
        let endpoint = &mut endpoints[index];
        assert!(endpoint.breaker.admits(plan, now_ms), "picked although it is open");
        let admission = endpoint.breaker.begin(plan, now_ms);
        let is_trial = endpoint.breaker.is_tripped();
        endpoint.active += 1;
        endpoint.picked += 1;
        endpoint.trials += u32::from(is_trial);
        assert!(endpoint.trials <= plan.half_open, "more trials than allowed");
        // One in twenty clients leaves before the end.
        let result = (draws.below(20) > 0).then_some(endpoint.works);
        let ends_at = now_ms + 1 + draws.below(LATENCY_MS);
        self.in_flight.entry(ends_at).or_default().push(Request {
            endpoint: index,
            admission,
            is_trial,
            result,
        });
    }

    fn end(&mut self, now_ms: u64) {
        for Request { endpoint, admission, is_trial, result } in
            self.in_flight.remove(&now_ms).unwrap_or_default()
        {
            let draw = self.draws.below(u64::MAX);
            let endpoint = &mut self.endpoints[endpoint];
            endpoint.active -= 1;
            endpoint.trials -= u32::from(is_trial);
            match result {
                Some(true) => _ = endpoint.breaker.succeed(admission),
                Some(false) => _ = endpoint.breaker.fail(admission, &self.plan, now_ms, draw, || true),
                None => endpoint.breaker.cancel(admission),
            }
        }
    }
}

#[test]
fn after_any_outages_every_endpoint_gets_its_share_again_and_trials_stay_bounded() {
    let balances = [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::P2c,
        Balance::Random,
        Balance::Hash(HashOn::Ip),
    ];
    for (balance, seed) in balances.iter().flat_map(|balance| (0..4).map(move |seed| (balance, seed))) {
        let mut run = Run::new(balance, seed);
        for now_ms in 0..OUTAGES_MS {
            if run.draws.below(500) == 0 {
                let index = run.draws.below(WEIGHTS.len() as u64) as usize;
                run.endpoints[index].works = !run.endpoints[index].works;
            }
            run.step(now_ms);
        }
        run.endpoints.iter_mut().for_each(|endpoint| endpoint.works = true);
        (OUTAGES_MS..OUTAGES_MS + RECOVERY_MS).for_each(|now_ms| run.step(now_ms));
        run.endpoints.iter_mut().for_each(|endpoint| endpoint.picked = 0);
        let refused = run.refused;
        let end = OUTAGES_MS + RECOVERY_MS + MEASURED_MS;
        (OUTAGES_MS + RECOVERY_MS..end).for_each(|now_ms| run.step(now_ms));
        assert_eq!(run.refused, refused, "{balance:?} {seed}: all are healthy");
        // The strategies that look at how busy endpoints are only tend to the weights.
        let tolerance = if matches!(balance, Balance::LeastConnections | Balance::P2c) { 0.05 } else { 0.02 };
        for (weight, endpoint) in WEIGHTS.iter().zip(&run.endpoints) {
            let (share, fair) = (endpoint.picked as f64 / MEASURED_MS as f64, f64::from(*weight) / 20.0);
            assert!((share - fair).abs() <= tolerance, "{balance:?} {seed}: {share} at weight {weight}");
        }
    }
}
