//! Where the configuration and its scripts come from: at the start, at every reload, and for `ringway check`.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::config::{self, Loaded, Outside, Problems};
use crate::plan::ScriptFile;

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

/// This machine's environment and files.
struct Machine {
    /// In place of those of the directory.
    scripts: Option<&'static [(&'static str, &'static str)]>,
}

impl Outside for Machine {
    fn env(&self, name: &str) -> Option<Vec<u8>> {
        std::env::var_os(name).map(OsStringExt::into_vec)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn scripts(&self, dir: &Path) -> io::Result<Vec<ScriptFile>> {
        let file = |(name, text): &(&str, &str)| ScriptFile { name: (*name).into(), text: (*text).into() };
        match self.scripts {
            Some(scripts) => Ok(scripts.iter().map(file).collect()),
            None => read_scripts(dir),
        }
    }
}

/// Bytes of one script.
const MAX_SCRIPT_BYTES: u64 = 1024 * 1024;
/// Scripts of one directory.
const MAX_SCRIPTS: usize = 1000;
/// Directories within the directory.
const MAX_DEPTH: usize = 8;

/// All `*.rhai` files below `dir`, by rising name, but for those in its directory `tests`.
///
/// # Errors
/// A directory or file that cannot be read, is no UTF-8, or is beyond the limits above.
fn read_scripts(dir: &Path) -> io::Result<Vec<ScriptFile>> {
    let mut files = Vec::new();
    read_below(dir, "", 0, &mut files)?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn read_below(dir: &Path, prefix: &str, depth: usize, files: &mut Vec<ScriptFile>) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("{} is too deep a directory", dir.display())));
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let name = format!("{prefix}{name}");
        // Follows links: scripts may be kept elsewhere.
        let about = fs::metadata(&path)?;
        if about.is_dir() && name != "tests" {
            read_below(&path, &format!("{name}/"), depth + 1, files)?;
        } else if about.is_file() && path.extension().is_some_and(|extension| extension == "rhai") {
            if about.len() > MAX_SCRIPT_BYTES || files.len() >= MAX_SCRIPTS {
                let text = format!("{}: over 1 MiB, or more than {MAX_SCRIPTS} scripts", path.display());
                return Err(io::Error::other(text));
            }
            let text = fs::read_to_string(&path);
            let text =
                text.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
            files.push(ScriptFile { name: name.into(), text: text.into() });
        }
    }
    Ok(())
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
