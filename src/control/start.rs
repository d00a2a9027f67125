//! The start of the process.
//!
//! In this order, so that whatever can be refused is refused before anything is served: load and check the
//! configuration, start the log, bind every listener, start the store link, spawn the shards and wait until all of them
//! serve, start the admin listener. Only then the lines with the addresses are printed: who reads them may connect.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender};

use crate::control::admin::SharedRules;
use crate::control::admin::decide::AdminRules;
use crate::control::current::CurrentGeneration;
use crate::control::failure::{CommandFailure, StartFailure};
use crate::control::jwks::UnknownKeys;
use crate::control::listen::{self, Listeners};
use crate::control::prepare::{Prepared, ReloadRefusal, RunOptions};
use crate::control::reload::Reload;
use crate::control::resolve::{HostPort, Resolution};
use crate::control::scrape::ScrapeState;
use crate::control::supervisor::{ShardContext, Supervisor};
use crate::control::{Control, ControlEvent, LogHandles, StoreHandles, admin, placement, process, signals};
use crate::log::{diagnostics, writer};
use crate::plan::{AdminSettings, AuthMethod, LogSettings, LogTarget, Plan, StoreSettings};
use crate::shard::DescriptorShare;
use crate::store::{Address, Link, RemoteConfig, StoreConfig};

/// How long a log that nobody reads may hold up the end of a start that failed.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a start waits for a store that neither responds nor fails. Its own timeout is for one exchange, and there
/// are several before it has responded.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

impl Control {
    /// Starts everything and prints where it listens.
    ///
    /// # Errors
    /// A wrong configuration, or a machine that refuses a port, a thread, the log's file or the driver.
    pub fn start(options: RunOptions) -> Result<Control, CommandFailure> {
        let prepared = options.prepare(&HashSet::new(), None).map_err(refusal)?;
        // Before any socket is bound.
        let nofile = raise_nofile();
        let log = start_log(&prepared.plan.log)?;
        prepared.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        warn_of_names(&prepared.found);
        let sink = log.sink.clone();
        let parts = StartedParts::start(prepared, sink, nofile).inspect_err(|_| {
            // What is in the log about it stands before the two lines that `cli` prints.
            log.writer.flush(FLUSH_TIMEOUT);
        })?;
        let StartedParts {
            events,
            event_sender,
            current,
            supervisor,
            admin,
            admin_rules,
            store,
            unknown_keys,
        } = parts;
        let mut control = Control {
            options,
            started_at: SystemTime::now(),
            events,
            event_sender,
            current,
            supervisor,
            reload: Reload::default(),
            scrape: ScrapeState::default(),
            drain: None,
            refresh_at: None,
            unknown_keys,
            log,
            store,
            admin,
            admin_rules,
            exit: false,
        };
        control.schedule_refresh();
        control.follow_health();
        control.print_addresses();
        Ok(control)
    }

    /// Prints one line for each listener. A standard output that nobody reads is no reason to fail.
    fn print_addresses(&self) {
        let (shards, driver) = (self.supervisor.len(), self.supervisor.driver());
        let driver = driver.map_or_else(String::new, |driver| format!(", {}", driver.kind));
        let plural = if shards == 1 { "" } else { "s" };
        let possible = self.supervisor.share().connections;
        let is_cut = possible < self.current.plan.server.limits.max_connections;
        let cut = if is_cut { format!(", {possible} connections each at most") } else { String::new() };
        let mut lines = String::new();
        for address in self.addresses() {
            lines += &format!("listening on http://{address} ({shards} shard{plural}{driver}{cut})\n");
        }
        if let Some(address) = self.admin {
            lines += &format!("admin on http://{address}\n");
        }
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush());
        if let Some(refusal) = self.supervisor.driver().and_then(|driver| driver.refusal.as_ref()) {
            tracing::warn!("epoll is used, since io_uring is refused here: {refusal}");
        }
    }
}

/// What [`Control`] is made of once everything has started.
struct StartedParts {
    events: Receiver<ControlEvent>,
    event_sender: Sender<ControlEvent>,
    current: CurrentGeneration,
    supervisor: Supervisor,
    admin: Option<SocketAddr>,
    admin_rules: SharedRules,
    store: StoreHandles,
    unknown_keys: UnknownKeys,
}

impl StartedParts {
    /// Binds everything before it spawns a shard: a port that is taken is found before anything is served.
    fn start(prepared: Prepared, sink: writer::LogSink, nofile: u64) -> Result<StartedParts, StartFailure> {
        let plan = prepared.plan.clone();
        let (event_sender, events) = crossbeam_channel::unbounded();
        // First: a signal during the start is then handled when the loop begins, instead of ending the process.
        signals::listen(event_sender.clone())?;
        let cores = placement::cores(&plan.server);
        let mut listeners = Listeners::default();
        let change = listeners.plan_change(&plan.server.listen, cores.len())?;
        listeners.apply(change);
        let bind_admin =
            |admin: &AdminSettings| listen::bind_exclusive("change [admin] listen", admin.listen);
        let admin_socket = plan.admin.as_ref().map(bind_admin).transpose()?;
        let current = CurrentGeneration::first(prepared, listeners);
        let config = store_config(plan.store.as_ref())?;
        // Before the shards, which join it.
        let (link, stop) = Link::start(config).map_err(|error| StartFailure::thread("store", &error))?;
        if let Some(store) = &plan.store {
            await_store(&link, store);
            warn_of_keys(&link, &plan);
        }
        let store = StoreHandles { link: link.clone(), stop };
        let (unknown_key, unknown_keys) = UnknownKeys::new();
        // With all open that is not the shards'.
        let open = process::open_files().unwrap_or(0);
        let share = DescriptorShare::of(nofile, open, cores.len(), plan.server.listen.len());
        warn_of_nofile(nofile, share.connections, plan.server.limits.max_connections);
        let context = ShardContext {
            driver: plan.server.driver,
            share,
            sink,
            events: event_sender.clone(),
            link,
            unknown_key,
        };
        let supervisor = Supervisor::start(context, &cores, &current)?;
        // The socket queues connections since it was bound; they are answered once all shards serve.
        let admin_rules = SharedRules::new(AdminRules::of(plan.admin.as_ref()));
        let admin = admin_socket.as_ref().and_then(|socket| socket.local_addr().ok());
        if let Some(socket) = admin_socket {
            admin::start(socket, event_sender.clone(), admin_rules.clone())?;
        }
        Ok(StartedParts {
            events,
            event_sender,
            current,
            supervisor,
            admin,
            admin_rules,
            store,
            unknown_keys,
        })
    }
}

/// Where the shared state lives: in this process if there is no `[store]`.
///
/// # Errors
/// Its URL is wrong, which the check of the configuration has found before.
fn store_config(store: Option<&StoreSettings>) -> Result<StoreConfig, StartFailure> {
    let Some(store) = store else { return Ok(StoreConfig::Embedded) };
    let refused = |why| StartFailure::input(format!("[store] url: {why}"), "`ringway check` shows the line");
    remote_store(store).map(StoreConfig::Remote).map_err(refused)
}

/// `[store]` as the store link takes it.
///
/// # Errors
/// What is wrong with the URL, in words that show nothing of it: it may hold a password.
pub fn remote_store(store: &StoreSettings) -> Result<RemoteConfig, String> {
    let url = store.url.text().ok_or("it is not UTF-8")?;
    let address = Address::parse(url)?;
    Ok(RemoteConfig { address, timeout: store.timeout, key_prefix: store.key_prefix.to_string() })
}

/// Waits until the store has responded with the API keys, so that the first requests are counted and decided with it.
/// A store that fails, or keeps silent for `STORE_TIMEOUT`, is waited for no longer.
fn await_store(link: &Link, store: &StoreSettings) {
    const POLL_EVERY: Duration = Duration::from_millis(1);
    let deadline = Instant::now() + store.timeout.max(STORE_TIMEOUT);
    loop {
        let snapshot = link.snapshot();
        if snapshot.keys.is_some() || snapshot.traffic.failures > 0 || Instant::now() >= deadline {
            return;
        }
        thread::sleep(POLL_EVERY);
    }
}

/// Warns if API keys are refused because the store did not say which of them were revoked.
fn warn_of_keys(link: &Link, plan: &Plan) {
    if link.keys().is_none() && plan.routes.iter().any(|route| route.auth.contains(&AuthMethod::Key)) {
        tracing::warn!(
            "the store has not said yet which API keys were revoked: they are answered with 503 until it does"
        );
    }
}

/// The refusal of the first generation. Only the first two kinds occur: a start has no earlier plan, and no drain.
fn refusal(refusal: ReloadRefusal) -> CommandFailure {
    match refusal {
        ReloadRefusal::Config(problems) => CommandFailure::Config(problems),
        ReloadRefusal::Machine(failure) => failure.into(),
        other => StartFailure::input(other.reason(), "start it again").into(),
    }
}

/// Starts the log's threads and makes it the destination of diagnostics.
fn start_log(plan: &LogSettings) -> Result<LogHandles, StartFailure> {
    let (sink, writer) = writer::start(&plan.target).map_err(|error| log_refused(&plan.target, &error))?;
    // Refused only where the process has a subscriber already, as in a test that embeds the gateway.
    let level = diagnostics::init(plan.level, sink.clone()).ok();
    Ok(LogHandles { writer, sink, level })
}

/// The failure to open the access log.
pub fn log_refused(target: &LogTarget, error: &std::io::Error) -> StartFailure {
    let name = match target {
        LogTarget::Stdout => "standard output".to_owned(),
        LogTarget::File(path) => path.display().to_string(),
    };
    StartFailure::machine(
        format!("cannot open the access log {name}: {error}"),
        "give this user the right to write there, or change [log] target",
    )
}

/// Names without an address do not keep the gateway from starting: their routes respond with errors until they have one.
fn warn_of_names(found: &HashMap<HostPort, Resolution>) {
    for ((host, port), resolution) in found {
        if let Err(error) = resolution {
            tracing::warn!(
                "cannot look up {host} (port {port}): {error}; it is tried again every few seconds"
            );
        }
    }
}

/// Raises the limit of open files as far as this user may, since a proxied connection takes two descriptors. Returns
/// the limit that holds then.
fn raise_nofile() -> u64 {
    // Where it cannot be raised, the present limit stays, and the shards' shares are cut to it.
    rlimit::increase_nofile_limit(u64::MAX)
        .or_else(|_| rlimit::Resource::NOFILE.get_soft())
        .unwrap_or(u64::MAX)
}

/// Says so if a shard may have fewer connections than are configured, for want of descriptors.
fn warn_of_nofile(limit: u64, possible: usize, configured: usize) {
    if possible < configured {
        tracing::warn!(
            "this process may open {limit} files, so each shard takes {possible} connections at the most, not the {configured} of [server.limits] max_connections; raise the hard limit (`ulimit -Hn`, LimitNOFILE=)"
        );
    }
}

/// Addresses as URLs in one line, for a message.
pub fn list(addresses: impl Iterator<Item = SocketAddr>) -> String {
    addresses.map(|address| format!("http://{address}")).collect::<Vec<_>>().join(", ")
}
