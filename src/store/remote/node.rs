//! A connection to one Redis server, on which nothing takes longer than its deadline.
//!
//! The pipelines of the `redis` crate read on after a reply that timed out, with a new timeout for each missing reply:
//! a frozen server would delay a batch of a thousand for minutes. So commands are sent and replies read here, with one
//! deadline for all.

use std::fmt;
use std::time::{Duration, Instant};

use ::redis::{Client, Connection, ConnectionInfo, RedisError, ServerError, TlsCertificates, Value};

/// Why there was no answer, for the log and the status page. Contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFailure(pub String);

impl fmt::Display for NodeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NodeFailure {}

/// With the server's own text: `READONLY You can't write against a read only replica.` That of `NOPERM` names the
/// command.
impl From<&ServerError> for NodeFailure {
    fn from(error: &ServerError) -> NodeFailure {
        let (code, details) = (error.code(), error.details().unwrap_or_default());
        let hint = if code == "NOPERM" { " (`ACL SETUSER` permits a user's commands)" } else { "" };
        NodeFailure(format!("{code} {details}{hint}"))
    }
}

pub struct RedisNode {
    connection: Connection,
    /// `host:port`, as a cluster names its nodes, or the path of a Unix socket.
    pub name: String,
}

impl RedisNode {
    /// Connects and, where there is a password, authenticates. May take longer than `timeout`: resolving a name has
    /// none.
    ///
    /// # Errors
    /// No answer in time, or a refusal.
    pub fn connect(
        info: &ConnectionInfo,
        ca: Option<&[u8]>,
        timeout: Duration,
    ) -> Result<RedisNode, NodeFailure> {
        let name = info.addr().to_string();
        // CLIENT SETINFO is of no use, and not every user is permitted to send it.
        let info = info.clone().set_redis_settings(info.redis_settings().clone().set_skip_set_lib_name());
        let client = match ca {
            Some(pem) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
                Client::build_with_tls(info, certificates)
            }
            None => Client::open(info),
        };
        match client.and_then(|client| client.get_connection_with_timeout(timeout)) {
            Ok(connection) => Ok(RedisNode { connection, name }),
            Err(error) => Err(failure(&name, &error)),
        }
    }

    /// Sends packed commands.
    ///
    /// # Errors
    /// It is unknown how much was sent, so the connection must be dropped. So with [`RedisNode::receive`].
    pub fn send(&mut self, commands: &[u8], deadline: Instant) -> Result<(), NodeFailure> {
        let left = Some(self.left(deadline)?);
        // A TLS handshake that is not finished reads before the first write.
        let ready =
            self.connection.set_read_timeout(left).and_then(|()| self.connection.set_write_timeout(left));
        let sent = ready.and_then(|()| self.connection.send_packed_command(commands));
        sent.map_err(|error| failure(&self.name, &error))
    }

    /// The next reply; an error reply of the server is a [`Value`] too.
    pub fn receive(&mut self, deadline: Instant) -> Result<Value, NodeFailure> {
        let left = self.left(deadline)?;
        let ready = self.connection.set_read_timeout(Some(left));
        ready.and_then(|()| self.connection.recv_response()).map_err(|error| failure(&self.name, &error))
    }

    fn left(&self, deadline: Instant) -> Result<Duration, NodeFailure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(too_late(&self.name)) } else { Ok(left) }
    }
}

fn too_late(name: &str) -> NodeFailure {
    NodeFailure(format!("{name}: no answer in time"))
}

fn failure(name: &str, error: &RedisError) -> NodeFailure {
    if error.is_timeout() { too_late(name) } else { NodeFailure(format!("{name}: {error}")) }
}
