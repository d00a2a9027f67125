//! How the file descriptors that a process may have are shared out among its shards. A decider: no system call.
//!
//! A process without a free descriptor can neither accept nor connect, and cannot even be asked what is wrong. So each
//! shard opens no more sockets than its share, and takes no more clients than leave some for upstream connections.

/// What one shard may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorShare {
    /// Connections of clients and to upstreams, together.
    pub sockets: usize,
    /// Of them, those of clients that are served.
    pub connections: usize,
    /// Clients that are told that there is no room for them.
    pub refused: usize,
    /// Pipes, through which long bodies are spliced.
    pub pipes: usize,
}

/// What a shard has open besides sockets of clients and upstreams: event loop, doorbell, script files.
const OF_EVENT_LOOP: u64 = 16;
/// Of each listener: the socket on the event loop, and its second handle.
const OF_LISTENER: u64 = 2;
/// Kept back for all else: admin, logs, the store, look-ups of names, reloads. An eighth of all up to this.
const MAX_RESERVED: u64 = 128;
/// Refused clients that are waited for at once, at most.
const MAX_REFUSED: u64 = 128;

impl DescriptorShare {
    /// The share of each of `shards` shards with `listeners` addresses, where `limit` descriptors are allowed and `open`
    /// are in use before the shards start.
    pub fn of(limit: u64, open: u64, shards: usize, listeners: usize) -> DescriptorShare {
        let reserved = (limit / 8).min(MAX_RESERVED);
        let of_shard = limit.saturating_sub(open + reserved) / (shards as u64).max(1);
        let spare = of_shard.saturating_sub(OF_EVENT_LOOP + OF_LISTENER * listeners as u64);
        // Nine tenths for sockets, a tenth for pipes, each of which is two descriptors. Most clients are idle at any
        // time, so three of four sockets may be theirs.
        let sockets = spare / 10 * 9;
        let count = |part: u64, least: usize| usize::try_from(part).unwrap_or(usize::MAX).max(least);
        DescriptorShare {
            sockets: count(sockets, 2),
            connections: count(sockets / 4 * 3, 1),
            refused: count((sockets / 20).min(MAX_REFUSED), 1),
            pipes: count(spare / 20, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shards_together_stay_within_the_limit() {
        for limit in [64, 256, 1024, 4096, 65_536, 1_048_576] {
            for shards in [1, 2, 8] {
                let (open, listeners) = (20, 2);
                let DescriptorShare { sockets, connections, refused, pipes } =
                    DescriptorShare::of(limit, open, shards, listeners);
                let of_shard = sockets + 2 * pipes + 16 + 2 * listeners;
                // With a few descriptors for many shards, there is but one connection for each.
                let fits = open as usize + shards * of_shard <= limit as usize;
                assert!(fits || connections == 1, "{limit} for {shards}: {of_shard} each");
                assert!(connections + refused <= sockets);
            }
        }
    }

    #[test]
    fn the_usual_limits_leave_room_for_the_default_of_connections() {
        assert!(DescriptorShare::of(1_048_576, 30, 32, 2).connections >= 10_000);
        assert!(DescriptorShare::of(65_536, 30, 2, 2).connections >= 10_000);
        assert!(DescriptorShare::of(u64::MAX, 30, 1, 1).connections > 1_000_000);
        assert_eq!(DescriptorShare::of(256, 20, 1, 1).connections, 120);
    }
}
