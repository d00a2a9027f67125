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
) -> Result<Socket, Error> {
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
    let result: io::Result<Socket> = within.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    result.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => {
            Error::upstream(Reason::UpstreamTimeout, Retry::Safe, "connect_timeout passed")
        }
        _ => Error::upstream(Reason::UpstreamConnect, Retry::Safe, format!("connect: {error}")),
    })
}
