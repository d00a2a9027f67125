//! Opening a connection to an endpoint.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use monoio::net::{TcpStream, UnixStream};

use super::EndpointAddress;
use crate::base::error::{Error, Reason, Retry};
use crate::net::deadline::SocketSide;
use crate::net::{Deadlines, Socket};

/// Connects within `timeout`. Whatever fails here has sent nothing of the request.
pub async fn connect(
    address: &EndpointAddress,
    timeout: Duration,
    deadlines: &Rc<Deadlines>,
) -> io::Result<Socket> {
    let connecting = async {
        match address {
            EndpointAddress::Tcp(address) => {
                let stream = TcpStream::connect_addr(*address).await?;
                let socket = Socket::tcp(stream, SocketSide::Upstream, deadlines);
                socket.set_nodelay();
                Ok(socket)
            }
            EndpointAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                Ok(Socket::unix(stream, SocketSide::Upstream, deadlines))
            }
        }
    };
    // A connect that is dropped in flight has moved no bytes, so here an ordinary timeout is right.
    let within = monoio::time::timeout(timeout, connecting).await;
    within.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether there was no file descriptor left for the connection.
pub fn lacks_descriptor(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// A connection that could not be made, as the error of its attempt. What this machine has run out of is not the
/// target's fault, and another target would not help.
pub fn refused(error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::EADDRNOTAVAIL | libc::ENOBUFS | libc::ENOMEM) => {
            Error::gateway(Reason::Overloaded, format!("connect: {error}"))
        }
        _ if error.kind() == io::ErrorKind::TimedOut => {
            Error::upstream(Reason::UpstreamTimeout, Retry::Safe, "connect_timeout passed")
        }
        _ => Error::upstream(Reason::UpstreamConnect, Retry::Safe, format!("connect: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::FaultOrigin;

    #[test]
    fn what_this_machine_has_run_out_of_is_not_blamed_on_the_target() {
        for (code, source, reason) in [
            (libc::EMFILE, FaultOrigin::Gateway, Reason::Overloaded),
            (libc::ENFILE, FaultOrigin::Gateway, Reason::Overloaded),
            (libc::EADDRNOTAVAIL, FaultOrigin::Gateway, Reason::Overloaded),
            (libc::ENOBUFS, FaultOrigin::Gateway, Reason::Overloaded),
            (libc::ENOMEM, FaultOrigin::Gateway, Reason::Overloaded),
            (libc::ECONNREFUSED, FaultOrigin::Upstream, Reason::UpstreamConnect),
            (libc::EHOSTUNREACH, FaultOrigin::Upstream, Reason::UpstreamConnect),
            (libc::ETIMEDOUT, FaultOrigin::Upstream, Reason::UpstreamTimeout),
        ] {
            let error = refused(&io::Error::from_raw_os_error(code));
            assert_eq!((error.source, error.reason), (source, reason), "{error}");
        }
    }
}
