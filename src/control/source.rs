//! Where the configuration comes from: at the start, at every reload, and for `ringway check`.

use std::borrow::Cow;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::keys::KeySet;
use crate::config::{self, Loaded, Outside, Problems, ScriptProblem, Shadow};
use crate::control::{scripts, start};
use crate::plan::{Jwt, RoutePlan, ScriptFile, ScriptSettings, StoreSettings};
use crate::route::unreachable::shadowed;
use crate::script;

/// A configuration's text, or the file it stands in.
#[derive(Clone, Debug)]
pub enum ConfigSource {
    File(PathBuf),
    /// Text that is part of the program; `name` stands for it in messages.
    Text {
        name: &'static str,
        text: Cow<'static, str>,
        /// Its scripts, by name.
        scripts: &'static [(&'static str, &'static str)],
    },
}

impl ConfigSource {
    /// Reads and checks everything that a run would load.
    pub fn load(&self) -> Result<Loaded, Problems> {
        match self {
            ConfigSource::File(path) => config::load(path, &Machine { scripts: None }),
            ConfigSource::Text { name, text, scripts } => {
                config::parse(text, name, &Machine { scripts: Some(scripts) })
            }
        }
    }

    /// For people.
    pub fn name(&self) -> String {
        match self {
            ConfigSource::File(path) => path.display().to_string(),
            ConfigSource::Text { name, .. } => (*name).to_owned(),
        }
    }
}

/// This machine's files, and what the floors above `config` know.
struct Machine {
    /// In place of those of the directory.
    scripts: Option<&'static [(&'static str, &'static str)]>,
}

impl Outside for Machine {
    fn shadowed(&self, routes: &[Arc<RoutePlan>]) -> Vec<Shadow> {
        dead_routes(routes)
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn env(&self, name: &str) -> Option<Vec<u8>> {
        std::env::var_os(name).map(OsStringExt::into_vec)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn check_store(&self, store: &StoreSettings) -> Result<(), String> {
        let address = start::remote_store(store)?.address;
        match address.ca_file().map(|path| (path, std::fs::read(path))) {
            Some((path, Err(error))) => Err(format!("cannot read {}: {error}", path.display())),
            Some((_, Ok(_))) | None => Ok(()),
        }
    }

    fn check_jwt(&self, jwt: &Jwt) -> Result<(), String> {
        KeySet::build(jwt).map(drop)
    }

    fn scripts(&self, dir: &Path) -> io::Result<Vec<ScriptFile>> {
        match self.scripts {
            Some(scripts) => Ok(scripts
                .iter()
                .map(|(name, text)| ScriptFile { name: (*name).into(), text: (*text).into() })
                .collect()),
            None => scripts::read(dir),
        }
    }

    fn check_scripts(&self, scripts: &ScriptSettings, used: &[Arc<str>]) -> Vec<ScriptProblem> {
        script::check(scripts, used)
    }
}

/// How routes match is known to `route` alone; `config` is below it and reports what it is told.
pub fn dead_routes(routes: &[Arc<RoutePlan>]) -> Vec<Shadow> {
    shadowed(routes)
        .into_iter()
        .map(|found| Shadow { dead: found.dead, by: found.by, same: found.same })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_starter_and_the_demo_load_without_a_word() {
        for file in ["config/gateway.toml", "config/demo.toml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let loaded = ConfigSource::File(path)
                .load()
                .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
            assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
        }
    }
}
