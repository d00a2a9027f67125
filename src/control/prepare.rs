//! The next generation, made beside the running one: read, checked, compared, its new names looked up, its table
//! built. Nothing that serves is touched before all of it has succeeded.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::json;

use crate::config::{Loaded, Problems};
use crate::control::admin::response::AdminResponse;
use crate::control::failure::StartFailure;
use crate::control::resolve::{self, HostPort};
use crate::plan::Plan;

use crate::control::jwks;
use crate::control::placement;
use crate::control::source::ConfigSource;
use crate::route;

/// What a start or a reload is made from.
#[derive(Clone, Debug)]
pub struct RunOptions {
    pub source: ConfigSource,
    /// `--shards`: stronger than the file, also on a reload.
    pub shards: Option<usize>,
}

/// A generation that only waits for its listeners and its number.
pub struct Prepared {
    pub plan: Arc<Plan>,
    pub table: route::RouteTable,
    /// The names of the plan.
    pub names: HashSet<HostPort>,
    /// What the names that were not known before have given.
    pub found: HashMap<HostPort, resolve::Resolution>,
    /// What the JWK sets that were not known before have given.
    pub keys: jwks::KeySetFetches,
    /// One line each.
    pub warnings: Vec<String>,
}

/// Why a reload changes nothing.
#[derive(Debug)]
pub enum ReloadRefusal {
    /// The configuration is wrong.
    Config(Problems),
    /// It changes what only a restart can change.
    NeedsRestart(Vec<String>),
    /// The machine refused a new listener.
    Machine(StartFailure),
    /// The process is about to exit.
    Draining,
    /// A defect of the gateway's own: reading the configuration has panicked.
    Panicked,
}

impl RunOptions {
    /// Makes a generation. `known`: names that need no look-up now, because they are refreshed anyway.
    pub fn prepare(
        &self,
        known: &HashSet<HostPort>,
        running: Option<&Plan>,
    ) -> Result<Prepared, ReloadRefusal> {
        let Loaded { mut plan, warnings, .. } = self.source.load().map_err(ReloadRefusal::Config)?;
        plan.server.shards = self.shards.or(plan.server.shards);
        let fixed = running.map(|running| needs_restart(running, &plan)).unwrap_or_default();
        if !fixed.is_empty() {
            return Err(ReloadRefusal::NeedsRestart(fixed));
        }
        let names = resolve::names(&plan);
        let found = resolve::look_up(names.difference(known).cloned(), resolve::WAIT_AT_MOST);
        let known = running.map(jwks::KeySetSource::all_of).unwrap_or_default();
        let keys = jwks::all(&jwks::KeySetSource::all_of(&plan) - &known, jwks::WAIT_AT_MOST);
        let table = route::RouteTable::build(&plan.routes);
        let warnings = warnings.lines().collect();
        Ok(Prepared { plan: Arc::new(plan), table, names, found, keys, warnings })
    }
}

/// What of `[server]`, `[admin]` and `[store]` a running process cannot change: one line for each difference.
pub fn needs_restart(running: &Plan, wanted: &Plan) -> Vec<String> {
    let mut all = Vec::new();
    let mut compare = |key: &str, running: String, wanted: String| {
        if running != wanted {
            all.push(format!("{key} is {running} and would become {wanted}"));
        }
    };
    let (old, new) = (&running.server, &wanted.server);
    let shards = |server| placement::shards(server).to_string();
    compare("[server] shards", shards(old), shards(new));
    compare("[server] pin_cores", old.pin_cores.to_string(), new.pin_cores.to_string());
    compare("[server] driver", format!("{:?}", old.driver), format!("{:?}", new.driver));
    let admin = |plan: &Plan| plan.admin.map_or("off".to_owned(), |address| address.to_string());
    compare("[admin] listen", admin(running), admin(wanted));
    if running.store != wanted.store {
        // Without the values: a URL may hold a password.
        all.push("[store] would change".to_owned());
    }
    all
}

impl ReloadRefusal {
    /// One line each, for the log and for whoever asked.
    pub fn problems(&self) -> Vec<String> {
        match self {
            ReloadRefusal::Config(problems) => problems.lines().collect(),
            ReloadRefusal::NeedsRestart(keys) => keys.clone(),
            ReloadRefusal::Machine(failure) => vec![format!("{} ({})", failure.cause, failure.hint)],
            ReloadRefusal::Draining | ReloadRefusal::Panicked => vec![self.reason().to_owned()],
        }
    }

    /// In a sentence's words.
    pub fn reason(&self) -> &'static str {
        match self {
            ReloadRefusal::Config(_) => "the configuration is wrong",
            ReloadRefusal::NeedsRestart(_) => "it changes what only a restart can change",
            ReloadRefusal::Machine(_) => "a new listener was refused",
            ReloadRefusal::Draining => "the gateway is shutting down",
            ReloadRefusal::Panicked => "reading it has met a defect of the gateway's own; please report it",
        }
    }

    /// The answer to `POST /reload`.
    pub fn answer(&self) -> AdminResponse {
        let (status, reason) = match self {
            ReloadRefusal::Config(_) => (422, "invalid_config"),
            ReloadRefusal::NeedsRestart(_) => (409, "needs_restart"),
            ReloadRefusal::Machine(_) => (409, "listen_refused"),
            ReloadRefusal::Draining => (503, "draining"),
            ReloadRefusal::Panicked => (500, "internal"),
        };
        let error = format!("Nothing was reloaded: {}", self.reason());
        AdminResponse::problem_with(status, reason, &error, json!({ "problems": self.problems() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Loaded, Problems> {
        ConfigSource::Text { name: "test.toml", text: text.to_owned().into(), scripts: &[] }.load()
    }

    fn plan(server: &str) -> Plan {
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:8080\"\n{server}\n\
             [[route]]\nname = \"r\"\npath = \"/\"\nrespond = {{ status = 200 }}\n"
        );
        load(&text).expect("a good configuration").plan
    }

    #[test]
    fn what_a_running_process_cannot_change_is_named_with_both_values() {
        let running = plan("shards = 2\npin_cores = true\ndriver = \"auto\"");
        for (server, key) in [
            ("shards = 3\npin_cores = true\ndriver = \"auto\"", "[server] shards is 2 and would become 3"),
            ("shards = 2\npin_cores = false", "[server] pin_cores is true and would become false"),
            ("shards = 2\ndriver = \"epoll\"", "[server] driver is Auto and would become Epoll"),
            (
                "shards = 2\n[admin]\nlisten = \"127.0.0.1:1\"",
                "[admin] listen is off and would become 127.0.0.1:1",
            ),
        ] {
            assert_eq!(needs_restart(&running, &plan(server)), [key], "{server}");
        }
    }

    #[test]
    fn another_store_needs_a_restart_and_neither_password_is_told() {
        let store = |url: &str| plan(&format!("shards = 1\n[store]\nurl = \"{url}\""));
        let (one, other) = (store("redis://:hush@h"), store("redis://:still@h"));
        assert_eq!(needs_restart(&one, &one), Vec::<String>::new());
        for running in [&plan("shards = 1"), &other] {
            assert_eq!(needs_restart(running, &one), ["[store] would change"]);
        }
    }

    #[test]
    fn everything_else_may_change() {
        let running = plan("shards = 2");
        let mut wanted = plan("shards = 2\ndrain_timeout = \"1s\"\n[server.limits]\nheader_count = 7");
        wanted.server.listen.push("127.0.0.1:9".parse().expect("an address"));
        assert_eq!(needs_restart(&running, &wanted), Vec::<String>::new());
    }

    #[test]
    fn the_same_number_of_shards_in_other_words_is_no_change() {
        let auto = plan("");
        let number = plan(&format!("shards = {}", placement::shards(&auto.server)));
        assert_eq!(needs_restart(&auto, &number), Vec::<String>::new());
    }

    #[test]
    fn shards_from_the_command_line_are_stronger_than_the_file() {
        const TEXT: &str = "[server]\nlisten = \"127.0.0.1:0\"\nshards = 4\n\
                            [[route]]\nname = \"r\"\npath = \"/\"\nrespond = { status = 200 }\n";
        let source = ConfigSource::Text { name: "test.toml", text: TEXT.into(), scripts: &[] };
        let prepare = |shards| RunOptions { source: source.clone(), shards }.prepare(&HashSet::new(), None);
        assert_eq!(prepare(Some(3)).expect("good").plan.server.shards, Some(3));
        assert_eq!(prepare(None).expect("good").plan.server.shards, Some(4));
    }

    #[test]
    fn a_bad_configuration_is_answered_with_each_problem_and_its_place() {
        let problems = load("[server]\nlisten = 7\n").expect_err("bad");
        let answer = ReloadRefusal::Config(problems).answer();
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(answer.status, 422);
        let lines = body["problems"].as_array().expect("a list");
        let placed =
            |line: &serde_json::Value| line.as_str().is_some_and(|line| line.starts_with("test.toml:2:10: "));
        assert!(lines.iter().any(placed), "{lines:?}");
    }
}
