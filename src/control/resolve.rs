//! DNS: the host names of targets, looked up when a generation is prepared and every 30 s from then on.
//!
//! `getaddrinfo` blocks, so it runs on threads that may wait. Shards only get the result, as one immutable map.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::control::current::CurrentGeneration;
use crate::control::{Control, ControlEvent};
use crate::plan::{Plan, TargetAddress};
use crate::shard::{Addresses, Command};

/// A target's host name and port.
pub type HostPort = (Arc<str>, u16);

/// The result of one look-up: at least one address, or why there is none.
pub type Resolution = Result<Arc<[SocketAddr]>, String>;

/// How often the names of a running gateway are looked up again.
pub const REFRESH_EVERY: Duration = Duration::from_secs(30);
/// The same while a name has no address at all: a resolver that starts after the gateway is used soon.
pub const RETRY_EVERY: Duration = Duration::from_secs(5);
/// How long a start or a reload waits for names that are new.
pub const FIRST_TIMEOUT: Duration = Duration::from_secs(5);

/// Look-ups at a time: one blocks for tens of seconds when no name server answers.
const MAX_THREADS: usize = 8;

/// The host names of a plan's targets, each once.
pub fn names(plan: &Plan) -> HashSet<HostPort> {
    let targets = plan.upstreams.iter().flat_map(|upstream| &upstream.targets);
    targets
        .filter_map(|target| match &target.address {
            TargetAddress::Name { host, port } => Some((host.clone(), *port)),
            TargetAddress::Ip(_) | TargetAddress::Unix(_) => None,
        })
        .collect()
}

/// Looks all names up and returns what is known after `timeout`: a name without a response by then is an error. Threads
/// that still wait for a resolver are left behind; they end by themselves and take no further name.
pub fn look_up(
    names: impl IntoIterator<Item = HostPort>,
    timeout: Duration,
) -> HashMap<HostPort, Resolution> {
    let mut resolutions: HashMap<HostPort, Resolution> =
        names.into_iter().map(|name| (name, Err("no answer in time".to_owned()))).collect();
    if resolutions.is_empty() {
        return resolutions;
    }
    let deadline = Instant::now() + timeout;
    let (jobs, todo) = crossbeam_channel::unbounded();
    let (found, results) = crossbeam_channel::unbounded();
    for name in resolutions.keys() {
        let _ = jobs.send(name.clone());
    }
    drop(jobs);
    // As many threads as names, up to a limit; each takes the next name from the queue.
    for _ in 0..MAX_THREADS.min(resolutions.len()) {
        let (todo, found) = (todo.clone(), found.clone());
        let worker = move || resolve_all(&todo, &found, deadline);
        if let Err(error) = thread::Builder::new().name("resolve".into()).spawn(worker) {
            tracing::error!("cannot start a thread to resolve names: {error}");
        }
    }
    // Now only the threads hold senders: when all of them have ended, so does the loop.
    drop(found);
    while let Ok((name, resolution)) = results.recv_deadline(deadline) {
        resolutions.insert(name, resolution);
    }
    resolutions
}

/// One thread of a round: takes names until none is left or the time is over.
fn resolve_all(todo: &Receiver<HostPort>, found: &Sender<(HostPort, Resolution)>, deadline: Instant) {
    while let Ok((host, port)) = todo.try_recv() {
        if Instant::now() >= deadline {
            return;
        }
        let resolution = match (&*host, port).to_socket_addrs() {
            Ok(addresses) => match usable(addresses, has_route) {
                addresses if addresses.is_empty() => Err("the name has no address".to_owned()),
                addresses => Ok(addresses.into()),
            },
            Err(error) => Err(error.to_string()),
        };
        if found.send(((host, port), resolution)).is_err() {
            return;
        }
    }
}

/// The addresses that traffic is balanced over: each once (`/etc/hosts` may name one twice), and without those to which
/// this machine has no route, such as the IPv6 half of a name where there is only IPv4. If there is a route to none, all
/// of them, so that the failure of requests shows what is wrong.
fn usable(
    addresses: impl Iterator<Item = SocketAddr>,
    has_route: impl Fn(&SocketAddr) -> bool,
) -> Vec<SocketAddr> {
    let mut seen = HashSet::new();
    let distinct: Vec<_> = addresses.filter(|address| seen.insert(*address)).collect();
    let routed: Vec<_> = distinct.iter().copied().filter(has_route).collect();
    if routed.is_empty() { distinct } else { routed }
}

/// Whether the kernel has a route to an address. Connecting a UDP socket looks it up and sends nothing.
fn has_route(address: &SocketAddr) -> bool {
    use std::io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable};
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    match UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address)) {
        Ok(()) => true,
        // Any other error (say, no file descriptor is left) is not about the address.
        Err(error) => {
            let no_route = matches!(error.kind(), AddrNotAvailable | HostUnreachable | NetworkUnreachable);
            !no_route && error.raw_os_error() != Some(libc::EAFNOSUPPORT)
        }
    }
}

/// The addresses after a round of look-ups, or `None` where nothing changed. A failed look-up keeps the addresses last
/// known. Another order of the same addresses is no change, since name servers rotate them on purpose.
pub fn merge(known: &Addresses, resolutions: &HashMap<HostPort, Resolution>) -> Option<Addresses> {
    let changed = |(name, resolution): (&HostPort, &Resolution)| {
        let fresh = resolution.as_ref().ok()?;
        let same = known.get(name).is_some_and(|old| same_set(old, fresh));
        (!same).then(|| (name.clone(), fresh.clone()))
    };
    let changed: Vec<_> = resolutions.iter().filter_map(changed).collect();
    if changed.is_empty() {
        return None;
    }
    let mut merged = known.clone();
    merged.extend(changed);
    Some(merged)
}

/// Whether both lists hold the same addresses, in any order.
fn same_set(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    let set = |addresses: &[SocketAddr]| addresses.iter().copied().collect::<HashSet<_>>();
    one.len() == other.len() && set(one) == set(other)
}

/// The addresses of `names` alone: a name that a reload removed is forgotten.
pub fn retain(known: &Addresses, names: &HashSet<HostPort>) -> Addresses {
    let kept = known.iter().filter(|(name, _)| names.contains(*name));
    kept.map(|(name, addresses)| (name.clone(), addresses.clone())).collect()
}

impl Control {
    /// Starts a round of look-ups on a thread of its own.
    pub(super) fn refresh_names(&mut self) {
        self.refresh_at = None;
        if self.current.names.is_empty() {
            return;
        }
        let (names, event_sender) = (self.current.names.clone(), self.event_sender.clone());
        let body = move || {
            let resolutions = look_up(names, REFRESH_EVERY);
            let _ = event_sender.send(ControlEvent::Resolved(resolutions));
        };
        if let Err(error) = thread::Builder::new().name("refresh".into()).spawn(body) {
            tracing::error!("cannot look names up: {error}");
            self.schedule_refresh();
        }
    }

    /// A round is over: shards get the new addresses, if any changed.
    pub(super) fn resolved(&mut self, resolutions: &HashMap<HostPort, Resolution>) {
        for ((host, port), resolution) in resolutions {
            if let Err(error) = resolution {
                tracing::warn!(
                    "cannot look up {host} (port {port}): {error}; the addresses last known stay in use"
                );
            }
        }
        if let Some(merged) = merge(&self.current.addresses, resolutions) {
            // A reload meanwhile may have removed some of these names.
            let addresses = Arc::new(retain(&merged, &self.current.names));
            self.current.addresses = addresses.clone();
            self.supervisor.broadcast(|_| Command::Addresses(addresses.clone()));
            self.follow_health();
        }
        self.schedule_refresh();
    }

    /// Sets the time of the next round; sooner while a name has no address at all.
    pub(super) fn schedule_refresh(&mut self) {
        let CurrentGeneration { names, addresses, .. } = &self.current;
        let missing = names.iter().any(|name| !addresses.contains_key(name));
        let pause = if missing { RETRY_EVERY } else { REFRESH_EVERY };
        self.refresh_at = (!names.is_empty()).then(|| Instant::now() + pause);
    }
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
        let resolutions = HashMap::from([(name("a"), Ok(addresses(&["10.0.0.3:80"])))]);
        let merged = merge(&known, &resolutions).expect("a change");
        assert_eq!(merged[&name("a")], addresses(&["10.0.0.3:80"]));
        assert_eq!(merged[&name("b")], addresses(&["10.0.0.9:80"]));
    }

    #[test]
    fn a_name_that_is_no_longer_configured_is_forgotten() {
        let known = Addresses::from([
            (name("a"), addresses(&["10.0.0.1:80"])),
            (name("b"), addresses(&["10.0.0.9:80"])),
        ]);
        let kept = retain(&known, &HashSet::from([name("b")]));
        assert_eq!(kept.keys().collect::<Vec<_>>(), [&name("b")]);
    }
}
