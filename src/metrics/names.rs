//! Every metric's name, kind and meaning, in the order of the page.

/// A metric family of the Prometheus text format.
pub(super) struct MetricFamily {
    pub name: &'static str,
    pub kind: MetricKind,
    pub help: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

macro_rules! families {
    ($($id:ident: $kind:ident $name:literal $help:literal;)*) => {
        $(pub(super) const $id: MetricFamily = MetricFamily { name: $name, kind: MetricKind::$kind, help: $help };)*

        #[cfg(test)]
        pub(super) const ALL: &[&MetricFamily] = &[$(&$id),*];
    };
}

families! {
    // Of routes.
    REQUESTS: Counter "ringway_requests_total"
        "Requests finished, by route, status and the gateway's own reason. No route matched: route is empty. The upstream answered: reason is empty.";
    REQUEST_DURATION: Histogram "ringway_request_duration_seconds"
        "Time from a request's first byte to the last byte of its answer.";
    REQUEST_BYTES: Counter "ringway_request_bytes_total" "Bytes received from clients.";
    RESPONSE_BYTES: Counter "ringway_response_bytes_total" "Bytes sent to clients.";

    // Of targets.
    UPSTREAM_REQUESTS: Counter "ringway_upstream_requests_total" "Answers of a target, by status.";
    UPSTREAM_FAILURES: Counter "ringway_upstream_failures_total"
        "Attempts at a target that brought no usable answer, by reason.";
    UPSTREAM_CONNECTS: Counter "ringway_upstream_connects_total" "Connections opened to a target.";
    UPSTREAM_REUSES: Counter "ringway_upstream_reuses_total" "Attempts that used an idle connection.";
    UPSTREAM_RETRIES: Counter "ringway_upstream_retries_total"
        "Attempts beyond the first, counted at the target that failed.";
    UPSTREAM_DURATION: Histogram "ringway_upstream_duration_seconds"
        "Time from the start of an attempt to the target's response head.";
    UPSTREAM_ACTIVE: Gauge "ringway_upstream_active_requests" "Requests at a target now.";
    UPSTREAM_EJECTIONS: Counter "ringway_upstream_ejections_total"
        "Times that a breaker of one of the target's addresses has opened, on the shard whose requests failed.";
    UPSTREAM_EJECTED: Gauge "ringway_upstream_ejected"
        "Addresses of a target that are passed over now because they fail, summed over the shards.";
    UPSTREAM_IDLE: Gauge "ringway_upstream_idle_connections" "Idle connections kept to a target now.";

    // Of scripts.
    SCRIPT_ERRORS: Counter "ringway_script_errors_total" "Hooks that ended in an error, by route and script.";
    SCRIPT_PAUSED: Counter "ringway_script_paused_total"
        "Calls that were not made because the hook was paused: it, or the route's hooks together, had taken too long.";
    SCRIPT_OPERATIONS: Histogram "ringway_script_operations" "Operations of one call, by script and hook.";
    SCRIPT_DURATION: Histogram "ringway_script_duration_seconds" "Time of one call, by script and hook.";
    SCRIPT_COUNTER: Gauge "ringway_script_counter"
        "What scripts have added to counter(name), over all shards and nodes.";

    // Of rate limits.
    LIMIT_REQUESTS: Counter "ringway_rate_limit_requests_total"
        "Requests that a rate limit has counted, by route, limit and result: allowed, limited, dry_run (it would have been limited), store_failed (on_store_failure has decided).";
    LIMIT_WAITS: Counter "ringway_rate_limit_waits_total"
        "Requests that had to wait for the store, by route and limit.";

    // Of shards.
    CONNECTIONS: Gauge "ringway_connections" "Client connections open now.";
    CONNECTIONS_TOTAL: Counter "ringway_connections_total" "Client connections accepted.";
    CONNECTIONS_REFUSED: Counter "ringway_connections_refused_total"
        "Client connections closed with 503 because max_connections was reached.";
    TUNNELS: Gauge "ringway_tunnels" "Upgraded connections open now.";
    LIMIT_KEYS: Gauge "ringway_rate_limit_keys" "Keys of rate limits kept now.";
    PANICS: Counter "ringway_panics_total" "Connections ended by a fault in the gateway itself.";

    // Of the store.
    STORE_UP: Gauge "ringway_store_up" "1 while the store answers, 0 while it does not. The embedded one always does.";
    STORE_EXCHANGES: Counter "ringway_store_exchanges_total" "Exchanges with the store that succeeded.";
    STORE_FAILURES: Counter "ringway_store_failures_total"
        "Exchanges with the store, and attempts to connect to it, that failed.";
    STORE_UNANSWERED: Counter "ringway_store_unanswered_total" "Requests of shards that the store gave no answer to.";
    STORE_REFUSED: Counter "ringway_store_refused_total"
        "Requests of shards that were not taken because too many waited.";
    STORE_COMMANDS: Counter "ringway_store_commands_total" "Commands in the exchanges that succeeded.";
    STORE_QUEUE: Gauge "ringway_store_queue" "Requests of shards that wait now.";
    STORE_LATENCY: Histogram "ringway_store_latency_seconds" "Time of an exchange that succeeded.";
    STORE_KEYS: Gauge "ringway_store_api_keys" "API keys in the store, by state: added or revoked.";

    // Of JWK sets that are fetched.
    JWKS_KEYS: Gauge "ringway_jwks_keys" "Keys of a set that is fetched, by jwt. 0: it was never there.";
    JWKS_FAILURES: Gauge "ringway_jwks_failures" "Fetches of a set that failed since one went well, by jwt.";

    // Of the process.
    SHARD_TICK_AGE: Gauge "ringway_shard_tick_age_seconds"
        "Time since the event loop of a shard last turned. It turns every 20 ms; from 1 s on the gateway is not ready.";
    SHARD_RESTARTS: Counter "ringway_shard_restarts_total" "Shards that died and were started again.";
    ACCESS_LOG_DROPPED: Counter "ringway_access_log_dropped_total"
        "Access-log lines lost: the writer did not keep up, or its target took no more.";
    DIAGNOSTICS_DROPPED: Counter "ringway_diagnostics_dropped_total" "Lines of diagnostics lost.";
    RELOADS: Counter "ringway_reloads_total" "Reloads of the configuration, by result.";
    GENERATION: Gauge "ringway_generation" "Number of the configuration in force; the first is 1.";
    BUILD_INFO: Gauge "ringway_build_info" "Always 1; version and driver are in the labels.";
    SHARDS: Gauge "ringway_shards" "Shards that answered this scrape.";
    CPU_SECONDS: Counter "process_cpu_seconds_total" "User and system CPU time spent.";
    OPEN_FDS: Gauge "process_open_fds" "File descriptors open.";
    MAX_FDS: Gauge "process_max_fds" "File descriptors allowed.";
    RESIDENT_MEMORY: Gauge "process_resident_memory_bytes" "Resident memory.";
    START_TIME: Gauge "process_start_time_seconds" "Start of the process, in seconds since 1970.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut seen = HashSet::new();
        for family in ALL {
            let name = family.name;
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("ringway_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), family.kind == MetricKind::Counter, "{name}");
            assert!(!family.help.contains(['\\', '\n']), "{name}");
        }
    }
}
