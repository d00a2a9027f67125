//! All problems of a configuration at once: where each is, its line with a caret, and what to do.
//!
//! Problems are shown in three forms: for a terminal ([`Problems::render`]), for a log ([`Problems::lines`]), and one
//! by one. In none of them does a secret of the file appear: lines and quotations go through `mask`.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::mask;

/// Bytes of the configuration's text.
pub type TextSpan = Range<usize>;

/// What is wrong with one value, from a parser that does not know where the value stands.
/// Parsers of values stay free of places, so they can be tested by text alone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ValueError {
    pub message: String,
    pub hint: String,
}

impl ValueError {
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> ValueError {
        ValueError { message: message.into(), hint: hint.into() }
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

/// One problem. A configuration with errors is not run; warnings are only shown.
#[derive(Clone)]
pub struct Problem {
    severity: Severity,
    /// The text it is in.
    source: Arc<SourceText>,
    message: String,
    hint: Option<String>,
    /// `None`: the file as a whole.
    span: Option<TextSpan>,
    /// Another place that belongs to it, with what it is.
    /// As with a name that is given twice: the first place.
    related: Option<(TextSpan, String)>,
}

impl Problem {
    /// Whether it keeps the configuration from being run.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Whether it is only shown.
    pub fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }

    /// What is wrong, in one sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The file it is in: the configuration, or a script.
    pub fn file(&self) -> &str {
        &self.source.file
    }

    /// Line and column, both from 1, the column in characters; `None` for the file as a whole.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.span.as_ref().map(|span| self.source.line_and_column(span.start))
    }

    /// All on one line.
    fn line(&self) -> String {
        let place = match self.position() {
            Some((line, column)) => format!("{}:{line}:{column}", self.source.file),
            None => self.source.file.to_string(),
        };
        let hint = self.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{place}: {}{hint}", self.message)
    }

    pub(super) fn with_hint(&mut self, hint: impl Into<String>) -> &mut Problem {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn with_related(&mut self, span: TextSpan, what: impl Into<String>) -> &mut Problem {
        self.related = Some((span, what.into()));
        self
    }
}

/// A file's text.
struct SourceText {
    file: Box<str>,
    text: Box<str>,
    /// Where each line starts; computed once, so that a position costs a binary search.
    line_starts: Vec<usize>,
}

/// The problems of a configuration, ordered by position; those of the scripts it names after its own.
#[derive(Clone)]
pub struct Problems {
    source: Arc<SourceText>,
    all: Vec<Problem>,
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines()).finish()
    }
}

impl Problems {
    /// No problems yet in `text`, which `file` holds.
    pub(super) fn new(file: &str, text: &str) -> Problems {
        Problems { source: Arc::new(SourceText::new(file, text)), all: Vec::new() }
    }

    /// Notes the errors that another file has: each a line and a column, both from 1, what it is, and what to do.
    /// A script's error is shown with the script's own line, not that of the configuration.
    pub(super) fn errors_elsewhere(
        &mut self,
        file: &str,
        text: &str,
        errors: impl IntoIterator<Item = (usize, usize, ValueError)>,
    ) {
        let source = Arc::new(SourceText::new(file, text));
        for (line, column, error) in errors {
            let span = source.span_at(line, column);
            let hint = Some(error.hint).filter(|hint| !hint.is_empty());
            let (severity, message, source) = (Severity::Error, error.message, source.clone());
            self.all.push(Problem { severity, source, message, hint, span, related: None });
        }
    }

    /// A file that could not be read at all.
    pub(super) fn of_file(file: &str, message: String, hint: &str) -> Problems {
        let mut problems = Problems::new(file, "");
        problems.push(Severity::Error, None, message).with_hint(hint);
        problems
    }

    /// Notes an error at `span`; a hint and a related place may be put onto the returned problem.
    pub(super) fn error(&mut self, span: TextSpan, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Error, Some(span), message.into())
    }

    /// Notes an error that a value's own parser found.
    pub(super) fn value_error(&mut self, span: TextSpan, error: ValueError) {
        self.error(span, error.message).with_hint(error.hint);
    }

    /// What a value's own parser has read; its error is noted.
    pub(super) fn accept<T>(&mut self, span: TextSpan, read: Result<T, ValueError>) -> Option<T> {
        read.map_err(|error| self.value_error(span, error)).ok()
    }

    /// Notes something that is shown but keeps nothing from running.
    pub(super) fn warning(&mut self, span: TextSpan, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Warning, Some(span), message.into())
    }

    fn push(&mut self, severity: Severity, span: Option<TextSpan>, message: String) -> &mut Problem {
        let source = self.source.clone();
        self.all.push(Problem { severity, source, message, hint: None, span, related: None });
        self.all.last_mut().expect("one was pushed on the line above")
    }

    /// Orders them by position, each once; problems of one place stay in the order in which they were found.
    /// (`[defaults]` is read for every route, so what is wrong there is found as often.)
    pub(super) fn sorted(mut self) -> Problems {
        let own = self.source.clone();
        let mut seen = HashSet::new();
        self.all.retain(|problem| {
            seen.insert((Arc::as_ptr(&problem.source), problem.span.clone(), problem.message.clone()))
        });
        self.all.sort_by_cached_key(|problem| {
            let elsewhere = !Arc::ptr_eq(&problem.source, &own);
            let start = problem.span.as_ref().map(|span| span.start);
            (elsewhere, elsewhere.then(|| problem.source.file.clone()), start)
        });
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.all.iter()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How many keep the configuration from being run, and how many are only shown, in words: `2 problems, 1 warning`.
    pub fn counts(&self) -> String {
        let count = |number: usize, noun: &str| match number {
            0 => None,
            1 => Some(format!("1 {noun}")),
            _ => Some(format!("{number} {noun}s")),
        };
        let errors = self.all.iter().filter(|problem| problem.is_error()).count();
        let counts = [count(errors, "problem"), count(self.all.len() - errors, "warning")];
        counts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn has_errors(&self) -> bool {
        self.all.iter().any(Problem::is_error)
    }

    /// The file's name as it was given.
    pub fn file(&self) -> &str {
        &self.source.file
    }

    /// For a log: `file:line:column: message (hint)`, one line each.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.all.iter().map(Problem::line)
    }

    /// The lines of those that keep the configuration from being run.
    pub fn error_lines(&self) -> impl Iterator<Item = String> {
        self.all.iter().filter(|problem| problem.is_error()).map(Problem::line)
    }

    /// The lines of those that are only shown.
    pub fn warning_lines(&self) -> impl Iterator<Item = String> {
        self.all.iter().filter(|problem| problem.is_warning()).map(Problem::line)
    }

    /// For people: each with its line, a caret and a hint; with colours only for a terminal.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in &self.all {
            out.push_str(&render_one(&renderer, problem));
            out.push_str("\n\n");
        }
        out
    }
}

/// The longest form: title, line with caret, related line, hint.
fn render_one(renderer: &Renderer, problem: &Problem) -> String {
    let level = if problem.is_error() { Level::ERROR } else { Level::WARNING };
    let title = level.primary_title(problem.message.as_str());
    let source = &problem.source;
    let mut group = match &problem.span {
        Some(span) => title.element(source.snippet(span, None)),
        None => Group::with_title(title).element(annotate_snippets::Origin::path(&*source.file)),
    };
    if let Some((span, what)) = &problem.related {
        group = group.element(source.snippet(span, Some(what)));
    }
    if let Some(hint) = &problem.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    renderer.render(&[group])
}

impl SourceText {
    fn new(file: &str, text: &str) -> SourceText {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        SourceText { file: file.into(), text: text.into(), line_starts }
    }

    /// The word, or the character, that begins at a line and column; `None` where there is no such line.
    fn span_at(&self, line: usize, column: usize) -> Option<TextSpan> {
        let start = *self.line_starts.get(line.checked_sub(1)?)?;
        let text = self.line(line);
        let from = text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
        let rest = &text[from..];
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let bytes = word.max(rest.chars().next().map_or(0, char::len_utf8));
        Some(start + from..start + from + bytes)
    }

    /// One line only, so that rendering costs the same however long the file is.
    fn snippet<'a>(
        &'a self,
        span: &TextSpan,
        what: Option<&'a str>,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let (line, _) = self.line_and_column(span.start);
        let start = self.line_starts[line - 1];
        let source = mask::line(line, |number| self.line(number));
        let from = span.start.saturating_sub(start).min(source.len());
        let to = span.end.saturating_sub(start).clamp(from, source.len());
        let kind = if what.is_some() { AnnotationKind::Context } else { AnnotationKind::Primary };
        let annotation = kind.span(from..to).label(what);
        Snippet::source(source).line_start(line).path(&*self.file).annotation(annotation)
    }

    /// An offset beyond the end, as of a missing section, counts as the last line.
    fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let before = self.text.get(self.line_starts[line - 1]..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The line without its end.
    fn line(&self, line: usize) -> &str {
        let start = self.line_starts[line - 1];
        let end = self.line_starts.get(line).map_or(self.text.len(), |next| next - 1);
        self.text.get(start..end).unwrap_or_default().trim_end_matches('\r')
    }
}

/// A user's own text as it may stand in a message: in backquotes, short, on one line, without secrets.
/// At most 80 characters: a value may be a whole file pasted by mistake.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String =
        mask::userinfo(text).chars().take(LONGEST).flat_map(|c| c.escape_debug()).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let problems = Problems::new("f", "a\nbé = 1\r\n\nx");
        assert_eq!(problems.source.line_and_column(0), (1, 1));
        assert_eq!(problems.source.line_and_column(2), (2, 1));
        assert_eq!(problems.source.line_and_column(5), (2, 3), "é is two bytes and one column");
        assert_eq!(problems.source.line_and_column(12), (4, 1));
        assert_eq!(problems.source.line_and_column(99), (4, 1), "beyond the end");
        assert_eq!(problems.source.line(2), "bé = 1");
    }

    #[test]
    fn problems_and_warnings_are_counted_apart() {
        let mut problems = Problems::new("f", "a");
        problems.warning(0..1, "w");
        assert_eq!(problems.counts(), "1 warning");
        problems.error(0..1, "e");
        assert_eq!(problems.counts(), "1 problem, 1 warning");
        problems.error(0..1, "f");
        assert_eq!(problems.counts(), "2 problems, 1 warning");
        assert_eq!(problems.error_lines().collect::<Vec<_>>(), ["f:1:1: e", "f:1:1: f"]);
        assert_eq!(problems.warning_lines().collect::<Vec<_>>(), ["f:1:1: w"]);
    }

    #[test]
    fn quoted_text_is_short_and_on_one_line() {
        assert_eq!(quoted("a\nb"), "`a\\nb`");
        assert_eq!(quoted("http://u:p/w@h"), "`http://*****@h`");
        assert!(quoted(&"x".repeat(1000)).chars().count() < 90);
    }
}
