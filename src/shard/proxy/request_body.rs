//! The request body on its way to an upstream: one buffer in flight, bytes as they came.
//!
//! Chunks are validated but not re-encoded: both ends are HTTP/1, so framing and trailers pass as they are.

use std::cell::Cell;

use super::attempt::Exchange;
use crate::base::error::Error;
use crate::net::pipe::Stopped;
use crate::net::{Refill, Socket};
use crate::shard::h1::WireBody;
use crate::shard::h1::source::{client_stopped, refused_body};
use crate::shard::protocol::WholeBody;

/// Why an upload ended early.
pub enum UploadError {
    /// The client's fault: nobody will get a proper body.
    Client(Error),
    /// The upstream takes no more. It may have answered already.
    Upstream,
}

/// Sends the rest of a body that comes over a client's connection: first what has arrived, then what the client sends.
///
/// # Errors
/// See [`UploadError`]. Bytes that were taken and not written are lost: the caller must not reuse either connection.
pub async fn upload(
    body: &mut WireBody<'_>,
    exchange: &Exchange<'_>,
    upstream: &Socket,
    bytes_in: &Cell<usize>,
) -> Result<(), UploadError> {
    let mut refill = Refill::after(body.input);
    loop {
        let taken = body.body.take(body.input).map_err(|error| UploadError::Client(refused_body(error)))?;
        if taken > 0 {
            bytes_in.set(bytes_in.get() + taken);
            let input = std::mem::take(body.input);
            let written = upstream.write(input, taken, exchange.idle_timeout()).await;
            *body.input = written.buffer;
            written.result.map_err(|_| UploadError::Upstream)?;
            body.input.drain(..taken);
        }
        if !body.is_done() && body.input.is_empty() {
            splice(body, exchange, upstream, bytes_in).await?;
        }
        if body.is_done() {
            exchange.shard.buffers.shrink(body.input);
            return Ok(());
        }
        body.read_next(&mut refill).await.map_err(UploadError::Client)?;
    }
}

/// Carries the rest of a long body without looking at it, where that is to be done: both ends have to be raw.
async fn splice(
    body: &mut WireBody<'_>,
    exchange: &Exchange<'_>,
    upstream: &Socket,
    bytes_in: &Cell<usize>,
) -> Result<(), UploadError> {
    let bytes = body.body.opaque_bytes();
    let (Some(from), Some(to)) = (body.socket.raw(), upstream.raw()) else { return Ok(()) };
    let pipes = &exchange.shard.pipes;
    let Some(pipe) = pipes.take_for(bytes) else { return Ok(()) };
    exchange.shard.buffers.give_back(std::mem::take(body.input));
    let carrying = pipe.carry(from, to, bytes, body.timeout, exchange.idle_timeout());
    let carried = Box::pin(carrying).await;
    bytes_in.set(bytes_in.get() + usize::try_from(carried.bytes).unwrap_or(usize::MAX));
    body.body.pass(carried.bytes);
    pipes.give_back(pipe);
    match carried.result {
        Ok(()) => Ok(()),
        Err(Stopped::From(error)) => Err(UploadError::Client(client_stopped(&error))),
        Err(Stopped::To(_)) => Err(UploadError::Upstream),
    }
}

/// Sends a body that is all here. `keep`: it may have to be sent once more.
///
/// # Errors
/// The upstream took no more.
pub async fn upload_whole(
    body: &mut WholeBody,
    exchange: &Exchange<'_>,
    upstream: &Socket,
    keep: bool,
) -> Result<(), UploadError> {
    let bytes = if keep { body.bytes.clone() } else { std::mem::take(&mut body.bytes) };
    let written = upstream.write_all(bytes, exchange.idle_timeout()).await;
    written.result.map_err(|_| UploadError::Upstream)?;
    body.is_sent = true;
    Ok(())
}
