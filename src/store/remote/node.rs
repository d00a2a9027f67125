//! A connection to one Redis server, on which nothing takes longer than its deadline.
//!
//! The pipelines of the `redis` crate read on after a reply that timed out, a timeout for each reply that is missing:
//! a server that is frozen would hold a batch of a thousand up for minutes. So commands are sent and replies read here.

use std::fmt;
use std::time::{Duration, Instant};

use ::redis::{Client, Connection, ConnectionInfo, RedisError, ServerError, TlsCertificates, Value};

/// Why there was no answer, for the log and the status page. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// In the server's own words: `READONLY You can't write against a read only replica.`
impl From<&ServerError> for Failure {
    fn from(error: &ServerError) -> Failure {
        Failure(format!("{} {}", error.code(), error.details().unwrap_or_default()))
    }
}

pub struct Node {
    connection: Connection,
    /// `host:port`, as a cluster names it, or a path.
    pub name: String,
}

impl Node {
    /// Connects and, where there is a password, logs in. May take longer than `timeout` to look a name up.
    ///
    /// # Errors
    /// No answer in time, or one that is a refusal.
    pub fn connect(info: &ConnectionInfo, ca: Option<&[u8]>, timeout: Duration) -> Result<Node, Failure> {
        let name = info.addr().to_string();
        // What the client is called is of no use, and not every user may say it.
        let info = info.clone().set_redis_settings(info.redis_settings().clone().set_skip_set_lib_name());
        let client = match ca {
            Some(pem) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
                Client::build_with_tls(info, certificates)
            }
            None => Client::open(info),
        };
        match client.and_then(|client| client.get_connection_with_timeout(timeout)) {
            Ok(connection) => Ok(Node { connection, name }),
            Err(error) => Err(failure(&name, &error)),
        }
    }

    /// # Errors
    /// What was sent is then unknown: the connection is of no use any more. So with [`Node::receive`].
    pub fn send(&mut self, commands: &[u8], deadline: Instant) -> Result<(), Failure> {
        let left = Some(self.left(deadline)?);
        // TLS reads before it has written, if hands are not shaken yet.
        let ready =
            self.connection.set_read_timeout(left).and_then(|()| self.connection.set_write_timeout(left));
        let sent = ready.and_then(|()| self.connection.send_packed_command(commands));
        sent.map_err(|error| failure(&self.name, &error))
    }

    /// The next reply; an error that the server replied is a [`Value`] too.
    pub fn receive(&mut self, deadline: Instant) -> Result<Value, Failure> {
        let left = self.left(deadline)?;
        let ready = self.connection.set_read_timeout(Some(left));
        ready.and_then(|()| self.connection.recv_response()).map_err(|error| failure(&self.name, &error))
    }

    fn left(&self, deadline: Instant) -> Result<Duration, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(too_late(&self.name)) } else { Ok(left) }
    }
}

fn too_late(name: &str) -> Failure {
    Failure(format!("{name}: no answer in time"))
}

fn failure(name: &str, error: &RedisError) -> Failure {
    if error.is_timeout() { too_late(name) } else { Failure(format!("{name}: {error}")) }
}
