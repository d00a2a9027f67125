//! The request body on its way to the upstream: one buffer in flight, bytes as they came.

use std::cell::Cell;
use std::io;

use crate::base::error::Error;
use crate::http::body::BodyReader;
use crate::net::Socket;
use crate::net::pipe::Stopped;
use crate::plan::ServerLimits;
use crate::shard::h1::connection::client_stopped;
use crate::shard::proxy::attempt::{self, Exchange};

/// Why an upload ended early.
pub enum Stop {
    /// The client's fault: nobody will get a proper body.
    Client(Error),
    /// The upstream takes no more. It may have answered already.
    Upstream,
}

/// Sends the rest of the body: first what `input` holds, then what the client sends. What belongs to the
/// next request stays in `input`.
pub async fn pump(
    exchange: &Exchange<'_>,
    limits: &ServerLimits,
    client: &Socket,
    upstream: &Socket,
    input: &mut Vec<u8>,
    body: &mut BodyReader,
    bytes_in: &Cell<usize>,
) -> Result<(), Stop> {
    let buffers = &exchange.shard.buffers;
    loop {
        let taken = body.take(input).map_err(|error| Stop::Client(attempt::body_refusal(error)))?;
        if taken > 0 {
            bytes_in.set(bytes_in.get() + taken);
            let timeout = exchange.within(exchange.upstream.plan.idle_timeout);
            let written = upstream.write(std::mem::take(input), taken, timeout).await;
            *input = written.buffer;
            written.result.map_err(|_| Stop::Upstream)?;
            input.drain(..taken);
        }
        if !body.is_done() && input.is_empty() {
            splice(exchange, limits, client, upstream, body, bytes_in).await?;
        }
        if body.is_done() {
            return Ok(());
        }
        if input.capacity() == 0 {
            *input = buffers.small();
        } else if taken == input.capacity() {
            // It filled the buffer to the brim: there is more where that came from.
            buffers.give_back(std::mem::replace(input, buffers.large()));
        }
        let (result, back) = client.read_within(std::mem::take(input), limits.body_timeout).await;
        *input = back;
        match result {
            Ok(1..) => {}
            Ok(_) => return Err(Stop::Client(client_stopped(&io::ErrorKind::UnexpectedEof.into()))),
            Err(error) => return Err(Stop::Client(client_stopped(&error))),
        }
    }
}

/// Carries the rest of a long body without looking at it, where that is to be done.
async fn splice(
    exchange: &Exchange<'_>,
    limits: &ServerLimits,
    client: &Socket,
    upstream: &Socket,
    body: &mut BodyReader,
    bytes_in: &Cell<usize>,
) -> Result<(), Stop> {
    let bytes = body.opaque_bytes();
    let pipes = &exchange.shard.pipes;
    let Some(pipe) = pipes.take_for(bytes) else { return Ok(()) };
    let idle_timeout = exchange.within(exchange.upstream.plan.idle_timeout);
    let carrying = pipe.carry(client, upstream, bytes, || limits.body_timeout, idle_timeout);
    let carried = Box::pin(carrying).await;
    bytes_in.set(bytes_in.get() + usize::try_from(carried.bytes).unwrap_or(usize::MAX));
    body.pass(carried.bytes);
    pipes.give_back(pipe);
    match carried.result {
        Ok(()) => Ok(()),
        Err(Stopped::From(error)) => Err(Stop::Client(client_stopped(&error))),
        Err(Stopped::To(_)) => Err(Stop::Upstream),
    }
}
