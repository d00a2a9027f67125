//! The listening sockets: one per address and shard (SO_REUSEPORT), bound here and kept over every reload.
//!
//! Control keeps the originals and hands clones to the shards, because the kernel resets the connections that wait in
//! the accept queue of a socket that is closed for good. A reload that keeps an address keeps its sockets; a shard
//! that is restarted gets clones of the same ones.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::control::failure::StartFailure;
use crate::shard::Listener;

/// Connections that the kernel completes before they are accepted; it caps this by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The sockets of one configured address, one for each shard.
struct SocketGroup {
    /// As configured: a reload finds the group by it, also where the port is 0.
    configured: SocketAddr,
    /// With the port that the kernel chose for a configured port 0.
    actual: SocketAddr,
    /// By shard id.
    sockets: Vec<TcpListener>,
}

impl SocketGroup {
    /// A clone of one shard's socket.
    fn listener(&self, shard: usize) -> io::Result<Listener> {
        Ok(Listener { address: self.actual, socket: self.sockets[shard].try_clone()? })
    }
}

/// The sockets of one generation, in the order of `[server] listen`.
#[derive(Default)]
pub struct Listeners {
    groups: Vec<SocketGroup>,
}

/// A change from one set of listeners to another, with everything bound that it needs. Dropped instead of applied, it
/// leaves the set as it was.
pub struct ListenerChange {
    /// For each wanted address: the index of a group that stays, or a new group.
    wanted: Vec<Result<usize, SocketGroup>>,
}

impl Listeners {
    /// Binds the addresses of `wanted` that this set lacks. The set itself does not change.
    ///
    /// # Errors
    /// An address that cannot be bound; what was bound before it is closed again.
    pub fn plan_change(&self, wanted: &[SocketAddr], shards: usize) -> Result<ListenerChange, StartFailure> {
        let mut free: Vec<usize> = (0..self.groups.len()).collect();
        let mut change = Vec::with_capacity(wanted.len());
        for &address in wanted {
            let kept = free.iter().position(|&at| self.groups[at].configured == address);
            change.push(match kept {
                Some(at) => Ok(free.swap_remove(at)),
                None => Err(self.bind(address, shards)?),
            });
        }
        Ok(ListenerChange { wanted: change })
    }

    /// Makes the change. Returns the sockets that the new set does not have; they are closed when that is dropped.
    pub fn apply(&mut self, change: ListenerChange) -> Listeners {
        let mut old: Vec<Option<SocketGroup>> = self.groups.drain(..).map(Some).collect();
        self.groups = change
            .wanted
            .into_iter()
            .map(|wanted| match wanted {
                Ok(at) => old[at].take().expect("plan_change claims each group once"),
                Err(new) => new,
            })
            .collect();
        Listeners { groups: old.into_iter().flatten().collect() }
    }

    /// Clones of one shard's sockets.
    pub fn of_shard(&self, shard: usize) -> io::Result<Vec<Listener>> {
        self.groups.iter().map(|group| group.listener(shard)).collect()
    }

    /// The same, as it will be once `change` is applied: so that a lack of descriptors is found before it is.
    pub fn of_shard_after(&self, change: &ListenerChange, shard: usize) -> io::Result<Vec<Listener>> {
        let group = |wanted: &Result<usize, SocketGroup>| match wanted {
            Ok(at) => self.groups[*at].listener(shard),
            Err(new) => new.listener(shard),
        };
        change.wanted.iter().map(group).collect()
    }

    /// The addresses listened on, with their real ports.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.groups.iter().map(|group| group.actual)
    }

    /// Binds a socket for each shard to one address.
    fn bind(&self, configured: SocketAddr, shards: usize) -> Result<SocketGroup, StartFailure> {
        let refused = |error: io::Error| refusal("change [server] listen", configured, &error);
        if !self.addresses().any(|ours| ours.port() == configured.port()) {
            probe(configured).map_err(refused)?;
        }
        let mut group = SocketGroup { configured, actual: configured, sockets: Vec::with_capacity(shards) };
        for _ in 0..shards {
            let socket = bind_shared(group.actual).map_err(refused)?;
            group.actual = socket.local_addr().map_err(refused)?;
            group.sockets.push(socket);
        }
        Ok(group)
    }
}

/// Fails for an address that another process listens on. With SO_REUSEPORT the kernel would silently share the port with
/// another gateway of the same user; a bind without it is refused.
fn probe(address: SocketAddr) -> io::Result<()> {
    let socket = new_socket(address)?;
    socket.bind(&address.into())
}

fn bind_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address)?;
    socket.set_reuse_port(true)?;
    // Accepted connections inherit it: one system call less for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted gateway binds while connections of the former one are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // As nginx and Envoy: `[::]:80` and `0.0.0.0:80` are two listeners, and may stand side by side.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Binds a listening socket that is not shared between shards (the admin listener, a sample origin). `instead` completes
/// the hint for the user: what else to do if the address is refused.
///
/// # Errors
/// The address cannot be bound.
pub fn bind_exclusive(instead: &str, address: SocketAddr) -> Result<TcpListener, StartFailure> {
    let bind = || {
        let socket = new_socket(address)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|error| refusal(instead, address, &error))
}

/// The failure of a bind, with a hint that fits its cause.
fn refusal(instead: &str, address: SocketAddr, error: &io::Error) -> StartFailure {
    let port = address.port();
    let (what, hint) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            "the address is already in use".to_owned(),
            format!("stop what listens there (`ss -ltnp 'sport = :{port}'` shows it), or {instead}"),
        ),
        io::ErrorKind::PermissionDenied => (
            "permission denied".to_owned(),
            format!("ports below 1024 need the capability CAP_NET_BIND_SERVICE: grant it, or {instead}"),
        ),
        io::ErrorKind::AddrNotAvailable => (
            "no interface of this machine has that address".to_owned(),
            format!("see what there is with `ip address`, and {instead}"),
        ),
        _ => (error.to_string(), format!("mend that, or {instead}")),
    };
    StartFailure::machine(format!("cannot listen on {address}: {what}"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> SocketAddr {
        "127.0.0.1:0".parse().expect("a literal address")
    }

    fn bound(addresses: &[SocketAddr], shards: usize) -> Listeners {
        let mut listeners = Listeners::default();
        let change = listeners.plan_change(addresses, shards).expect("free ports");
        listeners.apply(change);
        listeners
    }

    #[test]
    fn every_shard_has_a_socket_on_the_one_port_that_was_chosen() {
        let listeners = bound(&[any_port()], 3);
        let port = listeners.addresses().next().expect("one address").port();
        assert_ne!(port, 0);
        for shard in 0..3 {
            let sockets = listeners.of_shard(shard).expect("clones");
            assert_eq!(sockets.len(), 1);
            assert_eq!(sockets[0].address.port(), port);
            assert_eq!(sockets[0].socket.local_addr().expect("bound").port(), port);
        }
    }

    #[test]
    fn a_change_keeps_the_sockets_that_are_still_wanted_and_gives_back_the_rest() {
        let mut listeners = bound(&[any_port(), "[::1]:0".parse().expect("literal")], 1);
        let before: Vec<_> = listeners.addresses().collect();
        let change =
            listeners.plan_change(&["[::1]:0".parse().expect("literal")], 1).expect("nothing to bind");
        let gone = listeners.apply(change);
        assert_eq!(listeners.addresses().collect::<Vec<_>>(), before[1..]);
        assert_eq!(gone.addresses().collect::<Vec<_>>(), before[..1]);
    }

    #[test]
    fn a_port_that_is_written_as_zero_twice_is_two_listeners() {
        let listeners = bound(&[any_port(), any_port()], 1);
        let ports: Vec<_> = listeners.addresses().map(|address| address.port()).collect();
        assert_ne!(ports[0], ports[1]);
    }

    #[test]
    fn a_port_of_another_gateway_is_refused_though_the_kernel_would_share_it() {
        let other = bound(&[any_port()], 1);
        let taken = other.addresses().next().expect("one address");
        let refusal = Listeners::default().plan_change(&[taken], 1).err().expect("refused");
        assert_eq!(refusal.kind, crate::control::FailureKind::Machine);
        assert!(refusal.cause.contains("already in use"), "{}", refusal.cause);
        assert!(refusal.hint.contains(&taken.port().to_string()), "{}", refusal.hint);
    }

    #[test]
    fn a_refused_change_leaves_the_set_as_it_was() {
        let other = bound(&[any_port()], 1);
        let taken = other.addresses().next().expect("one address");
        let ours = bound(&[any_port()], 2);
        let before: Vec<_> = ours.addresses().collect();
        assert!(ours.plan_change(&[any_port(), taken], 2).is_err());
        assert_eq!(ours.addresses().collect::<Vec<_>>(), before);
        assert_eq!(ours.of_shard(1).expect("clones").len(), 1);
    }
}
