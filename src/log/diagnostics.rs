//! Diagnostics: `tracing` events as lines on standard error, written by a thread so that no caller blocks.
//!
//! A line is `2026-11-24T10:00:00.123Z WARN  target=ringway::shard message key=value`. Control characters are escaped
//! and long lines cut, because messages may quote what a client sent.

use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{Registry, registry, reload};

pub use super::quiet::Quiet;
use super::unix_ms;
use super::writer::LogSink;
use crate::base::time;
use crate::plan::LogLevel;

/// Bytes of a line; what is beyond is cut and `…` put in its place.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// Sends the whole process's `tracing` events to `sink`.
///
/// # Errors
/// The process has a subscriber already.
pub fn init(level: LogLevel, sink: LogSink) -> Result<LevelHandle, SetGlobalDefaultError> {
    let (subscriber, handle) = subscriber(level, sink);
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(handle)
}

/// What `init` installs, for a test that wants it for one thread only.
pub fn subscriber(level: LogLevel, sink: LogSink) -> (impl Subscriber + Send + Sync, LevelHandle) {
    let (filter, handle) = reload::Layer::new(filter(level));
    (registry().with(filter).with(Lines { sink }), LevelHandle { filter: handle })
}

/// Changes the level while the process runs, as a reload may.
#[derive(Clone)]
pub struct LevelHandle {
    filter: reload::Handle<LevelFilter, Registry>,
}

impl LevelHandle {
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when the subscriber is gone, and then no line is written at any level.
        let _ = self.filter.reload(filter(level));
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Turns each event into a line.
struct Lines {
    sink: LogSink,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let time = time::rfc3339_ms(unix_ms());
        self.sink.diagnostic(line(&time, event).into_bytes());
    }
}

/// The event as a line with its line feed.
fn line(time: &[u8; 24], event: &Event<'_>) -> String {
    let metadata = event.metadata();
    let mut fields = EventFields::default();
    event.record(&mut fields);
    let mut line = String::with_capacity(160 + fields.message.len() + fields.rest.len());
    line.extend(time.iter().map(|&byte| char::from(byte)));
    // Writing to a String does not fail.
    let _ = write!(line, " {:<5} target={}", metadata.level().as_str(), metadata.target());
    if !fields.message.is_empty() {
        line.push(' ');
        push_escaped(&fields.message, &mut line);
    }
    line.push_str(&fields.rest);
    if line.len() > MAX_LINE_BYTES {
        let boundary = (0..=MAX_LINE_BYTES).rev().find(|&at| line.is_char_boundary(at));
        line.truncate(boundary.unwrap_or(0));
        line.push('…');
    }
    line.push('\n');
    line
}

/// An event's message, and ` key=value` for each of its other fields.
#[derive(Default)]
struct EventFields {
    message: String,
    rest: String,
}

impl Visit for EventFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            let _ = write!(self.rest, " {}=", field.name());
            push_value(value, &mut self.rest);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// A value, in quotes unless it is one word. What `Debug` has quoted already is not quoted again.
fn push_value(value: &str, out: &mut String) {
    let quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
    let one_word = !value.is_empty() && !value.contains([' ', '"', '=', '\\']);
    if quoted || one_word {
        return push_escaped(value, out);
    }
    out.push('"');
    for (number, part) in value.split('"').enumerate() {
        out.push_str(if number == 0 { "" } else { "\\\"" });
        push_escaped(part, out);
    }
    out.push('"');
}

/// Escapes control characters and line separators, so that a line stays one line and holds no terminal sequences.
fn push_escaped(text: &str, out: &mut String) {
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::writer::tests::{LIMIT, piped};
    use super::*;
    use std::io;

    /// The lines that `work` causes at `level`, without their times.
    fn lines(level: LogLevel, work: impl FnOnce(&LevelHandle)) -> Vec<String> {
        let (sink, writer, _access, diagnostics) = piped();
        let (subscriber, handle) = subscriber(level, sink);
        tracing::subscriber::with_default(subscriber, || work(&handle));
        assert!(writer.finish(LIMIT));
        let text = io::read_to_string(diagnostics).unwrap();
        text.lines().map(|line| line.split_at(25).1.to_string()).collect()
    }

    #[test]
    fn a_line_has_level_target_message_and_fields() {
        let lines = lines(LogLevel::Info, |_| {
            tracing::warn!(target: "here", shard = 3, error = %"no route to host", name = ?"a b", "cannot {}", "connect");
            tracing::info!(target: "here", reason = "reset", empty = "");
        });
        assert_eq!(
            lines,
            [
                r#"WARN  target=here cannot connect shard=3 error="no route to host" name="a b""#,
                r#"INFO  target=here reason=reset empty="""#,
            ]
        );
    }

    #[test]
    fn the_time_is_rfc_3339_in_utc() {
        let (sink, writer, _access, diagnostics) = piped();
        let (subscriber, _handle) = subscriber(LogLevel::Info, sink);
        tracing::subscriber::with_default(subscriber, || tracing::info!("hello"));
        assert!(writer.finish(LIMIT));
        let text = io::read_to_string(diagnostics).unwrap();
        let shape: String = text.chars().take(25).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z ");
    }

    #[test]
    fn the_level_can_be_changed_while_running() {
        let lines = lines(LogLevel::Warn, |handle| {
            let speak = |when| {
                tracing::error!(target: "t", "error {when}");
                tracing::info!(target: "t", "info {when}");
                tracing::trace!(target: "t", "trace {when}");
            };
            speak("first");
            handle.set_level(LogLevel::Trace);
            speak("then");
            handle.set_level(LogLevel::Error);
            speak("last");
        });
        let texts: Vec<_> = lines.iter().map(|line| line.split_at(15).1).collect();
        assert_eq!(texts, ["error first", "error then", "info then", "trace then", "error last"]);
    }

    #[test]
    fn what_a_client_sent_can_neither_forge_a_line_nor_flood_one() {
        let lines = lines(LogLevel::Info, |_| {
            let hostile = "x\r\n\u{1b}[2J \"quoted\"\u{2028}";
            tracing::info!(target: "t", sent = hostile, "got {hostile}");
            tracing::info!(target: "t", "{}", "é".repeat(MAX_LINE_BYTES));
        });
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[0],
            r#"INFO  target=t got x\r\n\u{1b}[2J "quoted"\u{2028} sent="x\r\n\u{1b}[2J \"quoted\"\u{2028}""#
        );
        assert!(lines[1].ends_with("é…") && lines[1].len() < MAX_LINE_BYTES);
    }

    #[test]
    fn a_flood_ends_with_how_many_more_there_were() {
        let lines = lines(LogLevel::Info, |_| {
            let quiet = Quiet::new("bad request", 2);
            for number in 0..5 {
                if quiet.allow(1_000) {
                    tracing::warn!(target: "t", "bad request {number}");
                }
            }
            quiet.tick(2_000);
            quiet.tick(3_000);
        });
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2], "WARN  target=ringway::log::quiet bad request: … and 3 more like it");
    }
}
