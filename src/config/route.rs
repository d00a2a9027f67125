//! `[[route]]`: which requests, and what happens to them.
//!
//! All routes are checked against each other at the end: two that match the same, or one that takes all of another's
//! requests, are errors rather than a matter of their order in the file.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::edits::{field_value, header_conditions, query_conditions};
use super::policies::{self, Layers};
use super::problems::{Problems, TextSpan, ValueError, quoted};
use super::section::{At, Section};
use super::{pattern, schema, upstream};
use crate::base::suggest::closest;
use crate::http::hygiene::is_token;
use crate::plan::*;
use crate::route::unreachable::{UnreachableRoute, unreachable_routes};

const SECTION: &str = "route";
const ACTIONS: [&str; 3] = ["upstream", "respond", "redirect"];

/// Actions of the contract that are not built yet.
const LATER_ACTIONS: [&str; 2] = ["split", "lambda"];

/// What means something only where the request goes to an upstream.
/// Beside an answer of the gateway they would be silently without effect.
const PROXY_KEYS: [&str; 4] = ["strip_prefix", "rewrite", "host_header", "request_headers"];

/// A route that could be read far enough to be matched, and the place of its name.
type Placed = At<Arc<RoutePlan>>;

/// All routes in file order, `[defaults]` applied; those that cannot match are reported.
pub(super) fn routes<'a>(
    root: &Section<'a>,
    upstreams: &mut upstream::UpstreamNames<'a>,
    jwts: &[&str],
    problems: &mut Problems,
) -> Vec<Arc<RoutePlan>> {
    let defaults = root.section("defaults");
    // For its own problems, which are reported even if no route takes anything from it.
    let layers = Layers { route: &Section::absent(), defaults: &defaults };
    policies::read(layers, jwts, problems);
    policies::host_header(layers, problems);
    let mut names = HashMap::new();
    let mut placed: Vec<Placed> = Vec::new();
    for (at, section) in root.sections("route").into_iter().enumerate() {
        let name = name(&section, at + 1, &mut names, problems);
        let reader = RouteReader { section: &section, defaults: &defaults, upstreams, jwts, problems };
        placed.extend(reader.read(name).map(|route| (Arc::new(route), section.span_of("name"))));
    }
    let routes: Vec<Arc<RoutePlan>> = placed.iter().map(|(route, _)| route.clone()).collect();
    for unreachable in unreachable_routes(&routes) {
        report_unreachable(unreachable, &placed, problems);
    }
    routes
}

/// The route's name, or `route-N` by its position. No two may have the same: logs and metrics go by it.
fn name(
    section: &Section<'_>,
    number: usize,
    names: &mut HashMap<String, TextSpan>,
    problems: &mut Problems,
) -> Arc<str> {
    let name = section.text("name").map_or_else(|| format!("route-{number}"), |(text, _)| text.to_string());
    let span = section.span_of("name");
    if name.is_empty() || name.chars().any(char::is_control) {
        problems
            .error(span.clone(), format!("{} is not a name for a route", quoted(&name)))
            .with_hint("give it one that can be shown on one line, or none");
    }
    if let Some(first) = names.insert(name.clone(), span.clone()) {
        problems
            .error(span, format!("route name {} is given twice", quoted(&name)))
            .with_related(first, "first here")
            .with_hint("rename one of the two");
    }
    name.into()
}

fn report_unreachable(found: UnreachableRoute, placed: &[Placed], problems: &mut Problems) {
    let ((route, span), (by, by_span)) = (&placed[found.route], &placed[found.taken_by]);
    let (route, by) = (quoted(&route.name), quoted(&by.name));
    let (message, hint) = if found.is_duplicate {
        (
            format!("route {route} matches exactly what route {by} matches"),
            "remove one of the two, or tell them apart by host, path, method, headers or query",
        )
    } else {
        (
            format!("route {route} can never match: route {by} takes all of its requests"),
            "remove it, make the other narrower, or give this one a higher `priority`",
        )
    };
    problems.error(span.clone(), message).with_related(by_span.clone(), "this one").with_hint(hint);
}

/// One route being read.
/// Borrows what is shared by all routes; one reader a route.
struct RouteReader<'r, 'a> {
    section: &'r Section<'a>,
    defaults: &'r Section<'a>,
    upstreams: &'r mut upstream::UpstreamNames<'a>,
    /// The names of all providers of tokens.
    jwts: &'r [&'r str],
    problems: &'r mut Problems,
}

impl RouteReader<'_, '_> {
    /// `None` where it is not known what the route matches; all problems are reported either way.
    fn read(mut self, name: Arc<str>) -> Option<RoutePlan> {
        let before = self.problems.len();
        let paths = self.paths();
        let hosts = self.hosts();
        let methods = self.methods();
        let headers = header_conditions(self.section, self.problems);
        let query = query_conditions(self.section, self.problems);
        let priority = self.section.integer("priority", i64::MIN..=i64::MAX, self.problems).unwrap_or(0);
        let is_known = self.problems.len() == before && schema::has_all_that_matches(self.section);
        let layers = Layers { route: self.section, defaults: self.defaults };
        let host = policies::host_header(layers, self.problems);
        let action = self.action(&paths, host).unwrap_or_default();
        let policies = policies::read(layers, self.jwts, self.problems);
        let mut route =
            RoutePlan { name, hosts, paths, methods, headers, query, priority, action, ..policies };
        policies::check(self.section, &mut route, self.problems);
        is_known.then_some(route)
    }

    fn paths(&mut self) -> Vec<PathPattern> {
        if self.section.lacks(SECTION, "path") {
            self.problems
                .error(self.section.span.clone(), "a route without `path`")
                .with_hint("write path = \"/*\" for every path");
        }
        let paths = self.section.parsed_list("path", self.problems, pattern::path);
        let shapes: Vec<_> = paths.iter().map(|path| (&path.segments, &path.tail)).collect();
        self.report_twice("path", &shapes);
        paths
    }

    /// Empty: any host. `*` says the same, and must then stand alone.
    fn hosts(&mut self) -> Vec<HostPattern> {
        let hosts = self.section.parsed_list("host", self.problems, pattern::host);
        let hosts: Vec<HostPattern> = hosts.into_iter().flatten().collect();
        self.report_twice("host", &hosts);
        let texts = self.section.texts("host");
        match texts.iter().find(|(text, _)| *text == "*") {
            Some((_, span)) if texts.len() > 1 => {
                self.problems
                    .error(span.clone(), "`*` is any host, so the others say nothing")
                    .with_hint("leave out `*`, or leave out `host`");
                Vec::new()
            }
            _ => hosts,
        }
    }

    /// Empty: any method.
    fn methods(&mut self) -> Vec<Arc<str>> {
        let methods = self.section.parsed_list("method", self.problems, method);
        self.report_twice("method", &methods);
        methods
    }

    fn report_twice<T: Eq + Hash>(&mut self, key: &str, items: &[T]) {
        let mut seen = HashSet::new();
        if !items.iter().all(|item| seen.insert(item)) {
            self.problems
                .error(self.section.span_of(key), format!("`{key}` says the same twice"))
                .with_hint("leave one of them out");
        }
    }

    /// Exactly one of the three.
    fn action(&mut self, paths: &[PathPattern], host: HostHeader) -> Option<Action> {
        let mut given: Vec<&str> = ACTIONS.into_iter().filter(|key| self.section.has(key)).collect();
        given.sort_by_key(|key| self.section.span_of(key).start);
        match given[..] {
            [] => {
                let misspelt = ACTIONS.iter().any(|key| self.section.misspells(SECTION, key))
                    || LATER_ACTIONS.iter().any(|key| self.section.has(key));
                if !misspelt {
                    self.problems
                        .error(
                            self.section.span.clone(),
                            "a route without `upstream`, `respond` or `redirect`",
                        )
                        .with_hint("say what happens to its requests: write one of the three");
                }
            }
            [first, second, ..] => {
                self.problems
                    .error(
                        self.section.span_of(second),
                        format!("a route with both `{first}` and `{second}`"),
                    )
                    .with_related(self.section.span_of(first), "first here")
                    .with_hint("exactly one of `upstream`, `respond` and `redirect`");
            }
            [_] => {}
        }
        // All that are there are read, for their own problems.
        let proxy = self.proxy(paths, host);
        let respond = self.respond();
        let redirect = self.redirect(paths);
        proxy.map(Action::Proxy).or(respond.map(Action::Respond)).or(redirect.map(Action::Redirect))
    }

    /// `None`: no upstream, or one that does not exist.
    fn proxy(&mut self, paths: &[PathPattern], host: HostHeader) -> Option<Proxy> {
        let answers = self.section.has("respond") || self.section.has("redirect");
        if answers && !self.section.has("upstream") {
            for key in PROXY_KEYS.into_iter().filter(|key| self.section.has(key)) {
                self.problems
                    .error(
                        self.section.span_of(key),
                        format!("`{key}` does nothing on a route without `upstream`"),
                    )
                    .with_hint("leave it out: this route answers by itself");
            }
        }
        let path = self.path_edit(paths);
        let (name, span) = self.section.text("upstream")?;
        let upstream = self.upstreams.index_of(name, span, self.problems)?;
        Some(Proxy { upstream, path, host })
    }

    /// At most one edit: strip, rewrite, or none.
    fn path_edit(&mut self, paths: &[PathPattern]) -> PathEdit {
        let strip = self.section.flag("strip_prefix").unwrap_or(false);
        if strip && self.section.has("rewrite") {
            self.problems
                .error(self.section.span_of("rewrite"), "`rewrite` and `strip_prefix` together")
                .with_related(self.section.span_of("strip_prefix"), "first here")
                .with_hint("keep one: a rewrite such as \"/{rest}\" strips as well");
        }
        if strip && let Some(path) = paths.iter().find(|path| path.tail == Tail::Exact) {
            let message = format!("`strip_prefix` finds no prefix in {}", quoted(&path.text));
            self.problems
                .error(self.section.span_of("strip_prefix"), message)
                .with_hint("end every path of the route in `/*` or `/{*rest}`, or use `rewrite`");
        }
        if let Some(rewrite) = self.template("rewrite", self.section.text("rewrite"), paths, pattern::rewrite)
        {
            return PathEdit::Rewrite(rewrite);
        }
        if strip { PathEdit::StripPrefix } else { PathEdit::Keep }
    }

    /// A template whose captures all paths of the route have.
    fn template(
        &mut self,
        key: &str,
        text: Option<At<&str>>,
        paths: &[PathPattern],
        read: fn(&str) -> Result<Template, ValueError>,
    ) -> Option<Template> {
        let (text, span) = text?;
        let template = self.problems.accept(span.clone(), read(text))?;
        for piece in &template.0 {
            let Piece::Capture(name) = piece else { continue };
            let Some(path) = paths.iter().find(|path| !pattern::captures(path).any(|have| have == &**name))
            else {
                continue;
            };
            let hint = match closest(name, pattern::captures(path)) {
                Some(near) => format!("did you mean `{{{near}}}`?"),
                None => match pattern::captures(path).map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>()
                {
                    have if have.is_empty() => format!("it captures nothing: give it a `{{{name}}}` segment"),
                    have => format!("it captures {}", have.join(", ")),
                },
            };
            let message = format!("`{key}` uses `{{{name}}}`, which {} does not capture", quoted(&path.text));
            self.problems.error(span.clone(), message).with_hint(hint);
        }
        Some(template)
    }

    /// A body with a status that has none (RFC 9110, 15) is reported.
    fn respond(&mut self) -> Option<Respond> {
        const BODILESS: [i64; 3] = [204, 205, 304];
        let table = self.section.section("respond");
        if !table.is_present() {
            return None;
        }
        let status = table.integer("status", 200..=599, self.problems).unwrap_or(200);
        let body = table.text("body").map_or("", |(body, _)| body);
        if BODILESS.contains(&status) && !body.is_empty() {
            self.problems
                .error(table.span_of("body"), format!("a response with status {status} has no body"))
                .with_hint("leave out `body`, or choose another status");
        }
        let content_type = match table.text("content_type") {
            Some((text, span)) => self.problems.accept(span, field_value(text)),
            None => (!body.is_empty()).then(|| "text/plain".into()),
        };
        Some(Respond { status: status as u16, body: body.as_bytes().into(), content_type })
    }

    /// 308 by default: permanent, and the method stays (RFC 9110, 15.4.9).
    fn redirect(&mut self, paths: &[PathPattern]) -> Option<Redirect> {
        const STATUSES: [i64; 5] = [301, 302, 303, 307, 308];
        let table = self.section.section("redirect");
        if !table.is_present() {
            return None;
        }
        let status = table.integer("status", i64::MIN..=i64::MAX, self.problems).unwrap_or(308);
        if !STATUSES.contains(&status) {
            self.problems
                .error(table.span_of("status"), format!("{status} is not a redirect"))
                .with_hint("one of 301, 302, 303, 307, 308");
        }
        if table.lacks("route.redirect", "to") {
            self.problems
                .error(table.span.clone(), "a redirect without `to`")
                .with_hint("write redirect = { to = \"/new/{rest}\" }");
        }
        let to = self.template("redirect.to", table.text("to"), paths, pattern::redirect)?;
        Some(Redirect { to, status: status as u16 })
    }
}

/// A method, case-sensitive (RFC 9110, 9.1).
fn method(text: &str) -> Result<Arc<str>, ValueError> {
    if !is_token(text.as_bytes()) {
        return Err(ValueError::new(
            format!("{} is not a method", quoted(text)),
            "write \"GET\", or a list of methods",
        ));
    }
    let upper = text.to_ascii_uppercase();
    if upper == "CONNECT" {
        return Err(ValueError::new(
            "`CONNECT` cannot be routed",
            "Ringway is no forward proxy and refuses CONNECT",
        ));
    }
    if upper != text {
        return Err(ValueError::new(
            format!("{}: methods are case-sensitive, and this one is never sent", quoted(text)),
            format!("write \"{upper}\""),
        ));
    }
    Ok(text.into())
}
