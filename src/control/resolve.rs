//! The names of targets become addresses here, on threads that may wait; shards only ever see the result.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::plan::Plan;
use crate::plan::TargetAddress;
use crate::shard::Addresses;

/// A target's host name and port.
pub type HostPort = (Arc<str>, u16);

/// What one look-up gave: at least one address, or why not.
pub type Resolution = Result<Arc<[SocketAddr]>, String>;

/// How often the names of a running gateway are looked up again.
pub const REFRESH_EVERY: Duration = Duration::from_secs(30);
/// The same while a name has no address at all, so that a late start of a resolver costs little.
pub const RETRY_EVERY: Duration = Duration::from_secs(5);
/// How long a start or a reload waits for names it has not seen.
pub const WAIT_AT_MOST: Duration = Duration::from_secs(5);

/// Look-ups at a time: `getaddrinfo` blocks, for tens of seconds when no server answers.
const THREADS: usize = 8;

/// The names in a plan, each once.
pub fn names(plan: &Plan) -> HashSet<HostPort> {
    let targets = plan.upstreams.iter().flat_map(|upstream| &upstream.targets);
    targets
        .filter_map(|target| match &target.address {
            TargetAddress::Name { host, port } => Some((host.clone(), *port)),
            TargetAddress::Ip(_) | TargetAddress::Unix(_) => None,
        })
        .collect()
}

/// Looks all names up and returns what is known after `within`: a name that has no answer by then is an error.
/// Threads still waiting for a resolver end by themselves and start nothing new.
pub fn look_up(names: impl IntoIterator<Item = HostPort>, within: Duration) -> HashMap<HostPort, Resolution> {
    let mut answers: HashMap<HostPort, Resolution> =
        names.into_iter().map(|name| (name, Err("no answer in time".to_owned()))).collect();
    if answers.is_empty() {
        return answers;
    }
    let deadline = Instant::now() + within;
    let (jobs, todo) = crossbeam_channel::unbounded();
    let (found, results) = crossbeam_channel::unbounded();
    for name in answers.keys() {
        let _ = jobs.send(name.clone());
    }
    drop(jobs);
    for _ in 0..THREADS.min(answers.len()) {
        let (todo, found) = (todo.clone(), found.clone());
        let worker = move || work(&todo, &found, deadline);
        if let Err(error) = thread::Builder::new().name("resolve".into()).spawn(worker) {
            tracing::error!("cannot start a thread to resolve names: {error}");
        }
    }
    drop(found);
    while let Ok((name, answer)) = results.recv_deadline(deadline) {
        answers.insert(name, answer);
    }
    answers
}

fn work(todo: &Receiver<HostPort>, found: &Sender<(HostPort, Resolution)>, deadline: Instant) {
    while let Ok((host, port)) = todo.try_recv() {
        if Instant::now() >= deadline {
            return;
        }
        let answer = match (&*host, port).to_socket_addrs() {
            Ok(addresses) => Ok(addresses.collect::<Arc<[SocketAddr]>>()),
            Err(error) => Err(error.to_string()),
        };
        let answer = answer.and_then(|addresses| {
            if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
        });
        if found.send(((host, port), answer)).is_err() {
            return;
        }
    }
}

/// The addresses after a round of look-ups, or `None` where nothing changed. A failed look-up keeps the addresses
/// last known; another order of the same addresses is no change (servers rotate them on purpose).
pub fn merge(known: &Addresses, answers: &HashMap<HostPort, Resolution>) -> Option<Addresses> {
    let news = |(name, answer): (&HostPort, &Resolution)| {
        let fresh = answer.as_ref().ok()?;
        let same = known.get(name).is_some_and(|old| same_set(old, fresh));
        (!same).then(|| (name.clone(), fresh.clone()))
    };
    let news: Vec<_> = answers.iter().filter_map(news).collect();
    if news.is_empty() {
        return None;
    }
    let mut merged = known.clone();
    merged.extend(news);
    Some(merged)
}

fn same_set(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    let set = |addresses: &[SocketAddr]| addresses.iter().copied().collect::<HashSet<_>>();
    one.len() == other.len() && set(one) == set(other)
}

/// Only what `names` has: a name that a reload removed is forgotten.
pub fn keep(known: &Addresses, names: &HashSet<HostPort>) -> Addresses {
    let kept = known.iter().filter(|(name, _)| names.contains(*name));
    kept.map(|(name, addresses)| (name.clone(), addresses.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(host: &str) -> HostPort {
        (host.into(), 80)
    }

    fn addresses(list: &[&str]) -> Arc<[SocketAddr]> {
        list.iter().map(|text| text.parse().expect("a literal address")).collect()
    }

    #[test]
    fn localhost_is_found_and_an_impossible_name_is_an_error_that_keeps_nobody_waiting() {
        let found = look_up([name("localhost"), name("no such name")], Duration::from_secs(5));
        let localhost = found[&name("localhost")].as_ref().expect("every machine knows localhost");
        assert!(localhost.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
        assert!(found[&name("no such name")].is_err());
    }

    #[test]
    fn a_failed_look_up_keeps_the_addresses_last_known() {
        let known = Addresses::from([(name("a"), addresses(&["10.0.0.1:80"]))]);
        assert!(merge(&known, &HashMap::from([(name("a"), Err("down".to_owned()))])).is_none());
    }

    #[test]
    fn another_order_of_the_same_addresses_is_no_change() {
        let known = Addresses::from([(name("a"), addresses(&["10.0.0.1:80", "10.0.0.2:80"]))]);
        let turned = Ok(addresses(&["10.0.0.2:80", "10.0.0.1:80"]));
        assert!(merge(&known, &HashMap::from([(name("a"), turned)])).is_none());
    }

    #[test]
    fn a_new_address_replaces_only_the_list_of_its_own_name() {
        let known = Addresses::from([
            (name("a"), addresses(&["10.0.0.1:80"])),
            (name("b"), addresses(&["10.0.0.9:80"])),
        ]);
        let answers = HashMap::from([(name("a"), Ok(addresses(&["10.0.0.3:80"])))]);
        let merged = merge(&known, &answers).expect("a change");
        assert_eq!(merged[&name("a")], addresses(&["10.0.0.3:80"]));
        assert_eq!(merged[&name("b")], addresses(&["10.0.0.9:80"]));
    }

    #[test]
    fn a_name_that_is_no_longer_configured_is_forgotten() {
        let known = Addresses::from([
            (name("a"), addresses(&["10.0.0.1:80"])),
            (name("b"), addresses(&["10.0.0.9:80"])),
        ]);
        let kept = keep(&known, &HashSet::from([name("b")]));
        assert_eq!(kept.keys().collect::<Vec<_>>(), [&name("b")]);
    }
}
