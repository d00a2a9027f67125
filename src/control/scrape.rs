//! The shards' numbers, gathered for whoever asked. A shard that does not answer is left out, never waited for.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvError, never};

use crate::control::admin::decide::AdminRequest;
use crate::control::admin::response::AdminResponse;
use crate::control::{Control, status};
use crate::metrics::MetricsSnapshot;
use crate::net::doorbell::Post;
use crate::shard::Command;

/// How long a shard may take to answer.
const WITHIN: Duration = Duration::from_secs(1);

type ScrapeRequester = (AdminRequest, Post<AdminResponse>);

/// At most one round is under way. Who asks meanwhile gets the next one: the numbers are never older than the question.
#[derive(Default)]
pub struct ScrapeState {
    asked: Vec<ScrapeRequester>,
    round: Option<ScrapeRound>,
}

struct ScrapeRound {
    askers: Vec<ScrapeRequester>,
    snapshots: Receiver<MetricsSnapshot>,
    got: Vec<MetricsSnapshot>,
    expected: usize,
    until: Instant,
}

impl ScrapeState {
    pub fn snapshots(&self) -> &Receiver<MetricsSnapshot> {
        static NEVER: LazyLock<Receiver<MetricsSnapshot>> = LazyLock::new(never);
        self.round.as_ref().map_or(&NEVER, |round| &round.snapshots)
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.round.as_ref().map(|round| round.until)
    }
}

impl Control {
    pub(super) fn ask_scrape(&mut self, ask: AdminRequest, reply: Post<AdminResponse>) {
        self.scrape.asked.push((ask, reply));
        self.begin_scrape();
    }

    fn begin_scrape(&mut self) {
        if self.scrape.round.is_some() || self.scrape.asked.is_empty() {
            return;
        }
        let (post, snapshots) = crossbeam_channel::unbounded();
        let expected = self.supervisor.tell_all(|_| Command::Scrape(post.clone())).len();
        let askers = std::mem::take(&mut self.scrape.asked);
        let until = Instant::now() + WITHIN;
        self.scrape.round = Some(ScrapeRound { askers, snapshots, got: Vec::new(), expected, until });
        self.check_scrape();
    }

    /// A shard has answered; an error means that no other will.
    pub(super) fn scraped(&mut self, snapshot: Result<MetricsSnapshot, RecvError>) {
        let Some(round) = &mut self.scrape.round else { return };
        match snapshot {
            Ok(snapshot) => round.got.push(snapshot),
            Err(_) => round.expected = round.got.len(),
        }
        self.check_scrape();
    }

    fn check_scrape(&mut self) {
        if self.scrape.round.as_ref().is_some_and(|round| round.got.len() >= round.expected) {
            self.end_scrape();
        }
    }

    pub(super) fn tick_scrape(&mut self, now: Instant) {
        if self.scrape.deadline().is_some_and(|until| until <= now) {
            self.end_scrape();
        }
    }

    fn end_scrape(&mut self) {
        let Some(ScrapeRound { askers, got, .. }) = self.scrape.round.take() else { return };
        for (ask, reply) in askers {
            let answer = match ask {
                AdminRequest::Metrics => status::metrics(self, &got),
                AdminRequest::Status | AdminRequest::Ready | AdminRequest::Reload => {
                    status::status(self, &got)
                }
            };
            // It may have given up waiting.
            let _ = reply.send(answer);
        }
        self.begin_scrape();
    }
}
