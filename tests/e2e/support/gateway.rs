//! The gateway as its users run it: a child process with a configuration file, real sockets and captured output.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{Client, DEADLINE, Lines, Message, Origin, proxy_to, raise_open_files};

/// Both event drivers: what `auto` finds (io_uring where the kernel allows it), and epoll.
pub const DRIVERS: [&str; 2] = ["auto", "epoll"];

/// Runs `test` once for each driver, with an origin of its own to which every path goes.
pub fn on_both_drivers(origin: impl Fn() -> Origin, test: impl Fn(&Gateway, &Origin)) {
    for driver in DRIVERS {
        let origin = origin();
        test(&Gateway::with_driver(driver, &proxy_to(&[&origin.url()])), &origin);
    }
}

/// What differs from the usual start.
pub struct Builder {
    driver: String,
    shards: usize,
    server_keys: String,
    has_admin: bool,
    environment: Vec<(String, String)>,
    files: Vec<(String, String)>,
    hosts: Option<String>,
    open_files: Option<usize>,
}

/// The file that a gateway with names of its own sees as `/etc/hosts`, in its directory.
const HOSTS: &str = "hosts";

impl Builder {
    pub fn driver(mut self, driver: &str) -> Builder {
        self.driver = driver.to_string();
        self
    }

    /// One unless said otherwise, so that a test knows which pool it meets.
    pub fn shards(mut self, shards: usize) -> Builder {
        self.shards = shards;
        self
    }

    /// More keys of `[server]`, as TOML lines.
    pub fn server(mut self, keys: &str) -> Builder {
        self.server_keys.push_str(keys);
        self.server_keys.push('\n');
        self
    }

    pub fn without_admin(mut self) -> Builder {
        self.has_admin = false;
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Builder {
        self.environment.push((name.to_string(), value.to_string()));
        self
    }

    /// A file that is in the working directory before the start, such as `scripts/a.rhai`.
    pub fn file(mut self, name: &str, text: &str) -> Builder {
        self.files.push((name.to_string(), text.to_string()));
        self
    }

    /// Runs it where this is `/etc/hosts`, so that names have the addresses that the test wants; needs
    /// [`Gateway::can_have_hosts`].
    pub fn hosts(mut self, text: &str) -> Builder {
        self.hosts = Some(text.to_string());
        self
    }

    /// Runs it where no process may have more open files than this.
    pub fn open_files(mut self, limit: usize) -> Builder {
        self.open_files = Some(limit);
        self
    }

    /// Starts `ringway run` and waits until it accepts. `toml` is everything but `[server]` and `[admin]`
    /// (`[server.limits]` is fine), which are put before it unless it has its own.
    pub fn start(self, toml: &str) -> Gateway {
        raise_open_files();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = dir.path().join("gateway.toml");
        std::fs::write(&config, self.document(toml)).expect("a new file can be written");
        self.files.iter().for_each(|(name, text)| write_file(dir.path(), name, text));
        let mut command = match &self.hosts {
            Some(hosts) => {
                write_file(dir.path(), HOSTS, hosts);
                let mut command = with_hosts(&dir.path().join(HOSTS));
                command.arg(binary());
                command
            }
            None => match self.open_files {
                Some(limit) => {
                    let mut command = Command::new("sh");
                    command.args(["-c", &format!("ulimit -n {limit} && exec \"$@\""), "sh"]).arg(binary());
                    command
                }
                None => Command::new(binary()),
            },
        };
        let mut child = command
            .args(["run", "--config"])
            .arg(&config)
            .current_dir(dir.path())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test starts");
        let stdout = Lines::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Lines::of(child.stderr.take().expect("stderr is piped"));
        let mut gateway =
            Gateway { child, dir, config, stdout, stderr, builder: self, addresses: vec![], admin: None };
        let document = gateway.builder.document(toml);
        gateway.wait_until_up(document.contains("[admin]"));
        gateway
    }

    fn document(&self, toml: &str) -> String {
        let has = |table: &str| toml.lines().any(|line| line.trim() == table);
        let mut document = String::new();
        if !has("[server]") {
            // Not pinned: many gateways run at once here and would all sit on the first core.
            document += &format!(
                "[server]\nlisten = \"127.0.0.1:0\"\nshards = {}\npin_cores = false\ndriver = {:?}\n{}\n",
                self.shards, self.driver, self.server_keys
            );
        }
        if self.has_admin && !has("[admin]") {
            document += "[admin]\nlisten = \"127.0.0.1:0\"\n\n";
        }
        document + toml
    }
}

/// A running gateway; killed when dropped.
pub struct Gateway {
    child: Child,
    dir: TempDir,
    config: PathBuf,
    pub stdout: Lines,
    pub stderr: Lines,
    builder: Builder,
    /// Every listener's address, in the order printed.
    pub addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Gateway {
    pub fn builder() -> Builder {
        Builder {
            driver: "auto".into(),
            shards: 1,
            server_keys: String::new(),
            has_admin: true,
            environment: vec![],
            files: vec![],
            hosts: None,
            open_files: None,
        }
    }

    pub fn start(toml: &str) -> Gateway {
        Gateway::builder().start(toml)
    }

    pub fn with_driver(driver: &str, toml: &str) -> Gateway {
        Gateway::builder().driver(driver).start(toml)
    }

    /// Whether [`Builder::hosts`] works here: not everybody may have a mount namespace.
    pub fn can_have_hosts() -> bool {
        let tried = with_hosts(Path::new("/etc/hosts")).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    }

    /// Gives names other addresses, where [`Builder::hosts`] gave them some. They are looked up every 5 s while one
    /// of the configuration's names has no address, every 30 s otherwise.
    pub fn change_hosts(&self, text: &str) {
        write_file(self.dir.path(), HOSTS, text);
    }

    /// Every path goes to this origin.
    pub fn proxying(origin: &Origin) -> Gateway {
        Gateway::start(&proxy_to(&[&origin.url()]))
    }

    fn wait_until_up(&mut self, with_admin: bool) {
        self.addresses.push(self.printed("listening on http://"));
        if with_admin {
            self.admin = Some(self.printed("admin on http://"));
        }
        let all = self.stdout.all().into_iter().chain(self.stderr.all());
        let others: Vec<_> = all.filter_map(|line| address_after("listening on http://", &line)).collect();
        self.addresses = others;
    }

    /// The address behind this text in a line of either output.
    fn printed(&self, text: &str) -> SocketAddr {
        // Printed on stdout; a gateway that fails says why on stderr and ends, which ends the wait.
        self.stdout.wait_for(DEADLINE, |line| address_after(text, line)).unwrap_or_else(|| {
            panic!(
                "no {text:?} was printed.\nstdout: {:#?}\nstderr: {:#?}",
                self.stdout.all(),
                self.stderr.all()
            )
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin.expect("the configuration has [admin]")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its working directory, where the configuration lies.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// Replaces the configuration file, for a reload: same `[server]` and `[admin]`, the rest anew.
    pub fn write_config(&self, toml: &str) {
        std::fs::write(&self.config, self.builder.document(toml)).expect("the file can be written");
    }

    /// Puts a file into its working directory, in place of one that may be there.
    pub fn write_file(&self, name: &str, text: &str) {
        write_file(self.dir.path(), name, text);
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// One request on a new connection.
    pub fn exchange(&self, bytes: impl AsRef<[u8]>) -> Message {
        self.connect().exchange(bytes)
    }

    /// `GET` on a new connection, `Host: test`.
    pub fn get(&self, target: &str) -> Message {
        self.exchange(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    /// One request to the admin listener.
    pub fn admin(&self, method: &str, target: &str) -> Message {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\n\r\n");
        Client::connect(self.admin_address()).exchange(request)
    }

    /// The sum of a metric's series whose line has `labels` in it (empty: all). 0 if there is none.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        let page = self.admin("GET", "/metrics");
        let series = page.text().lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])) && line.contains(labels)
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Asks for `/metrics` until the value holds; how else would one wait for a counter.
    pub fn wait_for_metric(&self, name: &str, labels: &str, holds: impl Fn(f64) -> bool) -> f64 {
        let until = std::time::Instant::now() + DEADLINE;
        loop {
            let value = self.metric(name, labels);
            if holds(value) {
                return value;
            }
            assert!(std::time::Instant::now() < until, "{name}{{{labels}}} is still {value}");
        }
    }

    /// The first access-log line (JSON) for which this holds, printed already or yet to come.
    pub fn wait_for_log(&self, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let found = self.stdout.wait_for(DEADLINE, |line| {
            serde_json::from_str::<Value>(line)
                .ok()
                .filter(|value| value.get("request_id").is_some() && holds(value))
        });
        found.unwrap_or_else(|| panic!("no such access-log line in {:#?}", self.stdout.all()))
    }

    /// The access-log line of the request with this path.
    pub fn log_of(&self, path: &str) -> Value {
        self.wait_for_log(|line| line["path"] == path)
    }

    /// Waits for a line with this text in it that is not access log, on either output.
    pub fn wait_for_message(&self, text: &str) -> String {
        let pick = |line: &str| line.contains(text).then(|| line.to_string());
        self.stderr
            .wait_for(DEADLINE, pick)
            .or_else(|| self.stdout.wait_for(Duration::ZERO, pick))
            .unwrap_or_else(|| panic!("no line with {text:?} in {:#?}", self.stderr.all()))
    }

    /// Sends a signal by its name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.expect("kill exists").success(), "the gateway is gone");
    }

    /// Waits for the process to end by itself.
    pub fn wait_for_exit(&mut self, time: Duration) -> ExitStatus {
        assert!(self.stdout.wait_for_end(time), "still running after {time:?}");
        self.child.wait().expect("the child was not waited for before")
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most resident memory so far, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, key: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the gateway runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("Linux has this line");
        line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number of KiB")
    }

    /// How many sockets and files it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the gateway runs").count()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("gateway stdout: {:#?}\ngateway stderr: {:#?}", self.stdout.all(), self.stderr.all());
        }
    }
}

fn write_file(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("a new directory");
    std::fs::write(path, text).expect("the file can be written");
}

/// A command that is still to get its arguments: what to run where `hosts` is `/etc/hosts`.
fn with_hosts(hosts: &Path) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(hosts);
    command
}

/// The binary under test: this build's, or another one named by `RINGWAY_BIN`.
fn binary() -> PathBuf {
    std::env::var_os("RINGWAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ringway").into(), PathBuf::from)
}

fn address_after(text: &str, line: &str) -> Option<SocketAddr> {
    let rest = line.split_once(text)?.1;
    rest.split(|c: char| c.is_whitespace() || c == '/' || c == ',').next()?.parse().ok()
}
