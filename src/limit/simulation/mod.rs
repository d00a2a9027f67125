//! Shards, nodes and a bucket store under delays, losses, repetitions, crashes, halts and clocks that disagree: no rule
//! is ever broken, and without faults almost no token is wasted.

mod oracle;
mod run;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::Rule;
use crate::plan::Period;
use run::{Scenario, SimRandom, Simulation};

/// Runs each seed, and says which one failed.
fn for_seeds(count: u64, run: impl Fn(u64)) {
    for seed in 0..count {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("seed {seed}");
            resume_unwind(panic);
        }
    }
}

fn rules() -> Vec<Rule> {
    vec![
        Rule::token_bucket(5, Period::Minute, 5),
        Rule::token_bucket(100, Period::Minute, 100),
        Rule::token_bucket(20, Period::Second, 20),
        Rule::token_bucket(1_000, Period::Second, 100),
        Rule::token_bucket(50, Period::Second, 200),
        Rule::token_bucket(7, Period::Hour, 3),
        Rule::token_bucket(1, Period::Day, 1),
        Rule::token_bucket(999, Period::Second, 1_000_000),
        Rule::fixed_window(10, Period::Second),
        Rule::fixed_window(100, Period::Second),
        Rule::fixed_window(5, Period::Minute),
        Rule::fixed_window(300, Period::Minute),
    ]
}

/// A scenario with any faults.
fn troubled(random: &mut SimRandom) -> Scenario {
    let rule = random.of(&rules());
    let nodes = 1 + random.below(3) as usize;
    let shards = 1 + random.below(3) as usize;
    // From half the rate to ten times the rate, but at least some requests in a lease's life.
    let per_shard_us = rule.period().ms() * 1_000 * (nodes * shards) as u64 / rule.tokens();
    let gap_us = (per_shard_us / (1 + random.below(10))).clamp(100, 2_000_000);
    Scenario {
        rule,
        nodes,
        shards,
        keys: 1 + random.below(4) as usize,
        max_store_keys: random.of(&[1, 2, 100]),
        max_shard_keys: random.of(&[1, 2, 100, 100]),
        gap_us,
        delay_us: random.of(&[0, 500, 5_000, 50_000, 500_000]),
        timeout_us: random.of(&[10_000, 100_000, 1_000_000]),
        lost: random.of(&[0, 20, 300]),
        doubled: random.of(&[0, 20, 300]),
        late: random.of(&[0, 20, 200]),
        crashes: random.of(&[0, 2, 30]),
        halts: random.of(&[0, 2, 30]),
        pauses: random.of(&[0, 5, 50]),
        skew: random.of(&[0, 10, 50]),
        end_us: u64::MAX,
        max_steps: 400 + random.below(400) as usize,
    }
}

#[test]
fn no_fault_makes_a_token_or_admits_more_than_the_rule() {
    for_seeds(2_000, |seed| {
        let scenario = troubled(&mut SimRandom(seed));
        Simulation::new(scenario, seed).run();
    });
}

/// Steady requests for one key on all shards, without faults: from half the rate to four times the rate.
fn steady(random: &mut SimRandom) -> Scenario {
    let rule = random.of(&[
        Rule::token_bucket(5, Period::Minute, 5),
        Rule::token_bucket(100, Period::Minute, 100),
        Rule::token_bucket(100, Period::Second, 100),
        Rule::token_bucket(1_000, Period::Second, 1_000),
        Rule::token_bucket(100, Period::Second, 20),
        Rule::fixed_window(100, Period::Second),
        Rule::fixed_window(100, Period::Minute),
    ]);
    let nodes = 1 + random.below(3) as usize;
    let shards = 1 + random.below(4) as usize;
    let at_rate_us = rule.period().ms() * 1_000 * (nodes * shards) as u64 / rule.tokens();
    Scenario {
        rule,
        nodes,
        shards,
        keys: 1,
        max_store_keys: 100,
        max_shard_keys: 100,
        gap_us: at_rate_us * 1_000 / (500 + random.below(3_500)),
        delay_us: random.of(&[200, 2_000, 10_000]),
        timeout_us: 100_000,
        lost: 0,
        doubled: 0,
        late: 0,
        crashes: 0,
        halts: 0,
        pauses: 0,
        skew: random.of(&[0, 10]),
        // The first burst, and then ten times that.
        end_us: rule.fill_ms() * 10_000,
        max_steps: usize::MAX,
    }
}

#[test]
fn a_key_that_is_used_on_all_shards_gets_nearly_all_that_one_bucket_would_give() {
    for_seeds(30, |seed| {
        let scenario = steady(&mut SimRandom(seed));
        let mut simulation = Simulation::new(scenario.clone(), seed);
        simulation.run();
        let (admitted, ideal) = (simulation.admitted, simulation.ideal);
        assert!(admitted * 100 >= ideal * 95, "{admitted} of {ideal}: {scenario:?}");
    });
}
