//! What is known of a request when it ends: one place that counts it and writes its line.
//!
//! Filled in by whoever learns something, read once at the end: so a request that fails half-way is logged with all
//! that was known by then.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Shard;
use super::generation::LiveRoute;
use crate::base::error::Reason;
use crate::exchange::Transaction;
use crate::http::head::Version;
use crate::log::access::AccessEntry;
use crate::script::Hook;
use crate::upstream::{Endpoint, Upstream};

/// How a request goes, filled in on its way.
pub struct RequestLog {
    /// When the shard began to read it.
    pub began: Instant,
    /// The connection's peer, until a trusted proxy has named another. IPv4 in the form of IPv6 is shown as IPv4.
    pub client_ip: IpAddr,
    /// Index of the route.
    pub route: Option<usize>,
    pub upstream: Option<Rc<Upstream>>,
    /// The endpoint of the last attempt.
    pub target: Option<Rc<Endpoint>>,
    /// 0: no final response head has been decided on.
    pub status: u16,
    pub reason: Option<Reason>,
    /// Set while the request's body is still being sent, hence the cell.
    pub bytes_in: Cell<u64>,
    /// Bytes written to the client; `bytes_in` has the request's head in it as well.
    pub bytes_out: u64,
    /// From the first byte to the upstream until its response head was there.
    pub upstream_time: Option<Duration>,
    /// Attempts beyond the first.
    pub retries: u32,
}

impl RequestLog {
    pub fn new(client_ip: IpAddr) -> RequestLog {
        RequestLog {
            began: Instant::now(),
            client_ip: client_ip.to_canonical(),
            route: None,
            upstream: None,
            target: None,
            status: 0,
            reason: None,
            bytes_in: Cell::new(0),
            bytes_out: 0,
            upstream_time: None,
            retries: 0,
        }
    }

    /// Counts more bytes of the request.
    pub fn add_in(&self, bytes: usize) {
        self.bytes_in.set(self.bytes_in.get() + bytes as u64);
    }

    /// Runs the route's `on_log`, counts the request and logs it. Called once for every request, however it ended.
    /// The duration is taken before the hooks run: their time is not the request's.
    pub fn finish(
        &mut self,
        shard: &Shard,
        generation: u64,
        route: Option<&LiveRoute>,
        transaction: &mut Transaction,
    ) {
        let now = Instant::now();
        let duration = now.saturating_duration_since(self.began);
        if let Some(route) = route {
            self.run_log_hooks(route, transaction, duration);
        }
        let unrouted;
        let metrics = match route {
            Some(route) => &route.metrics,
            None => {
                unrouted = shard.metrics.unrouted();
                &unrouted
            }
        };
        metrics.record(self.status, self.reason, duration, self.bytes_in.get(), self.bytes_out);
        if let (Some(target), Some(time)) = (&self.target, self.upstream_time) {
            target.metrics.latency(time);
        }
        let mut log = shard.log.borrow_mut();
        if log.is_on() {
            let route_name = route.map(|route| &*route.plan.name);
            let entry = self.entry(shard.id, generation, route_name, duration, transaction);
            log.record(shard.clock.unix_ms(now), &entry);
        }
    }

    /// Borrows everything, so that a line costs no allocation here.
    fn entry<'a>(
        &'a self,
        shard: usize,
        generation: u64,
        route: Option<&'a str>,
        duration: Duration,
        transaction: &'a Transaction,
    ) -> AccessEntry<'a> {
        let Transaction { request, id, meta, consumer, .. } = transaction;
        AccessEntry {
            request_id: id,
            client_ip: self.client_ip,
            method: request.method_bytes(),
            host: &meta.host,
            path: transaction.path(),
            version_minor: u8::from(request.version() == Version::Http11),
            status: self.status,
            reason: self.reason,
            route,
            upstream: self.upstream.as_ref().map(|upstream| &*upstream.plan.name),
            target: self.target.as_ref().map(|target| &*target.url),
            consumer: consumer.as_ref().map(|consumer| &*consumer.name),
            duration,
            upstream_time: self.upstream_time,
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out,
            cache: None,
            retries: self.retries,
            shard,
            generation,
        }
    }

    /// `on_log` of the route's scripts, which see the status that was sent.
    /// Below 200 there is no final status, and scripts keep seeing what the transaction has.
    fn run_log_hooks(&self, route: &LiveRoute, transaction: &mut Transaction, duration: Duration) {
        let Some(scripts) = route.scripts().filter(|scripts| scripts.has(Hook::Log)) else { return };
        if transaction.response.status() != self.status && self.status >= 200 {
            transaction.response.set_status(self.status);
        }
        transaction.edits.duration = duration;
        scripts.on_log(transaction);
    }
}
