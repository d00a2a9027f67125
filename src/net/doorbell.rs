//! Messages to a shard from other threads: a channel, a flag, and a socket pair that wakes the event loop.
//!
//! monoio's wakers must not cross threads without its `sync` feature, so the sender writes one byte
//! and the shard's own read completes. The flag keeps it to one byte however many messages wait.

use std::io::{self, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, unbounded};
use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;

/// Why a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The receiver is behind.
    Full,
    /// The receiver is gone.
    Closed,
}

/// The sending side; clones share the channel.
pub struct Post<T> {
    messages: Sender<T>,
    rung: Arc<AtomicBool>,
    bell: Arc<StdUnixStream>,
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Self {
        Post { messages: self.messages.clone(), rung: self.rung.clone(), bell: self.bell.clone() }
    }
}

impl<T> Post<T> {
    /// Leaves a message and rings; never blocks.
    ///
    /// # Errors
    /// [`Undelivered`] when the channel is full or the receiver gone; the message is dropped.
    pub fn send(&self, message: T) -> Result<(), Undelivered> {
        self.messages.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => Undelivered::Full,
            TrySendError::Disconnected(_) => Undelivered::Closed,
        })?;
        if !self.rung.swap(true, Ordering::AcqRel) {
            // The pair holds at most one byte at a time, so this cannot block; a closed peer is a
            // receiver that is gone, which the next send reports.
            let _ = (&*self.bell).write(&[1]);
        }
        Ok(())
    }
}

/// The receiving side, still on no event loop.
pub struct Mailbox<T> {
    messages: Receiver<T>,
    rung: Arc<AtomicBool>,
    bell: StdUnixStream,
}

/// A channel for up to `capacity` waiting messages.
///
/// # Errors
/// When the process has no descriptors left.
pub fn mailbox<T: Send>(capacity: usize) -> io::Result<(Post<T>, Mailbox<T>)> {
    over(bounded(capacity))
}

/// A channel that is never full: for messages that are rare and must not be lost, however far the receiver is behind.
///
/// # Errors
/// When the process has no descriptors left.
pub fn unbounded_mailbox<T: Send>() -> io::Result<(Post<T>, Mailbox<T>)> {
    over(unbounded())
}

/// The two ends of a channel with a bell between them.
fn over<T>((sender, receiver): (Sender<T>, Receiver<T>)) -> io::Result<(Post<T>, Mailbox<T>)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    let rung = Arc::new(AtomicBool::new(false));
    let post = Post { messages: sender, rung: rung.clone(), bell: Arc::new(ours) };
    Ok((post, Mailbox { messages: receiver, rung, bell: theirs }))
}

impl<T> Mailbox<T> {
    /// Handles messages on this thread's event loop until `handle` says false or all senders are gone.
    ///
    /// # Errors
    /// When the bell cannot be put on the event loop or read from.
    pub async fn listen(self, mut handle: impl FnMut(T) -> bool) -> io::Result<()> {
        self.bell.set_nonblocking(monoio::utils::is_legacy())?;
        let mut bell = UnixStream::from_std(self.bell)?;
        let mut byte = vec![0_u8; 1];
        loop {
            let (result, back) = bell.read(byte).await;
            byte = back;
            let open = result? > 0;
            // Cleared before the channel is emptied: a message that comes after rings again.
            self.rung.store(false, Ordering::Release);
            loop {
                match self.messages.try_recv() {
                    Ok(message) => {
                        if !handle(message) {
                            return Ok(());
                        }
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            if !open {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(messages: usize) -> Vec<usize> {
        let (post, inbox) = mailbox(messages).expect("descriptors are there");
        let sender = std::thread::spawn(move || {
            (0..messages).for_each(|message| post.send(message).expect("the channel holds them all"));
        });
        let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().build().expect("epoll works");
        let mut got = Vec::new();
        runtime
            .block_on(inbox.listen(|message| {
                got.push(message);
                got.len() < messages
            }))
            .expect("the bell rings");
        sender.join().expect("the sender ends");
        got
    }

    #[test]
    fn every_message_wakes_the_loop_and_arrives_in_order() {
        assert_eq!(collect(10_000), (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn an_unbounded_mailbox_takes_any_number_of_messages_while_nobody_listens() {
        let (post, inbox) = unbounded_mailbox().expect("descriptors are there");
        assert!((0..100_000).all(|message| post.send(message) == Ok(())));
        drop(inbox);
        assert_eq!(post.send(0), Err(Undelivered::Closed));
    }

    #[test]
    fn a_full_or_closed_mailbox_says_so() {
        let (post, inbox) = mailbox(1).expect("descriptors are there");
        assert_eq!(post.send(1), Ok(()));
        assert_eq!(post.send(2), Err(Undelivered::Full));
        drop(inbox);
        assert_eq!(post.send(3), Err(Undelivered::Closed));
    }
}
