//! Which endpoints get requests while some fail.

use std::rc::Rc;
use std::time::Duration;

use super::tests::{addresses, by_name, first, picks, plan};
use super::{BreakerChange, Endpoint, Upstream};
use crate::balance::BreakerNews;
use crate::base::error::{Error, Reason, Retry};
use crate::plan::{AllOpen, Balance, BreakerPlan, CountedFailures, UpstreamPlan};

/// Opens at the second failure in a row.
fn breaker() -> BreakerPlan {
    BreakerPlan {
        failures: 2,
        counts: CountedFailures::All,
        failure_status: vec![500, 503],
        open_for: Duration::from_secs(30),
        max_open_for: Duration::from_secs(300),
        half_open: 1,
        max_ejected: 0.5,
        all_open: AllOpen::Refuse,
    }
}

fn upstream(breaker: Option<BreakerPlan>, endpoints: u8) -> Rc<Upstream> {
    let known: Vec<u8> = (1..=endpoints).collect();
    first(UpstreamPlan { breaker, ..plan(vec![by_name(1)]) }, &addresses(&known))
}

fn endpoint(upstream: &Upstream, index: usize) -> Rc<Endpoint> {
    upstream.endpoints()[index].clone()
}

fn refused() -> Error {
    Error::upstream(Reason::UpstreamConnect, Retry::Safe, "")
}

fn fail(upstream: &Upstream, index: usize, times: usize) {
    for _ in 0..times {
        upstream.begin_exchange(&endpoint(upstream, index), 0).ended(Some(&refused()), 0);
    }
}

fn reason(upstream: &Upstream, now_ms: u64) -> Option<Reason> {
    upstream.pick(0, &[], now_ms).err().map(|error| error.reason)
}

#[test]
fn without_any_key_an_endpoint_that_refuses_is_passed_over_for_a_second_unless_all_do() {
    for balance in [Balance::RoundRobin, Balance::LeastConnections, Balance::P2c, Balance::Random] {
        let plan = UpstreamPlan { balance, ..plan(vec![by_name(1)]) };
        let upstream = first(plan, &addresses(&[1, 2, 3]));
        fail(&upstream, 1, 1);
        assert!(picks(&upstream, 60).iter().all(|index| *index != 1));
        let later = upstream.pick(0, &[], 1_100).map(|_| ()).map_err(|error| error.reason);
        assert_eq!(later, Ok(()));
        fail(&upstream, 0, 1);
        fail(&upstream, 2, 1);
        assert_eq!(picks(&upstream, 60).len(), 60, "then each is tried");
    }
}

#[test]
fn responses_do_not_count_where_only_connects_do() {
    let upstream = upstream(Some(BreakerPlan::CONNECTS_ONLY), 2);
    for _ in 0..9 {
        let in_flight = upstream.begin_exchange(&endpoint(&upstream, 0), 0);
        in_flight.connected();
        in_flight.responded(503, 0);
        in_flight.ended(Some(&Error::upstream(Reason::UpstreamReset, Retry::Never, "")), 0);
    }
    assert_eq!(picks(&upstream, 4), [0, 1, 0, 1]);
}

#[test]
fn failing_statuses_and_broken_responses_open_a_breaker_and_faults_of_others_do_not() {
    let results: [(u16, Option<Error>, bool); 5] = [
        (500, None, true),
        (200, Some(Error::upstream(Reason::UpstreamReset, Retry::Never, "")), true),
        (404, None, false),
        (200, Some(Error::client(Reason::ClientClosed, "")), false),
        (200, Some(Error::gateway(Reason::ScriptError, "")), false),
    ];
    for (status, error, opens) in results {
        let upstream = upstream(Some(breaker()), 1);
        for _ in 0..2 {
            let in_flight = upstream.begin_exchange(&endpoint(&upstream, 0), 0);
            in_flight.connected();
            in_flight.responded(status, 0);
            in_flight.ended(error.as_ref(), 0);
        }
        assert_eq!(reason(&upstream, 0), opens.then_some(Reason::CircuitOpen), "{status} {error:?}");
    }
}

#[test]
fn when_all_are_open_a_request_is_refused_with_the_time_until_the_next_trial() {
    let upstream = upstream(Some(breaker()), 2);
    fail(&upstream, 0, 2);
    assert_eq!(picks(&upstream, 3), [1; 3]);
    fail(&upstream, 1, 2);
    let error = upstream.pick(0, &[], 0).err().expect("all are open");
    assert_eq!(error.reason, Reason::CircuitOpen);
    assert!(matches!(error.retry_after_s, Some(30..=33)), "{:?}", error.retry_after_s);
    let trial = upstream.begin_exchange(&upstream.pick(0, &[], 33_000).expect("a trial"), 33_000);
    let other = upstream.begin_exchange(&upstream.pick(0, &[], 33_000).expect("the other's"), 33_000);
    assert_eq!(reason(&upstream, 33_000), Some(Reason::CircuitOpen), "one trial each");
    trial.responded(200, 33_000);
    assert_eq!(reason(&upstream, 33_000), None, "its body may go on");
    drop(other);
}

#[test]
fn at_most_half_are_ejected_while_others_are_healthy_and_all_when_none_is() {
    let upstream = upstream(Some(breaker()), 4);
    (0..3).for_each(|index| fail(&upstream, index, 2));
    let picked = picks(&upstream, 8);
    assert!(picked.contains(&2) && picked.contains(&3), "{picked:?}");
    assert!(!picked.contains(&0) && !picked.contains(&1), "{picked:?}");
    fail(&upstream, 3, 2);
    fail(&upstream, 2, 1);
    assert_eq!(reason(&upstream, 0), Some(Reason::CircuitOpen));
}

#[test]
fn without_a_breaker_nothing_is_passed_over() {
    let upstream = upstream(None, 2);
    fail(&upstream, 0, 9);
    assert_eq!(picks(&upstream, 4), [0, 1, 0, 1]);
}

#[test]
fn what_a_breaker_does_is_told_once_and_holds_for_the_same_endpoint_of_another_shard() {
    let [one, other] = [(), ()].map(|()| upstream(Some(breaker()), 4));
    fail(&one, 2, 1);
    assert_eq!(one.outbox.take(), [], "a failure changes nothing yet");
    fail(&one, 2, 1);
    let told = one.outbox.take();
    let [BreakerChange { endpoint: id, news: BreakerNews::Open { for_ms, openings: 1 } }] = &told[..] else {
        panic!("it has opened: {told:?}")
    };
    assert_eq!(*id, one.id_of(&endpoint(&one, 2)));
    assert!((30_000..=33_000).contains(for_ms), "{for_ms}");
    other.follow_breaker(&told[0], 50_000);
    let is_picked = |upstream: &Upstream, now_ms: u64| {
        let endpoint = endpoint(upstream, 2);
        (0..40).any(|_| Rc::ptr_eq(&upstream.pick(0, &[], now_ms).expect("usable"), &endpoint))
    };
    assert!(!is_picked(&other, 50_000 + for_ms - 1) && is_picked(&other, 50_000 + for_ms));
    assert_eq!(other.outbox.take(), [], "what it was told it does not tell again");
    let now_ms = 50_000 + for_ms;
    other.begin_exchange(&endpoint(&other, 2), now_ms).ended(None, now_ms);
    let told = other.outbox.take();
    assert_eq!(told.iter().map(|change| change.news).collect::<Vec<_>>(), [BreakerNews::Closed]);
    one.follow_breaker(&told[0], 1);
    assert!(is_picked(&one, 1));
}

#[test]
fn other_shards_cannot_open_more_breakers_than_may_be_nor_those_of_other_upstreams() {
    let [one, other] = [(), ()].map(|()| upstream(Some(breaker()), 4));
    fail(&other, 0, 2);
    fail(&other, 1, 2);
    fail(&one, 2, 2);
    let told = one.outbox.take();
    other.follow_breaker(&told[0], 0);
    assert!(picks(&other, 40).contains(&2), "half of them are open here already");
    let stranger = first(
        UpstreamPlan { name: "v".into(), breaker: Some(breaker()), ..plan(vec![by_name(1)]) },
        &addresses(&[1, 2, 3, 4]),
    );
    let without = upstream(None, 4);
    for upstream in [stranger, without] {
        upstream.follow_breaker(&told[0], 0);
        assert!(picks(&upstream, 40).contains(&2));
    }
}
