//! A way to a Unix socket on which every byte takes its time, so that a server answers late and yet keeps up.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::let_time_pass;

/// Its threads end with the connections that go through it.
pub struct Delay {
    dir: TempDir,
}

impl Delay {
    /// An answer takes `round_trip` longer than without it.
    pub fn before(server: &Path, round_trip: Duration) -> Delay {
        let dir = TempDir::new().expect("a temporary directory");
        let listener = UnixListener::bind(dir.path().join("slow.sock")).expect("a new socket");
        let server = server.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = UnixStream::connect(&server) else { continue };
                carry(&client, &server, round_trip / 2);
                carry(&server, &client, round_trip / 2);
            }
        });
        Delay { dir }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("slow.sock")
    }
}

/// Carries what comes from one side to the other, each piece so much later.
fn carry(from: &UnixStream, to: &UnixStream, delay: Duration) {
    let clone = |stream: &UnixStream| stream.try_clone().expect("there are descriptors left");
    let (mut from, mut to) = (clone(from), clone(to));
    let (sender, pieces) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(size @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now() + delay, buffer[..size].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, piece) in pieces {
            let_time_pass(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}
