//! Reading the scripts' directory.

use std::fs;
use std::io;
use std::path::Path;

use crate::plan::ScriptFile;

/// Bytes of one script.
const MAX_BYTES: u64 = 1024 * 1024;
/// Scripts of one directory.
const MAX_FILES: usize = 1000;
/// Directories within directories.
const DEEPEST: usize = 8;

/// All `*.rhai` files below `dir`, by rising name; those in its `tests` are no scripts of routes.
///
/// # Errors
/// A directory or file that cannot be read, is no UTF-8, or is larger or more than scripts ever are.
pub fn read(dir: &Path) -> io::Result<Vec<ScriptFile>> {
    let mut files = Vec::new();
    read_below(dir, "", 0, &mut files)?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn read_below(dir: &Path, prefix: &str, depth: usize, files: &mut Vec<ScriptFile>) -> io::Result<()> {
    if depth > DEEPEST {
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
            if about.len() > MAX_BYTES || files.len() >= MAX_FILES {
                let text = format!("{}: over 1 MiB, or more than {MAX_FILES} scripts", path.display());
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
