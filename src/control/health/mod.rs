//! Active health checks: once per process, whatever the number of shards. Threads check the endpoints and report to
//! control, which keeps their states and tells the shards which endpoints are unhealthy.

mod check;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::balance::{CheckedHealth, hash_key};
use crate::control::{Control, ControlEvent};
use crate::plan::{HealthPlan, Plan};
use crate::shard::{Addresses, Command};
use crate::upstream::{EndpointId, UnhealthyEndpoints, endpoint_ids};

/// Threads that check. Each has its endpoints, and checks them one after the other; so a thousand dead ones cost at
/// most 32 connects at a time, and are then checked less often than asked for.
const MAX_THREADS: usize = 32;

/// The first checks of endpoints are spread over this time at the most.
const MAX_FIRST_WAIT: Duration = Duration::from_millis(500);

/// The endpoints that are checked, and what is known of them.
#[derive(Default)]
pub struct HealthChecks {
    checked: HashMap<EndpointId, CheckedEndpoint>,
    /// Dropped, the threads end.
    running: Option<Sender<()>>,
    unhealthy: Arc<UnhealthyEndpoints>,
}

/// An endpoint that is checked.
struct CheckedEndpoint {
    job: CheckJob,
    health: CheckedHealth,
    /// Why the last check failed.
    failure: Option<String>,
}

/// What a thread needs to check an endpoint.
#[derive(Clone, PartialEq)]
struct CheckJob {
    authority: Arc<str>,
    plan: HealthPlan,
}

/// The result of one check.
pub struct CheckResult {
    endpoint: EndpointId,
    result: Result<(), String>,
}

impl HealthChecks {
    /// Follows a plan and the addresses of its names: what stays keeps its state, and threads are started anew if
    /// anything has changed.
    pub fn follow(&mut self, plan: &Plan, addresses: &Addresses, events: &Sender<ControlEvent>) {
        let mut wanted = HashMap::new();
        for upstream in &plan.upstreams {
            let Some(health) = &upstream.health else { continue };
            for (endpoint, authority) in endpoint_ids(upstream, addresses) {
                wanted.insert(endpoint, CheckJob { authority, plan: health.clone() });
            }
        }
        let is_same = wanted.len() == self.checked.len()
            && wanted.iter().all(|(id, job)| self.checked.get(id).is_some_and(|known| known.job == *job));
        if is_same {
            return;
        }
        let mut known = std::mem::take(&mut self.checked);
        let take_over = |(id, job): (EndpointId, CheckJob)| {
            let kept = known.remove(&id).map(|known| (known.health, known.failure));
            let (health, failure) = kept.unwrap_or_default();
            (id, CheckedEndpoint { job, health, failure })
        };
        self.checked = wanted.into_iter().map(take_over).collect();
        self.running = start_threads(&self.checked, events);
        self.list_unhealthy();
    }

    /// Takes a result. Returns whether the endpoint's state has changed.
    fn record(&mut self, CheckResult { endpoint, result }: CheckResult) -> bool {
        // A thread of the generation before may still have been at it.
        let Some(checked) = self.checked.get_mut(&endpoint) else { return false };
        let changed = checked.health.record(&checked.job.plan, result.is_ok());
        let EndpointId { upstream, url, address } = &endpoint;
        match (changed, &result) {
            (true, Ok(())) => tracing::info!(%upstream, target = %url, %address, "healthy again"),
            (true, Err(why)) => tracing::warn!(%upstream, target = %url, %address, "unhealthy: {why}"),
            (false, _) => {}
        }
        checked.failure = result.err();
        if changed {
            self.list_unhealthy();
        }
        changed
    }

    fn list_unhealthy(&mut self) {
        let unhealthy = self.checked.iter().filter(|(_, checked)| !checked.health.is_healthy());
        self.unhealthy = Arc::new(unhealthy.map(|(id, _)| id.clone()).collect());
    }

    /// The endpoints that get no requests while there are others.
    pub fn unhealthy(&self) -> Arc<UnhealthyEndpoints> {
        self.unhealthy.clone()
    }

    /// Why the endpoints of a target are unhealthy: their addresses, and what the last check of each has met.
    pub fn failures_of<'a>(&'a self, upstream: &'a str, url: &'a str) -> impl Iterator<Item = String> + 'a {
        let of_target = move |id: &EndpointId| *id.upstream == *upstream && *id.url == *url;
        let mut failures: Vec<_> = self
            .checked
            .iter()
            .filter(|(id, checked)| of_target(id) && !checked.health.is_healthy())
            .map(|(id, checked)| format!("{}: {}", id.address, checked.failure.as_deref().unwrap_or("…")))
            .collect();
        failures.sort_unstable();
        failures.into_iter()
    }
}

/// Spreads the endpoints over threads. They run until the sender is dropped.
fn start_threads(
    checked: &HashMap<EndpointId, CheckedEndpoint>,
    events: &Sender<ControlEvent>,
) -> Option<Sender<()>> {
    let threads = checked.len().min(MAX_THREADS);
    let mut shares: Vec<Vec<(EndpointId, CheckJob)>> = vec![Vec::new(); threads];
    for (index, (id, endpoint)) in checked.iter().enumerate() {
        shares[index % threads].push((id.clone(), endpoint.job.clone()));
    }
    let (running, stop) = crossbeam_channel::bounded(0);
    for share in shares {
        let (stop, events) = (stop.clone(), events.clone());
        let body = move || check_in_turn(share, &stop, &events);
        if let Err(error) = thread::Builder::new().name("health".into()).spawn(body) {
            tracing::error!("no thread for health checks: {error}");
        }
    }
    (threads > 0).then_some(running)
}

/// One thread: checks each of its endpoints when it is due, until it is stopped.
fn check_in_turn(share: Vec<(EndpointId, CheckJob)>, stop: &Receiver<()>, events: &Sender<ControlEvent>) {
    let began = Instant::now();
    // The first checks come soon, but not all at once.
    let mut jobs: Vec<_> = share
        .into_iter()
        .enumerate()
        .map(|(index, (id, job))| {
            (began + spread(&id, index as u64, MAX_FIRST_WAIT.min(job.plan.interval / 10)), id, job)
        })
        .collect();
    let mut count = 0_u64;
    loop {
        let Some((due, id, job)) = jobs.iter_mut().min_by_key(|(due, ..)| *due) else { return };
        match stop.recv_deadline(*due) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let result = check::check(&id.address, &job.authority, &job.plan);
        let endpoint = id.clone();
        if events.send(ControlEvent::Checked(CheckResult { endpoint, result })).is_err() {
            return;
        }
        count += 1;
        // Up to a tenth more, so that the checks of many gateways do not fall together.
        let next = *due + job.plan.interval + spread(id, count, job.plan.interval / 10);
        *due = next.max(Instant::now());
    }
}

/// A time below `range` that differs from endpoint to endpoint and from process to process.
fn spread(id: &EndpointId, count: u64, range: Duration) -> Duration {
    let name = format!("{} {} {count} {}", id.url, id.address, std::process::id());
    range.mul_f64(hash_key(name.as_bytes()) as f64 / u64::MAX as f64)
}

impl Control {
    /// A health check has ended: if that changes an endpoint's state, the shards learn of it.
    pub(super) fn checked(&mut self, result: CheckResult) {
        if self.current.health.record(result) {
            self.send_unhealthy();
        }
    }

    /// The plan or the addresses of its names have changed.
    pub(super) fn follow_health(&mut self) {
        let before = self.current.health.unhealthy();
        let (plan, addresses) = (self.current.plan.clone(), self.current.addresses.clone());
        self.current.health.follow(&plan, &addresses, &self.event_sender);
        if *before != *self.current.health.unhealthy() {
            self.send_unhealthy();
        }
    }

    fn send_unhealthy(&mut self) {
        let unhealthy = self.current.health.unhealthy();
        self.supervisor.broadcast(|_| Command::Unhealthy(unhealthy.clone()));
    }
}
