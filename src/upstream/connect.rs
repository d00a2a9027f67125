//! Opening a connection to a target: IP, name (all its addresses), or Unix socket.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::slice;
use std::time::Duration;

use monoio::net::{TcpStream, UnixStream};

use super::Addresses;
use crate::base::error::{Error, Reason, Retry};
use crate::net::deadline::SocketSide;
use crate::net::{Deadlines, Socket};
use crate::plan::TargetAddress;

/// Connects within `timeout`, over all addresses that a name has, beginning at `first`.
pub async fn connect(
    target: &TargetAddress,
    addresses: &Addresses,
    first: usize,
    timeout: Duration,
    deadlines: &Rc<Deadlines>,
) -> Result<Socket, Error> {
    let result = match target {
        TargetAddress::Unix(path) => within(timeout, unix(path, deadlines)).await,
        TargetAddress::Ip(address) => tcp(slice::from_ref(address), 0, timeout, deadlines).await,
        TargetAddress::Name { host, port } => {
            let known = addresses.get(&(host.clone(), *port)).map_or(&[][..], |known| &**known);
            tcp(known, first, timeout, deadlines).await
        }
    };
    result.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => {
            Error::upstream(Reason::UpstreamTimeout, Retry::Safe, "connect_timeout passed")
        }
        io::ErrorKind::NotFound if matches!(target, TargetAddress::Name { .. }) => {
            Error::upstream(Reason::NoTarget, Retry::Safe, "the target's name has no address")
        }
        _ => Error::upstream(Reason::UpstreamConnect, Retry::Safe, format!("connect: {error}")),
    })
}

/// A connect that is dropped in flight has moved no bytes, so here an ordinary timeout is right.
async fn within<T>(timeout: Duration, connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    monoio::time::timeout(timeout, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Tries the addresses in turn; each has its share of the time, so a dead one does not use it all up.
async fn tcp(
    addresses: &[SocketAddr],
    first: usize,
    timeout: Duration,
    deadlines: &Rc<Deadlines>,
) -> io::Result<Socket> {
    let mut result = Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    let share = timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for step in 0..addresses.len() {
        let address = addresses[(first % addresses.len() + step) % addresses.len()];
        result = within(share, TcpStream::connect_addr(address)).await;
        if result.is_ok() {
            break;
        }
    }
    let socket = Socket::tcp(result?, SocketSide::Upstream, deadlines);
    socket.set_nodelay();
    Ok(socket)
}

async fn unix(path: &Path, deadlines: &Rc<Deadlines>) -> io::Result<Socket> {
    Ok(Socket::unix(UnixStream::connect(path).await?, SocketSide::Upstream, deadlines))
}
