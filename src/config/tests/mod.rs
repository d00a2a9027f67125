//! What configurations mean and what is refused in them, from text; helpers for the files below.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::problems::Problems;
use super::{Loaded, Outside, parse};
use crate::plan::*;

mod access;
mod identity;
mod meaning;
mod refusals;
mod report;

/// A password; it must never be shown.
const HUSH: &str = "hush-hush";

/// A public key on P-256, in PEM.
const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
                   MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+LaooI0Nbb1hC8muvKKDEzJH9vTG\n\
                   yb6B/JEvP9BRnSHkSKXPriQalicx4CZmDUd0HzCR/2Wlj1PnkAbNFXsMJA==\n\
                   -----END PUBLIC KEY-----\n";

/// Two directories, two scripts, of which `bad.rhai` has a problem, some variables, and some files.
struct TestOutside;

impl Outside for TestOutside {
    fn is_dir(&self, path: &Path) -> bool {
        path == Path::new("/var/log") || path == Path::new(".")
    }

    fn env(&self, name: &str) -> Option<Vec<u8>> {
        match name {
            "SECRET" => Some(b"0123456789abcdef0123456789abcdef".to_vec()),
            "HUSH" => Some(HUSH.into()),
            "REDIS_URL" => Some(format!("rediss://me:{HUSH}@h").into()),
            "EMPTY" => Some(Vec::new()),
            "BINARY" => Some(vec![0xff; 32]),
            _ => None,
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("key.txt") => Ok(b"file-key\n".to_vec()),
            Some("dos.txt") => Ok(b"file-key\r\n".to_vec()),
            Some("lines.txt") => Ok(b"a\n\n".to_vec()),
            Some("blank.txt") => Ok(b"\n".to_vec()),
            Some("hush.txt") => Ok(HUSH.into()),
            Some("key.pem") => Ok(PEM.into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn scripts(&self, dir: &Path) -> io::Result<Vec<ScriptFile>> {
        if dir != Path::new("scripts") {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = |name: &str, text: &str| ScriptFile { name: name.into(), text: text.into() };
        Ok(vec![
            file("bad.rhai", "fn on_request(req) {\n    oops();\n}\n"),
            file("tag.rhai", "fn on_log(req, res) {}\n"),
        ])
    }
}

fn read(text: &str) -> Result<Loaded, Problems> {
    parse(text, "f.toml", &TestOutside)
}

fn plan(text: &str) -> Plan {
    read(text).unwrap_or_else(|problems| panic!("{}", problems.render(false))).plan
}

/// A route of these lines, where `up` is an upstream.
fn route(lines: &str) -> RoutePlan {
    let text = format!("upstream.up.targets = \"http://127.0.0.1\"\n[[route]]\n{lines}");
    plan(&text).routes[0].as_ref().clone()
}

/// Every problem, warnings too, as `line:column: message (hint)`.
fn problems(text: &str) -> Vec<String> {
    let found = match read(text) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    found.lines().map(|line| line.strip_prefix("f.toml:").expect("each names its file").to_string()).collect()
}

/// A file of these lines that has no other problem.
const FILE: &str = "route = []\n@";
/// A route of these lines, where `up` is an upstream that another route uses.
const ROUTE: &str = "upstream.up.targets = \"http://127.0.0.1\"\n[[route]]\n@\n\
                     [[route]]\npath = \"/other\"\nupstream = \"up\"\n";

/// Each row is lines, the place of the one problem that they are in the frame, and words of its message or hint. The
/// lines stand where the frame has its `@`; places (`line:column`) count from the first of them.
fn each_has_one_problem(frame: &str, rows: &[(&str, &str, &str)]) {
    let (before, after) = frame.split_once('@').expect("an @ in the frame");
    for (lines, place, words) in rows {
        let (line, column) = place.split_once(':').expect("line:column");
        let line = line.parse::<usize>().expect("a number") + before.matches('\n').count();
        let text = format!("{before}{lines}{after}");
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        assert!(found[0].starts_with(&format!("{line}:{column}: ")), "{text}\nwanted {place}: {}", found[0]);
        assert!(found[0].contains(words), "{text}\nwanted {words}: {}", found[0]);
    }
}
