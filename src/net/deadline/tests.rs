//! When deadlines fire, and for whom they are put off.

use super::*;
use crate::net::pace::WINDOW_MS;

fn ticked(deadlines: &Deadlines, now_ms: u64, unsent: u64) -> Vec<Fired> {
    let mut fired = Vec::new();
    deadlines.tick(now_ms, |_| unsent, &mut fired);
    fired
}

#[test]
fn a_deadline_fires_once_and_never_early() {
    let deadlines = Rc::new(Deadlines::default());
    let slot = deadlines.slot(7, SocketSide::Client);
    slot.arm(Direction::Read, Duration::from_millis(100));
    assert_eq!(ticked(&deadlines, 100, 0), []);
    assert!(!slot.fired(Direction::Read));
    let fired = Fired { slot: 0, fd: 7, side: SocketSide::Client, direction: Direction::Read };
    assert_eq!(ticked(&deadlines, 100 + TICK_MS, 0), [fired]);
    assert!(slot.fired(Direction::Read) && !slot.fired(Direction::Write));
    assert_eq!(ticked(&deadlines, 10_000, 0), []);
}

#[test]
fn a_disarmed_or_dropped_slot_does_not_fire_and_its_place_is_used_again() {
    let deadlines = Rc::new(Deadlines::default());
    let (first, second) = (deadlines.slot(1, SocketSide::Client), deadlines.slot(2, SocketSide::Upstream));
    first.arm(Direction::Read, Duration::from_millis(1));
    first.disarm(Direction::Read);
    second.arm(Direction::Write, Duration::from_millis(1));
    drop(second);
    assert_eq!(ticked(&deadlines, 1_000, 0), []);
    let third = deadlines.slot(3, SocketSide::Client);
    assert_eq!(third.index, 1);
    assert!(!third.fired(Direction::Write));
}

#[test]
fn a_slow_reader_is_spared_as_long_as_it_takes_bytes() {
    let deadlines = Rc::new(Deadlines::default());
    let slot = deadlines.slot(1, SocketSide::Client);
    slot.arm(Direction::Write, Duration::from_millis(100));
    assert_eq!(ticked(&deadlines, 200, 5_000), []);
    assert_eq!(ticked(&deadlines, 301, 4_000), []);
    assert_eq!(ticked(&deadlines, 402, 4_000).len(), 1);
}

#[test]
fn the_end_of_the_exchange_ends_every_operation_whatever_moves() {
    for direction in [Direction::Read, Direction::Write] {
        let deadlines = Rc::new(Deadlines::default());
        let slot = deadlines.slot(1, SocketSide::Client);
        slot.begin_exchange(deadlines.after(Some(Duration::from_millis(1000))), 0);
        let mut unsent = 1_000_000;
        for now_ms in (100..1000).step_by(100) {
            slot.arm(direction, Duration::from_millis(300));
            unsent -= 1000;
            assert_eq!(ticked(&deadlines, now_ms, unsent), [], "{direction:?} at {now_ms}");
        }
        assert!(slot.check_time().is_ok());
        assert_eq!(ticked(&deadlines, 1000 + TICK_MS, 0).len(), 1, "{direction:?}");
        assert_eq!(slot.expiry(direction), Some(Expiry::Overdue));
        assert_eq!(Expiry::of(&slot.check_time().expect_err("overdue")), Some(Expiry::Overdue));
        slot.end_exchange();
        assert!(slot.check_time().is_ok());
    }
}

#[test]
fn an_operation_that_begins_after_the_end_of_the_exchange_ends_with_the_next_tick() {
    let deadlines = Rc::new(Deadlines::default());
    let slot = deadlines.slot(1, SocketSide::Upstream);
    slot.begin_exchange(500, 0);
    assert_eq!(ticked(&deadlines, 600, 0), []);
    slot.arm(Direction::Write, Duration::from_secs(30));
    assert_eq!(ticked(&deadlines, 600, 0).len(), 1);
}

#[test]
fn a_reader_that_takes_bytes_too_slowly_is_ended_though_it_does_not_stall() {
    // A write of 1 MB is in flight, of which the peer takes this much in each 100 ms.
    for (taken, expected) in [(9, Some(Expiry::TooSlow)), (11, None)] {
        let deadlines = Rc::new(Deadlines::default());
        let slot = deadlines.slot(1, SocketSide::Client);
        slot.begin_exchange(NEVER, 100);
        slot.disarm_after(Direction::Write, 1_000_000);
        slot.arm(Direction::Write, Duration::from_secs(1));
        for step in 1..=(2 * WINDOW_MS / 100) {
            ticked(&deadlines, step * 100, 1_000_000 - step * taken);
        }
        assert_eq!(slot.expiry(Direction::Write), expected, "{taken} bytes in 100 ms");
    }
}

#[test]
fn the_time_in_which_the_shard_stood_still_counts_against_nobody() {
    let deadlines = Rc::new(Deadlines::default());
    let slot = deadlines.slot(1, SocketSide::Client);
    slot.begin_exchange(8_000, 0);
    slot.arm(Direction::Read, Duration::from_secs(5));
    deadlines.forgive(10_000);
    assert_eq!(ticked(&deadlines, 10_020, 0), []);
    assert!(slot.check_time().is_ok());
    assert_eq!(ticked(&deadlines, 15_020, 0).len(), 1);
    deadlines.forgive(10_000);
    assert_eq!(ticked(&deadlines, 30_000, 0), [], "what is not armed stays so");
}

#[test]
fn a_client_that_left_names_the_upstream_it_waited_on() {
    let deadlines = Rc::new(Deadlines::default());
    let (client, upstream) = (deadlines.slot(1, SocketSide::Client), deadlines.slot(2, SocketSide::Upstream));
    client.wait_on(&upstream);
    let mut waiting = Vec::new();
    deadlines.waiting_since(0, &mut waiting);
    assert_eq!(waiting, [(0, 1)]);
    assert_eq!(deadlines.mark_left(0), Some(2));
    assert!(client.stop_waiting());
}

#[test]
fn a_client_whose_body_was_late_is_not_taken_for_one_that_left() {
    let deadlines = Rc::new(Deadlines::default());
    let (client, upstream) = (deadlines.slot(1, SocketSide::Client), deadlines.slot(2, SocketSide::Upstream));
    client.arm(Direction::Read, Duration::from_millis(1));
    assert_eq!(ticked(&deadlines, 1_000, 0).len(), 1);
    client.wait_on(&upstream);
    let mut waiting = Vec::new();
    deadlines.waiting_since(u64::MAX, &mut waiting);
    assert!(waiting.is_empty());
}

#[test]
fn a_client_that_got_its_head_is_no_longer_looked_at() {
    let deadlines = Rc::new(Deadlines::default());
    let (client, upstream) = (deadlines.slot(1, SocketSide::Client), deadlines.slot(2, SocketSide::Upstream));
    client.wait_on(&upstream);
    assert!(!client.stop_waiting());
    let mut waiting = Vec::new();
    deadlines.waiting_since(u64::MAX, &mut waiting);
    assert!(waiting.is_empty());
}

#[test]
fn idle_clients_are_known() {
    let deadlines = Rc::new(Deadlines::default());
    let slot = deadlines.slot(9, SocketSide::Client);
    assert!(deadlines.silence_idle_clients().is_empty());
    slot.set_idle(true);
    assert_eq!(deadlines.silence_idle_clients(), [9]);
    drop(slot);
    assert!(deadlines.silence_idle_clients().is_empty());
}

#[test]
fn a_client_whose_reading_we_ended_is_not_taken_for_one_that_left() {
    let deadlines = Rc::new(Deadlines::default());
    let (client, upstream) = (deadlines.slot(1, SocketSide::Client), deadlines.slot(2, SocketSide::Upstream));
    client.set_idle(true);
    assert_eq!(deadlines.silence_idle_clients(), [1]);
    client.set_idle(false);
    client.wait_on(&upstream);
    let mut waiting = Vec::new();
    deadlines.waiting_since(u64::MAX, &mut waiting);
    assert!(waiting.is_empty());
}
