//! Exchanges with Redis that are under way: each blocks a thread of its own, on a connection of its own.
//!
//! With one at a time, a request that comes just after an exchange has begun would wait for two: more than the timeout,
//! of a store that answers each within it. So another one begins while those before are under way, an eighth of the
//! timeout after the last: what has gathered by then goes together, and a fast store still gets one at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::RemoteConfig;
use super::connection::RedisConnection;
use super::node::NodeFailure;
use super::op::{Keyspace, Op, OpAnswer};
use super::requests::{TimedOp, op_of};
use crate::store::message::StoreRequest;

/// Exchanges that may be under way at a time, and so connections.
const MAX_UNDER_WAY: u32 = 8;

/// How long a request waits for its answer at most: until its exchange begins, and then for the timeout.
pub fn longest_wait(timeout: Duration) -> Duration {
    timeout + timeout / MAX_UNDER_WAY
}

/// What one exchange carries.
pub struct StoreExchange {
    pub requests: Vec<StoreRequest>,
    pub timed: Vec<TimedOp>,
    /// When it began, more requests had come than may wait.
    pub queue_full: bool,
}

/// An exchange that has ended.
pub struct FinishedExchange {
    lane: u64,
    pub exchange: StoreExchange,
    /// An answer for each operation, or why the connection is of no use any more.
    pub outcome: Result<Vec<OpAnswer>, NodeFailure>,
    pub took: Duration,
    /// The cluster has reported that slots moved, or a node of it is lost.
    pub stale: bool,
    /// Why a node of the cluster is lost.
    pub node_lost: Option<NodeFailure>,
}

/// A connection and its thread, which ends with this handle.
pub struct ExchangeLane {
    id: u64,
    work: Sender<StoreExchange>,
    busy: bool,
    /// Why a node of the cluster was lost when it was opened.
    pub node_lost: Option<NodeFailure>,
}

/// The lanes of one store, and the exchanges that are under way, on lanes that were given up too.
pub struct ExchangeLanes {
    lanes: Vec<ExchangeLane>,
    sender: Sender<FinishedExchange>,
    finished: Receiver<FinishedExchange>,
    under_way: usize,
    last_begun: Option<Instant>,
    /// Between the beginnings of two exchanges, unless none is under way.
    interval: Duration,
}

impl ExchangeLanes {
    pub fn new(timeout: Duration) -> ExchangeLanes {
        let (sender, finished) = unbounded();
        let interval = timeout / MAX_UNDER_WAY;
        ExchangeLanes { lanes: Vec::new(), sender, finished, under_way: 0, last_begun: None, interval }
    }

    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Exchanges end here; each is to be passed to [`ExchangeLanes::ended`].
    pub fn finished(&self) -> &Receiver<FinishedExchange> {
        &self.finished
    }

    /// For the threads of new lanes.
    pub fn sender(&self) -> Sender<FinishedExchange> {
        self.sender.clone()
    }

    /// Those not ended yet.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Replaces all lanes. What is under way on the old ones goes on there.
    pub fn replace(&mut self, lanes: Vec<ExchangeLane>) {
        self.lanes = lanes;
    }

    /// From when on another exchange may begin; `None`: not before one has ended.
    pub fn next_begin(&self, now: Instant) -> Option<Instant> {
        let busy = self.lanes.iter().filter(|lane| lane.busy).count();
        match self.last_begun {
            _ if busy == self.lanes.len() => None,
            Some(last) if busy > 0 => Some(last + self.interval),
            _ => Some(now),
        }
    }

    /// Begins an exchange, if it may begin now. Lanes take turns: a connection that is idle for minutes may be closed by
    /// the server, or forgotten by a firewall on the way.
    ///
    /// # Errors
    /// No lane is free: the exchange, as it was.
    pub fn begin(&mut self, exchange: StoreExchange, now: Instant) -> Result<(), StoreExchange> {
        let Some(index) = self.lanes.iter().position(|lane| !lane.busy) else { return Err(exchange) };
        let mut lane = self.lanes.remove(index);
        let sent = lane.work.try_send(exchange);
        lane.busy = true;
        self.lanes.push(lane);
        sent.map_err(crossbeam_channel::TrySendError::into_inner)?;
        self.under_way += 1;
        self.last_begun = Some(now);
        Ok(())
    }

    /// An exchange has ended: its lane is free. False: the lane was given up before.
    pub fn ended(&mut self, finished: &FinishedExchange) -> bool {
        self.under_way -= 1;
        let lane = self.lanes.iter_mut().find(|lane| lane.id == finished.lane);
        lane.map(|lane| lane.busy = false).is_some()
    }
}

/// Connects as often as there may be exchanges under way, all at the same time. Blocks, for some timeouts at most.
///
/// # Errors
/// The failure of the first; of the others, those that fail are left out.
pub fn open(
    config: &RemoteConfig,
    keyspace: &Arc<Keyspace>,
    ids: std::ops::Range<u64>,
    finished: &Sender<FinishedExchange>,
) -> Result<Vec<ExchangeLane>, NodeFailure> {
    let connect = || RedisConnection::open(&config.address, keyspace, config.timeout);
    let connections = std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().name("store-connect".into()).spawn_scoped(scope, connect);
        let others: Vec<_> = ids.clone().skip(1).filter_map(|id| spawn(id).ok()).collect();
        let first = connect()?;
        let others = others.into_iter().filter_map(|other| other.join().ok()?.ok());
        Ok::<_, NodeFailure>(std::iter::once(first).chain(others).collect::<Vec<_>>())
    })?;
    let start = |(id, connection)| start(id, connection, keyspace.clone(), config.timeout, finished.clone());
    let lanes: Vec<_> = ids.zip(connections).filter_map(|lane| start(lane).ok()).collect();
    if lanes.is_empty() { Err(NodeFailure("no thread for the store".into())) } else { Ok(lanes) }
}

/// The numbers of the next lanes.
pub fn next_ids(after: &mut u64) -> std::ops::Range<u64> {
    let first = *after;
    *after += u64::from(MAX_UNDER_WAY);
    first..*after
}

fn start(
    id: u64,
    connection: RedisConnection,
    keyspace: Arc<Keyspace>,
    timeout: Duration,
    finished: Sender<FinishedExchange>,
) -> std::io::Result<ExchangeLane> {
    let (work, exchanges) = bounded(1);
    let node_lost = connection.lost().cloned();
    let serve = move || serve(id, connection, &keyspace, timeout, &exchanges, &finished);
    std::thread::Builder::new().name("store-exchange".into()).spawn(serve)?;
    Ok(ExchangeLane { id, work, busy: false, node_lost })
}

/// The thread: carries out one exchange after the other, until the connection fails or nobody needs it.
fn serve(
    lane: u64,
    mut connection: RedisConnection,
    keyspace: &Keyspace,
    timeout: Duration,
    exchanges: &Receiver<StoreExchange>,
    finished: &Sender<FinishedExchange>,
) {
    for exchange in exchanges {
        let requests = exchange.requests.iter().filter_map(op_of);
        let ops: Vec<Op> = requests.chain(exchange.timed.iter().map(TimedOp::op)).collect();
        let began = Instant::now();
        let run = AssertUnwindSafe(|| connection.exchange(keyspace, &ops, began + timeout));
        let panicked = |_| Err(NodeFailure("an exchange has panicked".into()));
        let outcome = catch_unwind(run).unwrap_or_else(panicked);
        let (over, took, stale) = (outcome.is_err(), began.elapsed(), connection.stale);
        let node_lost = connection.lost().cloned();
        let sent = finished.send(FinishedExchange { lane, exchange, outcome, took, stale, node_lost });
        if over || sent.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(800);

    fn lanes(count: u64) -> (ExchangeLanes, Vec<Receiver<StoreExchange>>) {
        let mut lanes = ExchangeLanes::new(TIMEOUT);
        let lane = |id| {
            let (work, exchanges) = bounded(1);
            (ExchangeLane { id, work, busy: false, node_lost: None }, exchanges)
        };
        let (all, exchanges) = (0..count).map(lane).unzip();
        lanes.replace(all);
        (lanes, exchanges)
    }

    fn exchange() -> StoreExchange {
        StoreExchange { requests: Vec::new(), timed: Vec::new(), queue_full: false }
    }

    fn end(lanes: &mut ExchangeLanes, lane: u64) -> bool {
        let (outcome, took) = (Ok(Vec::new()), Duration::ZERO);
        let exchange = exchange();
        lanes.ended(&FinishedExchange { lane, exchange, outcome, took, stale: false, node_lost: None })
    }

    #[test]
    fn lanes_take_turns_so_that_none_is_idle_for_long() {
        let (mut lanes, exchanges) = lanes(3);
        for turn in 0..9 {
            assert!(lanes.begin(exchange(), Instant::now()).is_ok());
            let used = (0..3).find(|&lane| exchanges[lane].try_recv().is_ok()).expect("one has it");
            assert_eq!(used, turn % 3);
            assert!(end(&mut lanes, used as u64));
        }
    }

    #[test]
    fn a_fast_store_gets_one_exchange_at_a_time_and_a_slow_one_another_after_an_eighth_of_its_timeout() {
        let (mut lanes, exchanges) = lanes(2);
        let now = Instant::now();
        assert_eq!(lanes.next_begin(now), Some(now));
        assert!(lanes.begin(exchange(), now).is_ok());
        let later = now + TIMEOUT / 8;
        assert_eq!(lanes.next_begin(now), Some(later));
        assert!(exchanges[0].try_recv().is_ok() && end(&mut lanes, 0));
        assert_eq!(lanes.next_begin(now), Some(now));
        assert!(lanes.begin(exchange(), now).is_ok() && lanes.begin(exchange(), later).is_ok());
        assert_eq!((lanes.next_begin(later), lanes.under_way()), (None, 2));
        assert!(lanes.begin(exchange(), later).is_err());
    }

    #[test]
    fn what_ends_on_a_lane_that_was_given_up_frees_no_other() {
        let (mut lanes, _exchanges) = lanes(1);
        let now = Instant::now();
        assert!(lanes.begin(exchange(), now).is_ok());
        lanes.replace(Vec::new());
        assert!(!end(&mut lanes, 0));
        assert_eq!(lanes.under_way(), 0);
    }
}
