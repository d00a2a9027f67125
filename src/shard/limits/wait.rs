//! Requests that wait for an answer of the store: woken on their own shard, by its mailbox or its tick.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::limit::Verdict;

/// How a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The lease has changed: look at it again.
    Granted,
    Decided(Verdict),
    /// The store gave no answer.
    Failed,
}

/// One answer that is awaited, by any number of requests.
#[derive(Debug, Default)]
pub struct Wait {
    outcome: Cell<Option<Outcome>>,
    /// `None`: that request has gone.
    wakers: RefCell<Vec<Option<Waker>>>,
}

impl Wait {
    /// Wakes all who wait.
    pub fn end(&self, outcome: Outcome) {
        self.outcome.set(Some(outcome));
        self.wakers.take().into_iter().flatten().for_each(Waker::wake);
    }
}

/// One request's place among those who wait. Dropped, it leaves nothing of the request behind.
pub struct Waiting {
    wait: Rc<Wait>,
    place: Option<usize>,
}

impl Waiting {
    pub fn new(wait: Rc<Wait>) -> Waiting {
        Waiting { wait, place: None }
    }
}

impl Future for Waiting {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        if let Some(outcome) = self.wait.outcome.get() {
            return Poll::Ready(outcome);
        }
        let wait = self.wait.clone();
        let mut wakers = wait.wakers.borrow_mut();
        let place = *self.place.get_or_insert_with(|| {
            wakers.push(None);
            wakers.len() - 1
        });
        wakers[place] = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(place) = self.place
            && let Some(waker) = self.wait.wakers.borrow_mut().get_mut(place)
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
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(waiting: &mut Waiting, bell: &Arc<Bell>) -> Poll<Outcome> {
        Pin::new(waiting).poll(&mut Context::from_waker(&Waker::from(bell.clone())))
    }

    #[test]
    fn the_end_wakes_each_request_once_and_tells_it_the_outcome() {
        let (bell, wait) = (Arc::new(Bell::default()), Rc::new(Wait::default()));
        let mut all: Vec<_> = (0..3).map(|_| Waiting::new(wait.clone())).collect();
        for waiting in &mut all {
            assert!(poll(waiting, &bell).is_pending());
            assert!(poll(waiting, &bell).is_pending());
        }
        wait.end(Outcome::Failed);
        assert_eq!(bell.0.load(Ordering::Relaxed), 3);
        assert!(all.iter_mut().all(|waiting| poll(waiting, &bell) == Poll::Ready(Outcome::Failed)));
        let mut late = Waiting::new(wait);
        assert_eq!(poll(&mut late, &bell), Poll::Ready(Outcome::Failed));
    }

    #[test]
    fn a_request_that_has_gone_is_not_woken_and_not_held() {
        let (bell, wait) = (Arc::new(Bell::default()), Rc::new(Wait::default()));
        let mut gone = Waiting::new(wait.clone());
        let mut stays = Waiting::new(wait.clone());
        assert!(poll(&mut gone, &bell).is_pending());
        assert!(poll(&mut stays, &bell).is_pending());
        drop(gone);
        assert_eq!(Arc::strong_count(&bell), 2);
        wait.end(Outcome::Granted);
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
        drop(stays);
        assert_eq!(Arc::strong_count(&bell), 1);
    }
}
