//! What every strategy promises, and what each adds to it.

use proptest::prelude::*;

use super::{Balancer, WeightedEndpoint, hash_key};
use crate::plan::{Balance, HashOn};

const STRATEGIES: [Balance; 5] = [
    Balance::RoundRobin,
    Balance::LeastConnections,
    Balance::P2c,
    Balance::Random,
    Balance::Hash(HashOn::Ip),
];

const HASH: Balance = Balance::Hash(HashOn::Ip);

/// Endpoints named a, b, c… of these weights.
fn endpoints(weights: &[u32]) -> Vec<WeightedEndpoint> {
    let endpoint = |(index, weight): (usize, &u32)| WeightedEndpoint {
        name: format!("http://{}", char::from(b'a' + index as u8)).into(),
        weight: *weight,
    };
    weights.iter().enumerate().map(endpoint).collect()
}

fn balancer(balance: Balance, weights: &[u32], seed: u64) -> Balancer {
    Balancer::build(&balance, &endpoints(weights), seed)
}

/// Picks with all endpoints usable and idle.
fn idle_picks(balancer: &mut Balancer, count: u64) -> Vec<usize> {
    let pick = |key: u64| balancer.pick(hash_key(&key.to_le_bytes()), |_| true, |_| 0);
    (0..count).map(pick).map(|endpoint| endpoint.expect("all are usable")).collect()
}

fn tally(picks: &[usize], endpoints: usize) -> Vec<usize> {
    (0..endpoints).map(|endpoint| picks.iter().filter(|pick| **pick == endpoint).count()).collect()
}

fn assert_shares(picks: &[usize], weights: &[u32]) {
    let total: u32 = weights.iter().sum();
    for (count, weight) in tally(picks, weights.len()).into_iter().zip(weights) {
        let expected = picks.len() as f64 * f64::from(*weight) / f64::from(total);
        let deviation = (count as f64 - expected).abs();
        // Five standard deviations of a binomial are below five roots of its mean.
        assert!(deviation <= 5.0 * expected.sqrt(), "{count} picks instead of {expected}");
    }
}

proptest! {
    #[test]
    fn every_strategy_picks_a_usable_endpoint_whenever_there_is_one(
        weights in prop::collection::vec(1_u32..=65_535, 1..9),
        seed: u64,
        rounds in prop::collection::vec((any::<u64>(), any::<u8>(), prop::collection::vec(any::<u32>(), 8)), 1..60),
    ) {
        for strategy in STRATEGIES {
            let mut balancer = balancer(strategy, &weights, seed);
            for (key, mask, active) in &rounds {
                let usable = |endpoint: usize| mask >> endpoint & 1 == 1;
                let picked = balancer.pick(*key, usable, |endpoint| active[endpoint]);
                prop_assert_eq!(picked.is_some(), (0..weights.len()).any(usable));
                prop_assert!(picked.is_none_or(|endpoint| endpoint < weights.len() && usable(endpoint)));
            }
        }
    }

    #[test]
    fn round_robin_gives_each_endpoint_exactly_its_weight_in_every_cycle(
        weights in prop::collection::vec(1_u32..=12, 1..7),
        seed: u64,
    ) {
        let total: u32 = weights.iter().sum();
        let mut balancer = balancer(Balance::RoundRobin, &weights, seed);
        for _ in 0..3 {
            let counts = tally(&idle_picks(&mut balancer, total.into()), weights.len());
            prop_assert!(counts.iter().zip(&weights).all(|(count, weight)| *count == *weight as usize));
        }
    }

    #[test]
    fn round_robin_never_falls_behind_or_runs_ahead_by_more_than_a_pick_or_two(
        weights in prop::collection::vec(1_u32..=50, 2..7),
    ) {
        let total = f64::from(weights.iter().sum::<u32>());
        let mut counts = vec![0; weights.len()];
        for (made, pick) in (1..).zip(idle_picks(&mut balancer(Balance::RoundRobin, &weights, 0), 400)) {
            counts[pick] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let due = f64::from(made) * f64::from(*weight) / total;
                prop_assert!((f64::from(*count) - due).abs() < 2.0, "{count} of {due} due");
            }
        }
    }

    #[test]
    fn hash_moves_only_the_keys_of_an_endpoint_that_goes(
        weights in prop::collection::vec(1_u32..=9, 2..8),
        gone in any::<prop::sample::Index>(),
    ) {
        let gone = gone.index(weights.len());
        let all = endpoints(&weights);
        let mut fewer = all.clone();
        fewer.remove(gone);
        let (mut before, mut after) = (Balancer::build(&HASH, &all, 0), Balancer::build(&HASH, &fewer, 1));
        for key in (0..500_u64).map(|key| hash_key(&key.to_le_bytes())) {
            let was = before.pick(key, |_| true, |_| 0).expect("usable");
            let now = after.pick(key, |_| true, |_| 0).expect("usable");
            let fallback = before.pick(key, |endpoint| endpoint != gone, |_| 0).expect("another is usable");
            let now = if now >= gone { now + 1 } else { now };
            prop_assert_eq!(fallback, now, "an unusable endpoint's keys go where they went without it");
            prop_assert!(was == gone || was == now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_strategy_keeps_the_weights_within_two_percent(
        weights in prop::collection::vec(0_u32..=100, 1..9),
        seed: u64,
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let total = f64::from(weights.iter().sum::<u32>());
        for strategy in STRATEGIES {
            let picks = idle_picks(&mut balancer(strategy, &weights, seed), 20_000);
            for (count, weight) in tally(&picks, weights.len()).into_iter().zip(&weights) {
                let (share, due) = (count as f64 / 20_000.0, f64::from(*weight) / total);
                prop_assert!((share - due).abs() <= 0.02, "{share} instead of {due}");
                prop_assert!(*weight > 0 || count == 0, "weight 0 gets nothing");
            }
        }
    }

    #[test]
    fn hash_moves_the_share_of_an_endpoint_that_goes_or_comes(
        weights in prop::collection::vec(1_u32..=9, 2..12),
        changed in any::<prop::sample::Index>(),
    ) {
        const KEYS: u64 = 20_000;
        let changed = changed.index(weights.len());
        let with = endpoints(&weights);
        let mut without = with.clone();
        without.remove(changed);
        let place = |endpoints: &[WeightedEndpoint]| -> Vec<_> {
            let picks = idle_picks(&mut Balancer::build(&HASH, endpoints, 0), KEYS);
            picks.into_iter().map(|pick| endpoints[pick].name.clone()).collect()
        };
        // The keys that move when it goes are those that move back when it comes.
        let moved = place(&with).iter().zip(place(&without)).filter(|(one, other)| **one != *other).count();
        let due = f64::from(weights[changed]) / f64::from(weights.iter().sum::<u32>());
        prop_assert!((moved as f64 / KEYS as f64 - due).abs() <= 0.02, "{moved} keys instead of {due}");
    }

    #[test]
    fn shards_together_are_even(shards in 1_usize..=64, endpoints in 1_usize..=16, requests in 1_u64..=40) {
        for strategy in [Balance::RoundRobin, Balance::LeastConnections] {
            let mut counts = vec![0; endpoints];
            for shard in 0..shards {
                let mut balancer = balancer(strategy.clone(), &vec![1; endpoints], shard as u64);
                idle_picks(&mut balancer, requests).into_iter().for_each(|pick| counts[pick] += 1);
            }
            // What is left over of each shard's last round goes to neighbours: never more than one round of all.
            let spread = counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0);
            prop_assert!(spread <= endpoints.div_ceil(2), "{counts:?}");
        }
    }
}

#[test]
fn an_endpoint_without_weight_is_never_picked_not_even_alone() {
    for strategy in STRATEGIES {
        let mut only = balancer(strategy.clone(), &[0, 0], 1);
        assert_eq!(only.pick(7, |_| true, |_| 0), None);
        let mut draining = balancer(strategy, &[0, 3, 0, 1], 1);
        let unusable = |endpoint: usize| endpoint == 0 || endpoint == 2;
        assert_eq!(draining.pick(7, unusable, |_| 0), None);
        for key in 0..1000 {
            let picked = draining.pick(hash_key(&[key as u8]), |_| true, |endpoint| endpoint as u32 * 9);
            assert!(matches!(picked, Some(1 | 3)), "{picked:?}");
        }
    }
}

#[test]
fn round_robin_is_smooth_like_nginx() {
    let names = |weights: &[u32]| {
        let picks = idle_picks(&mut balancer(Balance::RoundRobin, weights, 0), 7);
        picks.into_iter().map(|pick| char::from(b'a' + pick as u8)).collect::<String>()
    };
    assert_eq!(names(&[5, 1, 1]), "aabacaa");
    assert_eq!(names(&[1, 1, 1]), "abcabca");
    assert_eq!(names(&[2, 1]), "abaabaa");
    assert_eq!(names(&[9]), "aaaaaaa");
}

#[test]
fn shards_start_with_different_endpoints() {
    for strategy in [Balance::RoundRobin, Balance::LeastConnections] {
        let first = |shard| idle_picks(&mut balancer(strategy.clone(), &[1; 8], shard), 1)[0];
        let mut firsts: Vec<_> = (0..8).map(first).collect();
        firsts.sort_unstable();
        assert_eq!(firsts, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
    for strategy in [Balance::Random, Balance::P2c] {
        let first = |shard| idle_picks(&mut balancer(strategy.clone(), &[1; 8], shard), 1)[0];
        let firsts: Vec<_> = (0..400).map(first).collect();
        assert_shares(&firsts, &[1; 8]);
    }
}

#[test]
fn an_endpoint_that_comes_back_is_not_flooded() {
    let mut balancer = balancer(Balance::RoundRobin, &[1, 1, 1], 0);
    for _ in 0..1000 {
        balancer.pick(0, |endpoint| endpoint != 0, |_| 0);
    }
    let counts = tally(&idle_picks(&mut balancer, 6), 3);
    assert!(counts.iter().all(|count| (1..=3).contains(count)), "{counts:?}");
}

#[test]
fn credit_stays_bounded_while_endpoints_come_and_go() {
    let weights = [65_535, 1, 40_000, 7, 65_535];
    let mut balancer = balancer(Balance::RoundRobin, &weights, 3);
    for round in 0..200_000_u64 {
        let mask = hash_key(&round.to_le_bytes());
        balancer.pick(0, |endpoint| mask >> endpoint & 1 == 1, |_| 0);
    }
    let counts = tally(&idle_picks(&mut balancer, 20_000), 5);
    let total: u32 = weights.iter().sum();
    for (count, weight) in counts.iter().zip(weights) {
        let due = 20_000.0 * f64::from(weight) / f64::from(total);
        assert!((*count as f64 - due).abs() < 20.0, "{counts:?}");
    }
}

#[test]
fn random_and_hash_share_by_weight() {
    for strategy in [Balance::Random, Balance::Hash(HashOn::Path)] {
        for weights in [&[1, 1, 1, 1][..], &[1, 2, 3, 10], &[65_535, 1]] {
            let picks = idle_picks(&mut balancer(strategy.clone(), weights, 7), 20_000);
            assert_shares(&picks, weights);
        }
    }
}

#[test]
fn random_keeps_the_proportions_of_what_is_left() {
    let mut balancer = balancer(Balance::Random, &[50_000, 1, 3, 9_000], 7);
    let left = |endpoint: usize| endpoint == 1 || endpoint == 2;
    let picks: Vec<_> = (0..20_000).filter_map(|_| balancer.pick(0, left, |_| 0)).collect();
    assert_eq!(picks.len(), 20_000);
    assert_shares(&picks.iter().map(|pick| pick - 1).collect::<Vec<_>>(), &[1, 3]);
}

#[test]
fn p2c_takes_the_less_busy_of_two_by_weight() {
    let mut even = balancer(Balance::P2c, &[1, 1, 1], 1);
    let mut uneven = balancer(Balance::P2c, &[1, 10], 1);
    for _ in 0..200 {
        assert_ne!(even.pick(0, |_| true, |endpoint| [4, 9, 3][endpoint]), Some(1), "never the busiest");
        assert_eq!(even.pick(0, |endpoint| endpoint != 2, |endpoint| [4, 9, 3][endpoint]), Some(0));
        assert_eq!(
            uneven.pick(0, |_| true, |endpoint| [1, 9][endpoint]),
            Some(1),
            "9 at weight 10 are fewer"
        );
        assert_eq!(uneven.pick(0, |_| true, |endpoint| [1, 11][endpoint]), Some(0));
    }
}

#[test]
fn least_connections_counts_by_weight_and_takes_turns_where_equal() {
    let mut balancer = balancer(Balance::LeastConnections, &[1, 1, 2], 0);
    let mut pick =
        |active: [u32; 3]| balancer.pick(0, |_| true, |endpoint| active[endpoint]).expect("usable");
    assert_eq!(pick([3, 2, 5]), 1);
    assert_eq!(pick([3, 3, 5]), 2, "5 at weight 2 are fewer than 3");
    assert_eq!(pick([u32::MAX, u32::MAX - 1, u32::MAX]), 2);
    let turns: Vec<_> = (0..12).map(|_| pick([1, 1, 9])).collect();
    assert_eq!(tally(&turns, 3), [6, 6, 0]);
    let idle: Vec<_> = (0..12).map(|_| pick([0, 0, 0])).collect();
    assert_eq!(tally(&idle, 3), [3, 3, 6]);
}

#[test]
fn busy_endpoints_fill_up_by_weight() {
    for strategy in [Balance::LeastConnections, Balance::P2c] {
        let weights = [1, 2, 5];
        let mut balancer = balancer(strategy, &weights, 5);
        let mut active = [0_u32; 3];
        for _ in 0..8000 {
            let endpoint = balancer.pick(0, |_| true, |endpoint| active[endpoint]).expect("usable");
            active[endpoint] += 1;
        }
        for (active, weight) in active.iter().zip(weights) {
            assert!(active.abs_diff(1000 * weight) <= 25, "{active} at weight {weight}");
        }
    }
}

#[test]
fn hash_places_by_name_whatever_the_order_of_the_file() {
    let forward = endpoints(&[1, 2, 3]);
    let mut backward = forward.clone();
    backward.reverse();
    let (mut a, mut b) = (Balancer::build(&HASH, &forward, 0), Balancer::build(&HASH, &backward, 9));
    for key in (0..500_u64).map(|key| hash_key(&key.to_le_bytes())) {
        assert_eq!(a.pick(key, |_| true, |_| 0), b.pick(key, |_| true, |_| 0).map(|endpoint| 2 - endpoint));
    }
}

#[test]
fn a_name_that_is_there_twice_gets_two_shares() {
    let mut twice = endpoints(&[1, 1, 1]);
    twice[1].name = twice[0].name.clone();
    let picks = idle_picks(&mut Balancer::build(&HASH, &twice, 0), 9000);
    assert_shares(&picks, &[1, 1, 1]);
}

#[test]
fn hash_key_never_changes() {
    assert_eq!(hash_key(b""), 0xe220_a839_7b1d_cdaf);
    assert_eq!(hash_key(b"192.0.2.1"), 0x2914_a3e4_91ae_cea0);
    assert_eq!(hash_key(b"12345678"), 0x83db_ec76_b33f_9ca3);
    assert_ne!(hash_key(b"a"), hash_key(b"a\0"));
    assert_ne!(hash_key(b"12345678"), hash_key(b"123456781"));
}

#[test]
fn hash_choices_never_change() {
    let mut balancer = balancer(HASH, &[1, 2, 3, 1], 0);
    assert_eq!(idle_picks(&mut balancer, 16), [1, 2, 3, 1, 2, 2, 3, 2, 1, 0, 3, 2, 2, 2, 0, 1]);
}
