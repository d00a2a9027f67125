//! Connections beyond `max_connections`: accepted, told so, and closed.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::connection::{self, Connection};
use super::{WireBody, WireResponse};
use crate::base::error::{Error, Reason};
use crate::net::Socket;
use crate::shard::Shard;
use crate::shard::protocol::{BodySource, ResponseSink};
use crate::shard::serve;
use crate::shard::turn::OpenTurn;

/// How long a client that is refused for lack of room may take to accept that.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers 503 `overloaded` before anything was asked, and closes.
pub async fn refuse_connection(shard: Rc<Shard>, socket: Socket, peer: IpAddr) {
    let mut connection = Connection::new(shard.clone(), socket, peer, None);
    let mut turn = OpenTurn::begin(&shard, peer);
    turn.has_request = true;
    let place = Refusing::new(&shard);
    let refused = {
        let Connection { socket, input, body, .. } = &mut connection;
        let version = turn.buffers.transaction.request.version();
        let response = WireResponse {
            shard: &shard,
            socket,
            version,
            timeout: REFUSAL_TIMEOUT,
            keep_alive: false,
            head_sent: false,
        };
        let body =
            WireBody { shard: &shard, socket, timeout: REFUSAL_TIMEOUT, awaits_continue: false, input, body };
        let (mut source, mut sink) = (BodySource::Http1(body), ResponseSink::Http1(response));
        let error = Error::gateway(Reason::Overloaded, "too many connections");
        let refusing = serve::refuse(&mut turn, &mut source, &mut sink, error);
        monoio::time::timeout(REFUSAL_TIMEOUT, refusing).await
    };
    turn.finish();
    if refused.is_ok() && place.has_time {
        connection::linger(&mut connection).await;
    }
}

/// Counts a connection that is being refused.
struct Refusing<'a> {
    count: &'a Cell<usize>,
    /// There is room to wait until the client has noticed. Without it, a client gets its answer and is closed in the same
    /// breath: each holds a descriptor, and a flood of them would take those of the others.
    has_time: bool,
}

impl<'a> Refusing<'a> {
    fn new(shard: &'a Shard) -> Refusing<'a> {
        let count = &shard.refusing;
        count.set(count.get() + 1);
        Refusing { count, has_time: count.get() <= shard.share.refused }
    }
}

impl Drop for Refusing<'_> {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
    }
}
