//! The fence around what handles a connection or a request. Without it, a panic in one task would unwind the whole event
//! loop with all its connections.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use super::Shard;
use crate::base::error::{Error, Reason};

/// What was behind a fence has panicked; that was logged and counted.
#[derive(Debug)]
pub struct Panicked;

impl From<Panicked> for Error {
    fn from(_: Panicked) -> Error {
        Error::gateway(Reason::Internal, "a panic")
    }
}

/// Runs `work` until it is done or panics. It must not be polled again then.
///
/// What a panic leaves half-changed must be `work`'s own. The shard's tables are changed in single steps that do not panic.
pub fn fenced<F: Future>(
    shard: &Shard,
    mut work: Pin<&mut F>,
) -> impl Future<Output = Result<F::Output, Panicked>> {
    poll_fn(move |cx| match attempt(shard, || work.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
}

/// Calls `work` behind a fence.
///
/// # Errors
/// It has panicked.
pub fn attempt<T>(shard: &Shard, work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        report(shard, &*panic);
        Panicked
    })
}

fn report(shard: &Shard, panic: &(dyn Any + Send)) {
    shard.metrics.panics_total.set(shard.metrics.panics_total.get() + 1);
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
    tracing::error!(shard = shard.id, panic = text, "a connection panicked and is closed");
}
