//! What makes a request one that can be sent again: its method, or its client's word, and a body that is held for that.

use super::retry::MAX_REPLAYED_BYTES;
use crate::base::error::Error;
use crate::exchange::Transaction;
use crate::plan::RetryPlan;
use crate::shard::protocol::{BodySource, ResponseSink, WholeBody};
use crate::shard::turn::Turn;

/// Whether a request may be sent again although its upstream may have acted on it: its method is idempotent (RFC 9110,
/// 9.2.2), or, where retries are set up, it has an `Idempotency-Key`.
pub fn is_repeatable(plan: &RetryPlan, transaction: &Transaction) -> bool {
    let request = &transaction.request;
    let is_keyed = || plan.repeats_sent() && request.fields.find(b"idempotency-key").is_some();
    request.method().is_idempotent() || is_keyed()
}

/// Reads a short body as a whole, so that it can be sent again. One that is longer, or whose length is not known, is left
/// as it is: it streams.
///
/// # Errors
/// A body that is late or spoilt; more bodies than the shard may hold.
pub async fn hold_body(
    turn: &Turn,
    source: &mut BodySource<'_>,
    sink: &mut ResponseSink<'_>,
) -> Result<(), Error> {
    let max_body = turn.live.plan.scripts.max_body;
    let length = source.bytes_to_come();
    if length == 0 || length > MAX_REPLAYED_BYTES.min(max_body) as u64 {
        return Ok(());
    }
    let (bytes, held) = source.read_held(&turn.shard, sink, &turn.log, max_body).await?;
    *source = BodySource::Whole(WholeBody { bytes, is_sent: false, _held: Some(held) });
    Ok(())
}
