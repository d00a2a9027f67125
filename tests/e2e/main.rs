//! The gateway from outside: the real binary as a child process, real sockets, raw bytes. One test binary, so that all
//! tests overlap: most of them wait for a timer or for silence, and while one waits others run.
//!
//! A test starts its own gateway and origins on ports the kernel picks, in a directory of its own, so tests share
//! nothing but the machine.

mod support;

mod access;
mod http;
mod operation;
mod rate_limits;
mod routing;
mod scripts;
mod shared_store;
mod upstream;
