//! What is known of a request when it ends: one place that counts it and writes its line.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Shard;
use super::buffers::RequestBuffers;
use super::generation::LiveGeneration;
use crate::base::error::Reason;
use crate::exchange::Transaction;
use crate::http::head::Version;
use crate::log::access::AccessEntry;
use crate::script::Hook;
use crate::upstream::{Endpoint, Upstream};

/// Filled in as the request goes its way.
pub struct RequestLog {
    pub began: Instant,
    pub live: Rc<LiveGeneration>,
    pub client_ip: IpAddr,
    /// Index of the route.
    pub route: Option<usize>,
    pub upstream: Option<Rc<Upstream>>,
    pub target: Option<Rc<Endpoint>>,
    /// The response head is on its way to the client: no other answer can be given.
    pub head_sent: bool,
    pub status: u16,
    pub reason: Option<Reason>,
    /// Set while the request's body is still being sent, hence the cell.
    pub bytes_in: Cell<u64>,
    pub bytes_out: u64,
    /// From the first byte to the upstream until its response head was there.
    pub upstream_time: Option<Duration>,
    pub retries: u32,
    /// Whether the client would have its connection kept.
    pub keep_alive: bool,
}

impl RequestLog {
    pub fn new(live: Rc<LiveGeneration>, client_ip: IpAddr) -> RequestLog {
        RequestLog {
            began: Instant::now(),
            live,
            client_ip,
            route: None,
            upstream: None,
            target: None,
            head_sent: false,
            status: 0,
            reason: None,
            bytes_in: Cell::new(0),
            bytes_out: 0,
            upstream_time: None,
            retries: 0,
            keep_alive: false,
        }
    }

    /// Counts more bytes of the request.
    pub fn add_in(&self, bytes: usize) {
        self.bytes_in.set(self.bytes_in.get() + bytes as u64);
    }

    /// Counts the request and logs it. Called once for every request, however it ended.
    pub fn finish(self, shard: &Shard, buffers: &mut RequestBuffers) {
        let now = Instant::now();
        let duration = now.saturating_duration_since(self.began);
        self.run_log_hooks(&mut buffers.transaction, duration);
        let route = self.route.map(|index| &self.live.routes[index]);
        match route {
            Some(route) => {
                let metrics = &route.metrics;
                metrics.record(self.status, self.reason, duration, self.bytes_in.get(), self.bytes_out);
            }
            None => {
                let metrics = shard.metrics.unrouted();
                metrics.record(self.status, self.reason, duration, self.bytes_in.get(), self.bytes_out);
            }
        }
        if let (Some(target), Some(time)) = (&self.target, self.upstream_time) {
            target.metrics.latency(time);
        }
        let mut log = shard.log.borrow_mut();
        if !log.is_on() {
            return;
        }
        let Transaction { request, id, .. } = &buffers.transaction;
        let entry = AccessEntry {
            request_id: id,
            client_ip: self.client_ip,
            method: request.method_bytes(),
            host: &buffers.client_host,
            path: buffers.transaction.path(),
            version_minor: u8::from(request.version() == Version::Http11),
            status: self.status,
            reason: self.reason,
            route: route.map(|route| &*route.plan.name),
            upstream: self.upstream.as_ref().map(|upstream| &*upstream.plan.name),
            target: self.target.as_ref().map(|target| &*target.url),
            consumer: buffers.transaction.consumer.as_ref().map(|consumer| &*consumer.name),
            duration,
            upstream_time: self.upstream_time,
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out,
            cache: None,
            retries: self.retries,
            shard: shard.id,
            generation: self.live.number,
        };
        log.record(shard.clock.unix_ms(now), &entry);
    }

    /// `on_log` of the route's scripts, which see the status that was sent.
    fn run_log_hooks(&self, transaction: &mut Transaction, duration: Duration) {
        let scripts = self.route.and_then(|route| self.live.scripts_of(route));
        let Some(scripts) = scripts.filter(|scripts| scripts.has(Hook::Log)) else { return };
        if transaction.response.status() != self.status && self.status >= 200 {
            transaction.response.set_status(self.status);
        }
        transaction.edits.duration = duration;
        scripts.on_log(transaction);
    }
}
