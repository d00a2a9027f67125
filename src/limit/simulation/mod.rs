//! Shards, nodes and a bucket store under delays, losses, repetitions, crashes, halts and clocks that disagree: no rule
//! is ever broken, and without faults almost no token is wasted.

mod oracle;
mod run;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::Rule;
use crate::plan::{Period, RateAlgorithm};
use run::{Scenario, SimRandom, Simulation, WithoutStore};

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
        min_delay_us: 0,
        delay_us: random.of(&[0, 500, 5_000, 50_000, 500_000]),
        timeout_us: random.of(&[10_000, 100_000, 1_000_000]),
        frozen_us: 0,
        period_us: 1_000_000,
        alone: None,
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
        min_delay_us: 0,
        delay_us: random.of(&[200, 2_000, 10_000]),
        timeout_us: 100_000,
        frozen_us: 0,
        period_us: 1_000_000,
        alone: None,
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

/// The rule with a larger burst, in hundredths of its own.
fn with_burst(rule: &Rule, percent: u64) -> Rule {
    match rule.algorithm() {
        RateAlgorithm::TokenBucket => {
            Rule::token_bucket(rule.tokens(), rule.period(), rule.burst() * percent / 100)
        }
        RateAlgorithm::FixedWindow => Rule::fixed_window(rule.tokens() * percent / 100, rule.period()),
    }
}

/// Requests on all shards of one gateway, for more than the rule, that are decided without the store when it does not
/// answer in time: a timeout after the request was sent, which is up to an eighth of it after it came.
fn impatient(random: &mut SimRandom, percent: u64) -> Scenario {
    let scenario = Scenario { nodes: 1, ..steady(random) };
    let at_rate_us = scenario.rule.period().ms() * 1_000 * scenario.shards as u64 / scenario.rule.tokens();
    Scenario {
        gap_us: at_rate_us * 1_000 / (1_000 + random.below(3_000)),
        skew: 0,
        alone: Some(WithoutStore { patience_us: 112_500, bound: with_burst(&scenario.rule, percent) }),
        ..scenario
    }
}

#[test]
fn a_store_that_is_nearly_too_slow_adds_almost_nothing_to_the_rule() {
    for_seeds(60, |seed| {
        let random = &mut SimRandom(seed);
        let way_us = random.of(&[20_000, 30_000, 40_000, 49_000]);
        let scenario = Scenario { min_delay_us: way_us - 5_000, delay_us: way_us, ..impatient(random, 110) };
        let mut simulation = Simulation::new(scenario.clone(), seed);
        simulation.run();
        let (admitted, ideal) = (simulation.admitted, simulation.ideal);
        assert!(admitted * 100 >= ideal * 60, "{admitted} of {ideal}: {scenario:?}");
    });
}

#[test]
fn a_store_that_is_lost_again_and_again_adds_one_burst_and_not_one_each_time() {
    let alone = std::cell::Cell::new(0);
    for_seeds(60, |seed| {
        let random = &mut SimRandom(seed);
        let scenario = Scenario { frozen_us: 300_000, period_us: 1_200_000, ..impatient(random, 200) };
        let mut simulation = Simulation::new(scenario.clone(), seed);
        simulation.run();
        let (admitted, ideal) = (simulation.admitted, simulation.ideal);
        assert!(admitted * 100 >= ideal * 60, "{admitted} of {ideal}: {scenario:?}");
        alone.set(alone.get() + simulation.admitted_alone);
    });
    assert!(alone.get() > 1_000, "nothing was lost");
}
