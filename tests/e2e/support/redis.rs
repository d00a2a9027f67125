//! A real redis-server of a test's own, on a Unix socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::DEADLINE;

/// Ends with its owner.
pub struct Redis {
    process: Child,
    dir: TempDir,
}

impl Redis {
    /// Waits until it answers.
    pub fn start() -> Redis {
        let dir = TempDir::new().expect("a temporary directory");
        let redis = Redis { process: spawn(&dir), dir };
        redis.await_up();
        redis
    }

    /// For `[store] url`.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// The section of a configuration.
    pub fn section(&self) -> String {
        // Generous, since machines stall; a frozen server is noticed in this time.
        format!("[store]\nurl = {:?}\ntimeout = \"500ms\"\n", self.url())
    }

    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it is ours");
    }

    /// After [`Redis::kill`]: empty, in the same place.
    pub fn restart(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        self.process = spawn(&self.dir);
        self.await_up();
    }

    /// What it says to a command.
    pub fn ask(&self, command: &str) -> String {
        self.try_ask(command).expect("it answers")
    }

    fn try_ask(&self, command: &str) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(DEADLINE))?;
        // QUIT has it close, so that all it has said is read.
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    fn await_up(&self) {
        let until = Instant::now() + DEADLINE;
        while !self.try_ask("PING").is_ok_and(|answer| answer.starts_with("+PONG")) {
            assert!(Instant::now() < until, "redis-server does not start: is it installed?");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status();
        assert!(sent.expect("kill exists").success(), "the server is gone");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(dir: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--unixsocket", "redis.sock", "--port", "0", "--save", "", "--appendonly", "no"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
