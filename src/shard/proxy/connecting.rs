//! A new connection to an endpoint, for as long as the client waits for it.

use std::pin::pin;
use std::time::Duration;

use super::response_body::left_waiting;
use crate::base::error::{Error, Reason};
use crate::shard::Shard;
use crate::shard::protocol::ResponseSink;
use crate::upstream::{Endpoint, UpstreamConnection};

/// Time between two looks at the client.
const LOOK_TIME: Duration = Duration::from_millis(100);

/// Connects within `timeout`. A client that leaves meanwhile ends it: nothing was sent for it yet.
///
/// # Errors
/// Those of [`Endpoint::connect`]; a client that left.
pub async fn connect(
    endpoint: &Endpoint,
    timeout: Duration,
    shard: &Shard,
    sink: &ResponseSink<'_>,
) -> Result<UpstreamConnection, Error> {
    let mut connecting = pin!(endpoint.connect(timeout, &shard.deadlines, || shard.close_idle_upstreams()));
    loop {
        match monoio::time::timeout(LOOK_TIME, connecting.as_mut()).await {
            // That the client left comes before what the upstream has failed to do.
            Ok(Err(error)) if error.reason == Reason::UpstreamTimeout && sink.client_left() => {
                return Err(left_waiting());
            }
            Ok(connected) => return connected,
            Err(_) if sink.client_left() => return Err(left_waiting()),
            Err(_) => {}
        }
    }
}
