//! Prepares the next generation beside the running one: reads and checks the configuration, compares it with the running
//! plan, looks new names up, fetches new key sets, builds the route table. Nothing that serves is touched meanwhile, and
//! all of it may block: a reload calls it on a thread of its own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::json;

use crate::config::{Loaded, Problems};
use crate::control::admin::response::AdminResponse;
use crate::control::failure::StartFailure;
use crate::control::resolve::{self, HostPort};
use crate::control::source::ConfigSource;
use crate::control::{jwks, placement};
use crate::plan::Plan;
use crate::route;

/// What is to be run; kept for reloads.
#[derive(Clone, Debug)]
pub struct RunOptions {
    pub source: ConfigSource,
    /// `--shards`: overrides `[server] shards`, also on a reload.
    pub shards: Option<usize>,
}

/// A generation that lacks only its listeners and its number.
pub struct Prepared {
    pub plan: Arc<Plan>,
    pub table: route::RouteTable,
    /// The host names of the plan's targets.
    pub names: HashSet<HostPort>,
    /// The resolutions of those that were not known before.
    pub found: HashMap<HostPort, resolve::Resolution>,
    /// The fetches of the JWK sets that were not known before.
    pub keys: jwks::KeySetFetches,
    /// The configuration's warnings, one line each.
    pub warnings: Vec<String>,
}

/// Why a reload was refused. A refused reload changes nothing.
#[derive(Debug)]
pub enum ReloadRefusal {
    /// The configuration has errors.
    Config(Problems),
    /// It changes what only a restart can change.
    NeedsRestart(Vec<String>),
    /// The machine refused a listener, the log's file or a thread.
    Machine(StartFailure),
    /// The process is about to exit.
    Draining,
    /// A defect of the gateway: reading the configuration has panicked.
    Panicked,
}

impl RunOptions {
    /// Prepares a generation. `known`: names that need no look-up now, because they are refreshed anyway. `running`: the
    /// plan in force, if this is a reload.
    ///
    /// # Errors
    /// The configuration has errors, or changes what only a restart can change.
    pub fn prepare(
        &self,
        known: &HashSet<HostPort>,
        running: Option<&Plan>,
    ) -> Result<Prepared, ReloadRefusal> {
        let Loaded { mut plan, warnings, .. } = self.source.load().map_err(ReloadRefusal::Config)?;
        plan.server.shards = self.shards.or(plan.server.shards);
        let unchangeable = running.map(|running| needs_restart(running, &plan)).unwrap_or_default();
        if !unchangeable.is_empty() {
            return Err(ReloadRefusal::NeedsRestart(unchangeable));
        }
        let names = resolve::names(&plan);
        let found = resolve::look_up(names.difference(known).cloned(), resolve::FIRST_TIMEOUT);
        let known = running.map(jwks::KeySetSource::all_of).unwrap_or_default();
        let keys = jwks::fetch_all(&jwks::KeySetSource::all_of(&plan) - &known, jwks::FIRST_TIMEOUT);
        let table = route::RouteTable::build(&plan.routes);
        let warnings = warnings.lines().collect();
        Ok(Prepared { plan: Arc::new(plan), table, names, found, keys, warnings })
    }
}

/// The differences that a running process cannot make in `[server]`, `[admin]` and `[store]`: one line each.
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
    let admin = |plan: &Plan| plan.admin.as_ref().map_or("off".to_owned(), |admin| admin.listen.to_string());
    compare("[admin] listen", admin(running), admin(wanted));
    if running.store != wanted.store {
        // Without the values, since a URL may hold a password.
        all.push("[store] would change".to_owned());
    }
    all
}

impl ReloadRefusal {
    /// All that was in its way, one line each, for the log and the response.
    pub fn problems(&self) -> Vec<String> {
        match self {
            ReloadRefusal::Config(problems) => problems.error_lines().collect(),
            ReloadRefusal::NeedsRestart(keys) => keys.clone(),
            ReloadRefusal::Machine(failure) => vec![format!("{} ({})", failure.cause, failure.hint)],
            ReloadRefusal::Draining | ReloadRefusal::Panicked => vec![self.reason().to_owned()],
        }
    }

    /// What was found besides and was not in its way, one line each.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            ReloadRefusal::Config(problems) => problems.warning_lines().collect(),
            _ => Vec::new(),
        }
    }

    /// The refusal as part of a sentence.
    pub fn reason(&self) -> &'static str {
        match self {
            ReloadRefusal::Config(_) => "the configuration is wrong",
            ReloadRefusal::NeedsRestart(_) => "it changes what only a restart can change",
            ReloadRefusal::Machine(_) => "a new listener was refused",
            ReloadRefusal::Draining => "the gateway is shutting down",
            ReloadRefusal::Panicked => "reading it has met a defect of the gateway's own; please report it",
        }
    }

    /// The response to `POST /reload`.
    pub fn response(&self) -> AdminResponse {
        let (status, reason) = match self {
            ReloadRefusal::Config(_) => (422, "invalid_config"),
            ReloadRefusal::NeedsRestart(_) => (409, "needs_restart"),
            ReloadRefusal::Machine(_) => (409, "listen_refused"),
            ReloadRefusal::Draining => (503, "draining"),
            ReloadRefusal::Panicked => (500, "internal"),
        };
        let error = format!("Nothing was reloaded: {}", self.reason());
        let members = json!({ "problems": self.problems(), "warnings": self.warnings() });
        AdminResponse::problem_with(status, reason, &error, members)
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
    fn another_store_needs_a_restart_and_neither_password_is_shown() {
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
        let response = ReloadRefusal::Config(problems).response();
        let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(response.status, 422);
        let lines = body["problems"].as_array().expect("a list");
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(body["warnings"].as_array().map(Vec::len), Some(1), "there is no route: {body}");
        let placed =
            |line: &serde_json::Value| line.as_str().is_some_and(|line| line.starts_with("test.toml:2:10: "));
        assert!(lines.iter().any(placed), "{lines:?}");
    }
}
