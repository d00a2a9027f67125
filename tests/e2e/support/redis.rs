//! A real redis-server of a test's own, on a Unix socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{DEADLINE, Lines};

/// Ends with its owner.
pub struct Redis {
    process: Child,
    dir: TempDir,
}

impl Redis {
    /// Waits until it answers.
    pub fn start() -> Redis {
        let dir = TempDir::new().expect("a temporary directory");
        Redis { process: spawn(&dir), dir }
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

    /// Before [`Redis::kill`]: the next start has what it holds now.
    pub fn save(&self) {
        let answer = self.ask("SAVE");
        assert!(answer.starts_with("+OK"), "{answer}");
    }

    /// After [`Redis::kill`]: in the same place, empty or with what was saved.
    pub fn restart(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        self.process = spawn(&self.dir);
    }

    /// What it says to a command.
    pub fn ask(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a read timeout is always accepted");
        // QUIT has it close, so that all it has said is read.
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
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

/// Starts it and waits until it accepts.
fn spawn(dir: &TempDir) -> Child {
    let mut process = Command::new("redis-server")
        .args(["--unixsocket", "redis.sock", "--port", "0", "--save", "", "--appendonly", "no"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let stdout = Lines::of(process.stdout.take().expect("stdout is piped"));
    // "Ready to accept" or "is now ready to accept", as the version has it.
    let up = stdout.wait_for(DEADLINE, |line| line.contains("eady to accept connections").then_some(()));
    assert!(up.is_some(), "redis-server does not start: {:#?}", stdout.all());
    process
}
