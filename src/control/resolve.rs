//! The names of targets become addresses here, on threads that may wait; shards only ever see the result.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::plan::Plan;
use crate::plan::TargetAddress;
use crate::shard::Addresses;

/// A target's host name and port.
pub type Name = (Arc<str>, u16);

/// What one look-up gave: at least one address, or why not.
pub type Answer = Result<Arc<[SocketAddr]>, String>;

/// How often the names of a running gateway are looked up again.
pub const REFRESH_EVERY: Duration = Duration::from_secs(30);
/// The same while a name has no address at all, so that a late start of a resolver costs little.
pub const RETRY_EVERY: Duration = Duration::from_secs(5);
/// How long a start or a reload waits for names it has not seen.
pub const WAIT_AT_MOST: Duration = Duration::from_secs(5);

/// Look-ups at a time: `getaddrinfo` blocks, for tens of seconds when no server answers.
const THREADS: usize = 8;

/// The names in a plan, each once.
pub fn names(plan: &Plan) -> HashSet<Name> {
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
pub fn look_up(names: impl IntoIterator<Item = Name>, within: Duration) -> HashMap<Name, Answer> {
    let mut answers: HashMap<Name, Answer> =
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

fn work(todo: &Receiver<Name>, found: &Sender<(Name, Answer)>, deadline: Instant) {
    while let Ok((host, port)) = todo.try_recv() {
        if Instant::now() >= deadline {
            return;
        }
        let answer = match (&*host, port).to_socket_addrs() {
            Ok(addresses) => match usable(addresses, has_route) {
                addresses if addresses.is_empty() => Err("the name has no address".to_owned()),
                addresses => Ok(addresses.into()),
            },
            Err(error) => Err(error.to_string()),
        };
        if found.send(((host, port), answer)).is_err() {
            return;
        }
    }
}

/// The addresses that traffic is balanced over: each once (`/etc/hosts` may name one twice), and without those to
/// which this machine has no route, such as the IPv6 half of a name where there is only IPv4. Where there is a route
/// to none, all of them, so that requests say what is wrong.
fn usable(
    addresses: impl Iterator<Item = SocketAddr>,
    has_route: impl Fn(&SocketAddr) -> bool,
) -> Vec<SocketAddr> {
    let mut seen = HashSet::new();
    let distinct: Vec<_> = addresses.filter(|address| seen.insert(*address)).collect();
    let routed: Vec<_> = distinct.iter().copied().filter(has_route).collect();
    if routed.is_empty() { distinct } else { routed }
}

/// Whether the kernel knows a way there. To connect a UDP socket asks its routing table and sends nothing.
fn has_route(address: &SocketAddr) -> bool {
    use std::io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable};
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    match UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address)) {
        Ok(()) => true,
        // Any other error (no file descriptor is left, say) tells nothing about the address.
        Err(error) => {
            let no_route = matches!(error.kind(), AddrNotAvailable | HostUnreachable | NetworkUnreachable);
            !no_route && error.raw_os_error() != Some(libc::EAFNOSUPPORT)
        }
    }
}

/// The addresses after a round of look-ups, or `None` where nothing changed. A failed look-up keeps the addresses
/// last known; another order of the same addresses is no change (servers rotate them on purpose).
pub fn merge(known: &Addresses, answers: &HashMap<Name, Answer>) -> Option<Addresses> {
    let news = |(name, answer): (&Name, &Answer)| {
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
pub fn keep(known: &Addresses, names: &HashSet<Name>) -> Addresses {
    let kept = known.iter().filter(|(name, _)| names.contains(*name));
    kept.map(|(name, addresses)| (name.clone(), addresses.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(host: &str) -> Name {
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
    fn an_address_counts_once_and_only_where_there_is_a_route() {
        let found = addresses(&["[2001:db8::1]:80", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:80"]);
        let usable = |has_route: fn(&SocketAddr) -> bool| usable(found.iter().copied(), has_route);
        assert_eq!(usable(|_| true), found[..3]);
        assert_eq!(usable(SocketAddr::is_ipv4), found[1..3]);
        assert_eq!(usable(|_| false), found[..3], "requests will say why none can be reached");
        assert!(has_route(&SocketAddr::from(([127, 0, 0, 1], 80))));
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
