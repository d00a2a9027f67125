//! An answer of the store that requests wait for: they are woken on their own shard, by its mailbox or its tick.
//!
//! Wakers stay on their thread: monoio's must not cross threads without a feature that costs every task.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// One answer, which any number of requests wait for. `None`: the store gave none.
pub struct PendingAnswer<T> {
    answer: Cell<Poll<Option<T>>>,
    /// `None`: that request no longer waits.
    wakers: RefCell<Vec<Option<Waker>>>,
}

impl<T> Default for PendingAnswer<T> {
    fn default() -> PendingAnswer<T> {
        PendingAnswer { answer: Cell::new(Poll::Pending), wakers: RefCell::default() }
    }
}

impl<T> PendingAnswer<T> {
    /// Wakes all requests that wait.
    pub fn resolve(&self, answer: Option<T>) {
        self.answer.set(Poll::Ready(answer));
        self.wakers.take().into_iter().flatten().for_each(Waker::wake);
    }
}

/// One request's wait. Dropped, it leaves nothing of the request behind.
pub struct AnswerWaiter<T> {
    pending: Rc<PendingAnswer<T>>,
    /// The index of its waker.
    index: Option<usize>,
}

impl<T> AnswerWaiter<T> {
    pub fn new(pending: Rc<PendingAnswer<T>>) -> AnswerWaiter<T> {
        AnswerWaiter { pending, index: None }
    }
}

impl<T: Copy> Future for AnswerWaiter<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let pending = self.pending.clone();
        let answer = pending.answer.get();
        if answer.is_pending() {
            let mut wakers = pending.wakers.borrow_mut();
            let index = *self.index.get_or_insert_with(|| {
                wakers.push(None);
                wakers.len() - 1
            });
            wakers[index] = Some(context.waker().clone());
        }
        answer
    }
}

impl<T> Drop for AnswerWaiter<T> {
    fn drop(&mut self) {
        if let Some(index) = self.index
            && let Some(waker) = self.pending.wakers.borrow_mut().get_mut(index)
        {
            *waker = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct WakeCount(AtomicUsize);

    impl Wake for WakeCount {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(waiter: &mut AnswerWaiter<()>, wakes: &Arc<WakeCount>) -> Poll<Option<()>> {
        Pin::new(waiter).poll(&mut Context::from_waker(&Waker::from(wakes.clone())))
    }

    #[test]
    fn the_answer_wakes_each_request_once() {
        let (wakes, pending) = (Arc::new(WakeCount::default()), Rc::new(PendingAnswer::default()));
        let mut all: Vec<_> = (0..3).map(|_| AnswerWaiter::new(pending.clone())).collect();
        for waiter in &mut all {
            assert!(poll(waiter, &wakes).is_pending());
            assert!(poll(waiter, &wakes).is_pending());
        }
        pending.resolve(None);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 3);
        assert!(all.iter_mut().all(|waiter| poll(waiter, &wakes) == Poll::Ready(None)));
        let mut late = AnswerWaiter::new(pending);
        assert_eq!(poll(&mut late, &wakes), Poll::Ready(None));
    }

    #[test]
    fn a_request_that_has_gone_is_not_woken_and_not_held() {
        let (wakes, pending) = (Arc::new(WakeCount::default()), Rc::new(PendingAnswer::default()));
        let mut gone = AnswerWaiter::new(pending.clone());
        let mut stays = AnswerWaiter::new(pending.clone());
        assert!(poll(&mut gone, &wakes).is_pending());
        assert!(poll(&mut stays, &wakes).is_pending());
        drop(gone);
        assert_eq!(Arc::strong_count(&wakes), 2);
        pending.resolve(Some(()));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mut stays, &wakes), Poll::Ready(Some(())));
        drop(stays);
        assert_eq!(Arc::strong_count(&wakes), 1);
    }
}
