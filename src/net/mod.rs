//! Sockets and what they need: deadlines, buffers, the doorbell between threads.

pub mod buffers;
pub mod deadline;
pub mod doorbell;
pub mod expiry;
mod pace;
pub mod pipe;
pub mod refill;
pub mod socket;
pub mod watch;

pub use buffers::Buffers;
pub use deadline::{Deadlines, Direction, Slot};
pub use pipe::Pipes;
pub use refill::Refill;
pub use socket::Socket;
pub use watch::ClientWatch;
