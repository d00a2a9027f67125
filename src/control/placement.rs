//! How many shards there are, and which core each one is pinned to.

use std::hash::{BuildHasher, RandomState};
use std::thread::available_parallelism;

use core_affinity::CoreId;

use crate::plan::Server;

/// The number of shards that `[server] shards` means on this machine. "auto" is one per CPU that this process may
/// use: the standard library counts the affinity mask and the cgroup quota (v1 and v2, rounded down, at least 1).
pub fn shards(server: &Server) -> usize {
    server.shards.unwrap_or_else(|| available_parallelism().map_or(1, |cpus| cpus.get()))
}

/// The core of each shard; `None`: it is not pinned.
pub fn cores(server: &Server) -> Vec<Option<CoreId>> {
    let count = shards(server);
    let allowed =
        if server.pin_cores { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
    // Where a quota leaves fewer shards than cores, all containers of the machine would be pinned to the same first
    // cores: each process starts at a random one.
    let random = RandomState::new().hash_one(std::process::id()) as usize;
    spread(&allowed, count, if count < allowed.len() { random } else { 0 })
}

/// Assigns `count` shards to the allowed cores round robin, from the one at index `start` on.
fn spread(allowed: &[CoreId], count: usize, start: usize) -> Vec<Option<CoreId>> {
    match allowed.len() {
        0 => vec![None; count],
        cores => (0..count).map(|shard| Some(allowed[(start % cores + shard) % cores])).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(placed: &[Option<CoreId>]) -> Vec<Option<usize>> {
        placed.iter().map(|core| core.map(|core| core.id)).collect()
    }

    #[test]
    fn each_shard_has_a_core_of_its_own_while_there_are_enough() {
        let allowed = [2, 3, 5].map(|id| CoreId { id });
        assert_eq!(ids(&spread(&allowed, 3, 0)), [Some(2), Some(3), Some(5)]);
        assert_eq!(ids(&spread(&allowed, 2, 2)), [Some(5), Some(2)]);
    }

    #[test]
    fn more_shards_than_cores_share_them_evenly() {
        let allowed = [0, 1].map(|id| CoreId { id });
        assert_eq!(ids(&spread(&allowed, 4, 0)), [Some(0), Some(1), Some(0), Some(1)]);
    }

    #[test]
    fn without_a_core_to_pin_to_every_shard_runs_unpinned() {
        assert_eq!(ids(&spread(&[], 2, 7)), [None, None]);
    }
}
