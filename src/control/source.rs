//! Where the configuration comes from: at the start, at every reload, and for `ringway check`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::plan::Route;
use crate::config::{self, Loaded, Outside, Problems, Shadow};
use crate::route::shadow::shadowed;

/// A configuration's text, or the file it stands in.
#[derive(Clone, Debug)]
pub enum Source {
    File(PathBuf),
    /// Text that is part of the program; `name` stands for it in messages.
    Text {
        name: &'static str,
        text: Cow<'static, str>,
    },
}

impl Source {
    /// Reads and checks everything that a run would load.
    pub fn load(&self) -> Result<Loaded, Problems> {
        match self {
            Source::File(path) => config::load(path, &dead_routes),
            Source::Text { name, text } => {
                config::parse(text, name, Outside { shadowed: &dead_routes, is_dir: &Path::is_dir })
            }
        }
    }

    /// For people.
    pub fn name(&self) -> String {
        match self {
            Source::File(path) => path.display().to_string(),
            Source::Text { name, .. } => (*name).to_owned(),
        }
    }
}

/// How routes match is known to `route` alone; `config` is below it and reports what it is told.
pub fn dead_routes(routes: &[Arc<Route>]) -> Vec<Shadow> {
    shadowed(routes)
        .into_iter()
        .map(|found| Shadow { dead: found.dead, by: found.by, same: found.same })
        .collect()
}
