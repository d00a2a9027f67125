//! Gathers a copy of every shard's counters for `/metrics` and `/status`. A shard that does not respond in time is left
//! out, so that one stuck shard does not take the numbers of the others away.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvError, never};

use crate::control::admin::decide::AdminRequest;
use crate::control::admin::response::AdminResponse;
use crate::control::{Control, status};
use crate::metrics::MetricsSnapshot;
use crate::net::doorbell::Post;

/// How long a shard may take to send its counters.
const SHARD_TIMEOUT: Duration = Duration::from_secs(1);

/// An admin request for numbers, and where the response goes.
struct ScrapeRequester {
    request: AdminRequest,
    responder: Post<AdminResponse>,
}

/// At most one round is under way. A request that arrives meanwhile waits for the next round: its numbers are never
/// older than the request.
#[derive(Default)]
pub struct ScrapeState {
    /// Those for the next round.
    waiting: Vec<ScrapeRequester>,
    round: Option<ScrapeRound>,
}

/// Counters on their way from all shards.
struct ScrapeRound {
    requesters: Vec<ScrapeRequester>,
    receiver: Receiver<MetricsSnapshot>,
    received: Vec<MetricsSnapshot>,
    /// How many shards were sent the command.
    expected: usize,
    deadline: Instant,
}

impl ScrapeState {
    /// Where the shards' counters arrive.
    pub fn snapshots(&self) -> &Receiver<MetricsSnapshot> {
        static NEVER: LazyLock<Receiver<MetricsSnapshot>> = LazyLock::new(never);
        self.round.as_ref().map_or(&NEVER, |round| &round.receiver)
    }

    /// When the round ends without the shards that have not responded.
    pub fn deadline(&self) -> Option<Instant> {
        self.round.as_ref().map(|round| round.deadline)
    }
}

impl Control {
    /// `/metrics` or `/status`: the response is sent when the numbers are there.
    pub(super) fn request_scrape(&mut self, request: AdminRequest, responder: Post<AdminResponse>) {
        self.scrape.waiting.push(ScrapeRequester { request, responder });
        self.begin_scrape();
    }

    /// Begins a round if none is under way and a request waits for one.
    fn begin_scrape(&mut self) {
        if self.scrape.round.is_some() || self.scrape.waiting.is_empty() {
            return;
        }
        let (sender, receiver) = crossbeam_channel::unbounded();
        let now = Instant::now();
        let expected = self.supervisor.scrape(&sender, now);
        let requesters = std::mem::take(&mut self.scrape.waiting);
        let deadline = now + SHARD_TIMEOUT;
        self.scrape.round =
            Some(ScrapeRound { requesters, receiver, received: Vec::new(), expected, deadline });
        self.check_scrape();
    }

    /// A shard has sent its counters. An error: no shard is left that still could.
    pub(super) fn scraped(&mut self, snapshot: Result<MetricsSnapshot, RecvError>) {
        let Some(round) = &mut self.scrape.round else { return };
        match snapshot {
            Ok(snapshot) => round.received.push(snapshot),
            Err(_) => round.expected = round.received.len(),
        }
        self.check_scrape();
    }

    /// Ends the round if every shard has responded.
    fn check_scrape(&mut self) {
        if self.scrape.round.as_ref().is_some_and(|round| round.received.len() >= round.expected) {
            self.end_scrape();
        }
    }

    /// Ends a round that has taken too long.
    pub(super) fn tick_scrape(&mut self, now: Instant) {
        if self.scrape.deadline().is_some_and(|deadline| deadline <= now) {
            self.end_scrape();
        }
    }

    /// Responds with what has arrived, and begins the next round if requests wait for one.
    fn end_scrape(&mut self) {
        let Some(ScrapeRound { requesters, received, .. }) = self.scrape.round.take() else { return };
        for ScrapeRequester { request, responder } in requesters {
            let response = match request {
                AdminRequest::Metrics => status::metrics(self, &received),
                // The others need no numbers and never wait here.
                AdminRequest::Status | AdminRequest::Ready | AdminRequest::Reload => {
                    status::status(self, &received)
                }
            };
            // The admin thread may have given up waiting.
            let _ = responder.send(response);
        }
        self.begin_scrape();
    }
}
