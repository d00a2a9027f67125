//! A real redis-server, for one test.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::shard::TEST_TIMEOUT;
use crate::store::{Address, RemoteConfig, StoreConfig};

/// The timeout of tests that are not about timeouts: long, because machines stall.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// Killed when dropped.
pub struct RedisServer {
    process: Child,
    arguments: Vec<String>,
    dir: TempDir,
}

impl RedisServer {
    /// Starts a server on a Unix socket, with more arguments.
    pub fn start(arguments: &[&str]) -> RedisServer {
        let dir = TempDir::new().expect("a temporary directory");
        let socket = dir.path().join("redis.sock");
        let socket = socket.to_str().expect("it is ASCII");
        let mut all: Vec<String> = [
            "--unixsocket",
            socket,
            "--save",
            "",
            "--appendonly",
            "no",
            "--loglevel",
            "warning",
            "--port",
            "0",
        ]
        .map(str::to_owned)
        .to_vec();
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let server = RedisServer { process: spawn(&all, &dir), arguments: all, dir };
        server.await_up();
        server
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    pub fn config(&self) -> StoreConfig {
        config(&self.url(), TIMEOUT)
    }

    /// A connection of the test's own.
    pub fn client(&self) -> ::redis::Connection {
        ::redis::Client::open(self.url()).unwrap().get_connection_with_timeout(TEST_TIMEOUT).unwrap()
    }

    /// Runs a command, given as words.
    pub fn run(&self, command: &str) -> ::redis::Value {
        let mut words = command.split(' ');
        let mut cmd = ::redis::cmd(words.next().unwrap_or_default());
        words.for_each(|word| {
            cmd.arg(word);
        });
        cmd.query(&mut self.client()).unwrap()
    }

    /// Waits until it answers, even with an error.
    pub fn await_up(&self) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        let answers = || {
            let client = ::redis::Client::open(self.url()).unwrap();
            let connection = client.get_connection_with_timeout(TEST_TIMEOUT);
            connection.is_ok_and(|mut connection| {
                match ::redis::cmd("PING").query::<String>(&mut connection) {
                    Ok(_) => true,
                    Err(error) => error.code() == Some("NOAUTH"),
                }
            })
        };
        while !answers() {
            assert!(Instant::now() < deadline, "redis-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it is ours");
    }

    /// After [`RedisServer::kill`]: empty, with the same address.
    pub fn restart(&mut self) {
        let _ = fs::remove_file(self.socket());
        self.process = spawn(&self.arguments, &self.dir);
        self.await_up();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it is ours");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(arguments: &[String], dir: &TempDir) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

pub fn config(url: &str, timeout: Duration) -> StoreConfig {
    let address = Address::parse(url).expect("the test's URL is right");
    StoreConfig::Remote(RemoteConfig { address, timeout, key_prefix: "rw".into() })
}

pub fn remote(config: StoreConfig) -> RemoteConfig {
    match config {
        StoreConfig::Remote(config) => config,
        StoreConfig::Embedded => unreachable!("the tests' servers are remote"),
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("there are free ports")
        .port()
}
