//! Clients that wait for an upstream: nothing is read from them meanwhile, so the tick looks whether they have left.

use super::Socket;

/// Has the tick look whether a client is still there, for as long as it waits for an upstream. A client that closes, or
/// half-closes, ends the wait: the upstream's socket is shut down, as by a deadline. What it has sent already, such as
/// its next request, stays where it is and says nothing.
///
/// Ends when dropped: a slot that is left waiting would end an exchange of a later request.
pub struct ClientWatch<'a>(&'a Socket);

impl<'a> ClientWatch<'a> {
    /// From here on the client waits for bytes of this upstream.
    pub fn begin(client: &'a Socket, upstream: &Socket) -> ClientWatch<'a> {
        client.slot().wait_on(upstream.slot());
        ClientWatch(client)
    }

    /// The wait is over, because its time was up or for another reason. Returns whether the client left.
    /// A timeout may be shorter than the time between two looks, so after one the client is looked at once more: that
    /// it left comes before anything that the upstream has failed to do since.
    pub fn end(self, timed_out: bool) -> bool {
        self.0.slot().stop_waiting() || timed_out && self.0.has_left()
    }
}

impl Drop for ClientWatch<'_> {
    fn drop(&mut self) {
        self.0.slot().stop_waiting();
    }
}
