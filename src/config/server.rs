//! `[server]`, `[server.limits]`, `[admin]` and `[log]`.
//!
//! Defaults stand here and in `docs/configuration.md`; a section that is left out reads as all defaults.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::Outside;
use super::address;
use super::problems::{Problems, TextSpan, ValueError, quoted};
use super::secret;
use super::section::{At, Section};
use crate::plan::{
    AccessFormat, AdminSettings, Driver, LogLevel, LogSettings, LogTarget, Secret, Server, ServerLimits,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const MAX_SHARDS: i64 = 1024;
const MAX_CONNECTIONS: i64 = 1_000_000;

/// `[server]`, and the places of its addresses, which `[admin]` must not share.
pub(super) fn server(root: &Section<'_>, problems: &mut Problems) -> (Server, Vec<At<SocketAddr>>) {
    let section = root.section("server");
    let listen = listeners(&section, problems);
    let server = Server {
        listen: listen.iter().map(|(address, _)| *address).collect(),
        shards: shards(&section, problems),
        pin_cores: section.flag("pin_cores").unwrap_or(true),
        driver: section.keyword("driver", problems).unwrap_or(Driver::Auto),
        trusted_proxies: address::networks(section.texts("trusted_proxies"), problems),
        drain_timeout: section.duration("drain_timeout", problems).unwrap_or(Duration::from_secs(30)),
        limits: limits(&section.section("limits"), problems),
    };
    (server, listen)
}

/// `0.0.0.0:8080` where none is given.
fn listeners(section: &Section<'_>, problems: &mut Problems) -> Vec<At<SocketAddr>> {
    if !section.has("listen") {
        let default = SocketAddr::from(([0, 0, 0, 0], 8080));
        return vec![(default, section.span.clone())];
    }
    let mut listen: Vec<At<SocketAddr>> = Vec::new();
    for (text, span) in section.texts("listen") {
        if let Some(address) = problems.accept(span.clone(), address::listen(text)) {
            report_overlap(address, &span, &listen, problems);
            listen.push((address, span));
        }
    }
    listen
}

/// Found here, not by a failed bind: with `SO_REUSEPORT` the kernel would let both listen.
fn report_overlap(address: SocketAddr, span: &TextSpan, others: &[At<SocketAddr>], problems: &mut Problems) {
    if let Some((other, first)) = others.iter().find(|(other, _)| address::overlap(address, *other)) {
        let message = format!("port {} is given twice: {address} and {other}", address.port());
        let problem = problems.error(span.clone(), message).with_hint("give each listener its own port");
        // An address that is there by default has no place of its own to show.
        if first.end > 0 {
            problem.with_related(first.clone(), "first here");
        }
    }
}

/// `None`: `auto`, one per CPU.
fn shards(section: &Section<'_>, problems: &mut Problems) -> Option<usize> {
    match section.get("shards")?.get_ref() {
        DeValue::String(_) => section.choice("shards", &[("auto", ())], problems).and(None),
        _ => section.integer("shards", 1..=MAX_SHARDS, problems).and_then(|n| usize::try_from(n).ok()),
    }
}

/// `body_bytes = 0` means no limit, `min_rate = 0` any rate.
fn limits(section: &Section<'_>, problems: &mut Problems) -> ServerLimits {
    let seconds = Duration::from_secs;
    // The ranges fit `usize` on every machine this builds for.
    let count = |number: Option<i64>, default: usize| number.map_or(default, |n| n as usize);
    let header_bytes = section.size("header_bytes", KIB..=MIB, problems).unwrap_or(16 * KIB) as usize;
    let body_bytes = match section.size("body_bytes", 0..=u64::MAX, problems) {
        Some(0) => u64::MAX,
        Some(bytes) => bytes,
        None => 64 * MIB,
    };
    ServerLimits {
        header_bytes,
        header_count: count(section.integer("header_count", 1..=1000, problems), 96),
        body_bytes,
        header_timeout: section.duration("header_timeout", problems).unwrap_or(seconds(10)),
        body_timeout: section.duration("body_timeout", problems).unwrap_or(seconds(30)),
        min_rate: section.size("min_rate", 0..=MIB, problems).unwrap_or(0),
        keepalive_timeout: section.duration("keepalive_timeout", problems).unwrap_or(seconds(75)),
        max_connections: count(section.integer("max_connections", 1..=MAX_CONNECTIONS, problems), 10_000),
    }
}

/// `[admin]`: no section, no listener.
pub(super) fn admin(
    root: &Section<'_>,
    listen: &[At<SocketAddr>],
    outside: &dyn Outside,
    problems: &mut Problems,
) -> Option<AdminSettings> {
    let section = root.section("admin");
    if !section.is_present() {
        return None;
    }
    let hosts = section.parsed_list("hosts", problems, admin_host);
    let token = section.text("token").and_then(|at| admin_token(at, outside, problems));
    let address = match section.text("listen") {
        Some((text, span)) => problems.accept(span, address::listen(text))?,
        None => SocketAddr::from(([127, 0, 0, 1], 9901)),
    };
    report_overlap(address, &section.span_of("listen"), listen, problems);
    if !section.has("token") && !address.ip().to_canonical().is_loopback() {
        let what = format!("anyone who reaches {address} may read and reload this gateway");
        problems
            .warning(section.span_of("listen"), what)
            .with_hint("set `token`, or listen on a loopback address: \"127.0.0.1:9901\"");
    }
    Some(AdminSettings { listen: address, hosts, token })
}

/// A name without a port, as `Host` has it.
fn admin_host(text: &str) -> Result<Arc<str>, ValueError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || !text.chars().all(is_name) {
        let message = format!("{} is not the name of a host", quoted(text));
        return Err(ValueError::new(message, "write names without a port: \"gateway.internal\""));
    }
    Ok(text.trim_end_matches('.').to_ascii_lowercase().into())
}

/// It is sent in a header field, as one word.
fn admin_token(at: At<&str>, outside: &dyn Outside, problems: &mut Problems) -> Option<Secret> {
    let span = at.1.clone();
    let token = secret::secret(at, outside, problems)?;
    if !token.0.iter().all(u8::is_ascii_graphic) {
        problems
            .error(span, "a token is visible ASCII characters without blanks")
            .with_hint("make one with `openssl rand -hex 32`");
    }
    Some(token)
}

/// `[log]`. The directory of a log file must be there.
pub(super) fn log(root: &Section<'_>, outside: &dyn Outside, problems: &mut Problems) -> LogSettings {
    let section = root.section("log");
    LogSettings {
        access: section.keyword("access", problems).unwrap_or(AccessFormat::Json),
        target: log_target(&section, outside, problems),
        level: section.keyword("level", problems).unwrap_or(LogLevel::Info),
    }
}

/// A path that cannot be written would only be noticed when lines are lost.
fn log_target(section: &Section<'_>, outside: &dyn Outside, problems: &mut Problems) -> LogTarget {
    let Some((text, span)) = section.text("target").filter(|(text, _)| *text != "stdout") else {
        return LogTarget::Stdout;
    };
    let path = Path::new(text);
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    if text == "stderr" {
        problems.error(span, "`target` cannot be `stderr`").with_hint("write \"stdout\", or \"/dev/stderr\"");
    } else if text.is_empty() || text.contains('\0') || outside.is_dir(path) {
        problems
            .error(span, format!("{} is not a file", quoted(text)))
            .with_hint("write \"stdout\", or a file's path: \"/var/log/ringway/access.log\"");
    } else if !outside.is_dir(dir) {
        problems
            .error(span, format!("there is no directory {}", quoted(&dir.to_string_lossy())))
            .with_hint("create it, or name another file");
    }
    LogTarget::File(path.to_path_buf())
}
