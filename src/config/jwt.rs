//! `[jwt.NAME]`: providers of tokens: their keys, and what a token must say.
//!
//! Keys are parsed here with the code that verifies tokens, so one that does not work is found before any request.
//! Sets behind a URL are the exception: control fetches them while the gateway runs.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::problems::{Problems, TextSpan, ValueError, quoted};
use super::secret::{secret, secret_text};
use super::section::Section;
use super::{Outside, address, edits};
use crate::auth::keys::KeySet;
use crate::auth::parse;
use crate::http::hygiene::{is_forwarded, is_spoofable, is_token, reads_as};
use crate::plan::{ApiKeySettings, AuthMethod, CredentialPlace, Jwt, JwtKey, RoutePlan};

const SECTION: &str = "jwt.NAME";
/// Exactly one of them: with two it would be open which one a token must satisfy.
const KEYS: [&str; 3] = ["secret", "public_key", "jwks"];

/// Fields that the gateway writes itself, or that credentials stand in, beside the `X-Forwarded-` ones: no claim
/// becomes one of them.
const RESERVED_FIELDS: [&str; 8] = [
    "authorization",
    "cookie",
    "forwarded",
    "via",
    "x-consumer-groups",
    "x-consumer-name",
    "x-real-ip",
    "x-request-id",
];

/// The providers in file order, and their names in the same order. One with an error is missing from the first.
pub(super) fn jwts<'a>(
    root: &Section<'a>,
    outside: &dyn Outside,
    problems: &mut Problems,
) -> (Vec<Arc<Jwt>>, Vec<&'a str>) {
    let mut jwts = Vec::new();
    let mut names = Vec::new();
    for (name, span, value) in root.section("jwt").entries() {
        names.push(name);
        if name.is_empty() || name.chars().any(char::is_control) {
            problems
                .error(span, format!("{} is not a name for an issuer of tokens", quoted(name)))
                .with_hint("give it one that can be shown on one line");
        }
        let section = Section::of(value).unwrap_or_else(Section::absent);
        jwts.extend(JwtReader { name, section, outside, problems }.read().map(Arc::new));
    }
    (jwts, names)
}

/// One provider being read; all its problems are reported.
struct JwtReader<'r, 'a> {
    name: &'a str,
    section: Section<'a>,
    outside: &'r dyn Outside,
    problems: &'r mut Problems,
}

impl JwtReader<'_, '_> {
    fn read(mut self) -> Option<Jwt> {
        let before = self.problems.len();
        let algorithms = self.algorithms();
        let key = self.key(&algorithms);
        let from = self.places();
        let headers = self.headers();
        let jwt = Jwt {
            name: self.name.into(),
            issuer: self.section.text("issuer").map(|(text, _)| text.into()),
            audience: self.section.strings("audience"),
            leeway: self.section.seconds("leeway", self.problems).unwrap_or(Jwt::LEEWAY),
            consumer_claim: self
                .section
                .text("consumer_claim")
                .map_or(Jwt::CONSUMER_CLAIM, |(text, _)| text)
                .into(),
            forward: self.section.flag("forward").unwrap_or(true),
            algorithms,
            key: key?,
            from,
            headers,
        };
        // Without algorithms no key fits, and that they are missing was reported.
        if self.problems.len() == before && !jwt.algorithms.is_empty() {
            self.check_key(&jwt);
        }
        Some(jwt)
    }

    /// There is no default: a token must never choose how it is verified (RFC 8725, 3.1).
    fn algorithms(&mut self) -> Vec<Algorithm> {
        let hint =
            "write algorithms = [\"HS256\"] for a shared secret, [\"RS256\"] or [\"ES256\"] for a public key";
        if self.section.is_present() && self.section.lacks(SECTION, "algorithms") {
            let message = format!("jwt {} without `algorithms`", quoted(self.name));
            self.problems.error(self.section.span.clone(), message).with_hint(hint);
        }
        let texts = self.section.texts("algorithms");
        let count = texts.len();
        let mut algorithms = Vec::with_capacity(count);
        for (text, span) in texts {
            match parse::algorithm(text) {
                Ok(algorithm) => algorithms.push(algorithm),
                Err(why) => {
                    self.problems.error(span, why).with_hint(hint);
                }
            }
        }
        if self.section.has("algorithms")
            && algorithms.len() == count
            && let Err(why) = parse::check_algorithms(&algorithms)
        {
            self.problems.error(self.section.span_of("algorithms"), why).with_hint(hint);
        }
        algorithms
    }

    /// Exactly one of the three, which fits the algorithms.
    fn key(&mut self, algorithms: &[Algorithm]) -> Option<JwtKey> {
        let mut given: Vec<&str> = KEYS.into_iter().filter(|key| self.section.has(key)).collect();
        given.sort_by_key(|key| self.section.span_of(key).start);
        let [key, ref others @ ..] = given[..] else {
            if self.section.is_present() && !KEYS.iter().any(|key| self.section.misspells(SECTION, key)) {
                self.problems
                    .error(self.section.span.clone(), format!("jwt {} without a key", quoted(self.name)))
                    .with_hint("write one of `secret`, `public_key` and `jwks`");
            }
            return None;
        };
        if let [second, ..] = others {
            self.problems
                .error(self.section.span_of(second), format!("both `{key}` and `{second}`"))
                .with_related(self.section.span_of(key), "first here")
                .with_hint("exactly one of `secret`, `public_key` and `jwks`");
            return None;
        }
        let (text, span) = self.section.text(key)?;
        self.check_fit(key, span.clone(), algorithms);
        if key == "jwks" && ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme)) {
            return self.jwks_url(text, span);
        }
        let at = (text, span);
        match key {
            "secret" => secret(at, self.outside, self.problems).map(JwtKey::Secret),
            "public_key" => secret_text(at, self.outside, self.problems).map(JwtKey::PublicKey),
            _ => secret_text(at, self.outside, self.problems).map(JwtKey::Jwks),
        }
    }

    /// A public key taken for a shared secret would let everyone sign: everyone has it.
    fn check_fit(&mut self, key: &str, span: TextSpan, algorithms: &[Algorithm]) {
        let hmac = |algorithm: &Algorithm| algorithm.family() == AlgorithmFamily::Hmac;
        let (shared, public) = (algorithms.iter().any(hmac), !algorithms.iter().all(hmac));
        let hint = match key {
            // A list of both kinds was reported already.
            _ if shared && public => return,
            "secret" if public => "write `public_key` or `jwks`, or algorithms = [\"HS256\"]",
            "public_key" if shared => "write `secret`, or algorithms such as [\"RS256\"]",
            _ => return,
        };
        self.problems.error(span, format!("`{key}` does not go with these `algorithms`")).with_hint(hint);
    }

    /// # Errors
    /// No user name or fragment, and `http://` on loopback only: keys that arrive unprotected protect
    /// nothing.
    fn jwks_url(&mut self, text: &str, span: TextSpan) -> Option<JwtKey> {
        let (scheme, rest) = text.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let host = address::host_and_port(&rest[..end]);
        let is_clean = rest.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        let host = match host {
            Ok((host, _)) if is_clean => host,
            _ => {
                self.problems
                    .error(span, format!("`jwks` cannot be {}", quoted(text)))
                    .with_hint("write \"https://id.example.com/jwks.json\", without user name and fragment");
                return None;
            }
        };
        let is_loopback = host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
        if scheme == "http" && !is_loopback && !matches!(&*host, "localhost" | "[::1]") {
            self.problems
                .error(span, "`jwks` over `http://`: whoever is on the way can put keys of their own in")
                .with_hint("write \"https://…\"");
        }
        Some(JwtKey::JwksUrl(text.into()))
    }

    /// Whether it is a key that fits, and a strong one; asked only where nothing else is wrong.
    fn check_key(&mut self, jwt: &Jwt) {
        let key = KEYS.into_iter().find(|key| self.section.has(key)).unwrap_or(SECTION);
        let span = self.section.span_of(key);
        match KeySet::build(jwt) {
            Ok(set) => {
                for why in set.refused() {
                    self.problems
                        .warning(span.clone(), format!("`{key}`: {why}; it is not used"))
                        .with_hint("replace this key in the set, or take it out");
                }
            }
            Err(why) => {
                self.problems.error(span.clone(), format!("`{key}`: {why}")).with_hint(match key {
                    "secret" => "write \"env:NAME\", \"file:PATH\", or the secret itself",
                    "public_key" => "write \"file:PATH\" of a PEM file with one public key",
                    _ => "write \"file:PATH\" of a JWK set, or its \"https://…\" URL",
                });
            }
        }
        if let JwtKey::Secret(secret) = &jwt.key
            && let Some(why) = parse::weak_secret(&secret.0, &jwt.algorithms)
        {
            self.problems
                .warning(span, why)
                .with_hint("a shorter one can be guessed from a single token: take `openssl rand -hex 32`");
        }
    }

    /// In the order in which they are looked through.
    fn places(&mut self) -> Vec<CredentialPlace> {
        if !self.section.has("from") {
            return vec![parse::credential_place(Jwt::FROM).expect("the default is a place")];
        }
        if self.section.texts("from").is_empty() {
            self.problems
                .error(self.section.span_of("from"), "`from` is an empty list")
                .with_hint("name a place, or leave it out for the `authorization` header");
        }
        self.section.parsed_list("from", self.problems, place)
    }

    /// Claim to request header.
    fn headers(&mut self) -> Vec<(Arc<str>, Arc<str>)> {
        let mut seen: HashMap<String, TextSpan> = HashMap::new();
        let mut headers = Vec::new();
        for ((claim, _), (name, span)) in self.section.text_map("headers") {
            let lower = name.to_ascii_lowercase();
            self.problems.accept(span.clone(), claim_header(name, &lower));
            if let Some(first) = seen.insert(lower.clone(), span.clone()) {
                self.problems
                    .error(span, format!("two claims for the header {}", quoted(name)))
                    .with_related(first, "first here")
                    .with_hint("give each claim a header of its own");
            }
            headers.push((claim.into(), lower.into()));
        }
        headers
    }
}

fn place(text: &str) -> Result<CredentialPlace, ValueError> {
    let hint = "write \"header:authorization\", \"cookie:NAME\" or \"query:NAME\"";
    let place = parse::credential_place(text)
        .map_err(|_| ValueError::new(format!("{} is no place of a token", quoted(text)), hint))?;
    match &place {
        CredentialPlace::Header(name) | CredentialPlace::Cookie(name) if !is_token(name.as_bytes()) => {
            Err(ValueError::new(format!("{} has a name that none can have", quoted(text)), hint))
        }
        // The gateway removes or rewrites these before it reads credentials.
        CredentialPlace::Header(name) if !may_hold_credential(name) => Err(ValueError::new(
            format!("{} cannot hold a token: the gateway removes or writes this header", quoted(name)),
            "choose a header of its own, such as \"header:x-token\"",
        )),
        _ => Ok(place),
    }
}

/// Whether a client's value of the header (lower case) is there when credentials are read, as far as no claim becomes it:
/// see [`check_claim_headers`].
pub(super) fn may_hold_credential(name: &str) -> bool {
    let is_written = RESERVED_FIELDS.contains(&name) && !matches!(name, "authorization" | "cookie");
    let is_removed = is_forwarded(name.as_bytes()) || is_spoofable(name.as_bytes());
    !is_written && !is_removed && edits::editable(name).is_ok()
}

/// Reports every credential that would stand in a header in which the gateway tells upstreams of a claim, of any
/// provider: what a client sends there is removed on every route, before credentials are read.
pub(super) fn check_claim_headers(
    root: &Section<'_>,
    keys: &ApiKeySettings,
    routes: &[Arc<RoutePlan>],
    problems: &mut Problems,
) {
    let providers = || root.section("jwt").entries().into_iter();
    let section = |value| Section::of(value).unwrap_or_else(Section::absent);
    let claims: Vec<(&str, &str, TextSpan)> = providers()
        .flat_map(|(provider, _, value)| {
            let headers = section(value).text_map("headers").into_iter();
            headers.map(move |(_, (header, span))| (provider, header, span))
        })
        .collect();
    let mut check = |name: &str, span: TextSpan, what: &str| {
        let reads_as =
            |(_, header, _): &&(&str, &str, TextSpan)| reads_as(name.as_bytes(), header.as_bytes());
        if let Some((provider, _, claim)) = claims.iter().find(reads_as) {
            let message = format!(
                "{what} cannot stand in the header {}: a claim of jwt {} becomes it, so that what clients send there is removed",
                quoted(name),
                quoted(provider)
            );
            problems
                .error(span, message)
                .with_related(claim.clone(), "the claim's header")
                .with_hint("choose another header for one of the two");
        }
    };
    for (_, _, value) in providers() {
        for (text, span) in section(value).texts("from") {
            if let Ok(CredentialPlace::Header(name)) = parse::credential_place(text) {
                check(&name, span, "a token");
            }
        }
    }
    let section = root.section("api_keys");
    let is_used = section.has("header") || routes.iter().any(|route| route.auth.contains(&AuthMethod::Key));
    for place in &keys.from {
        // Where the default is meant, the claim is at fault.
        if let (CredentialPlace::Header(name), true) = (place, is_used) {
            let span = match section.text("header") {
                Some((_, span)) => span,
                None => claims
                    .iter()
                    .find(|claim| reads_as(name.as_bytes(), claim.1.as_bytes()))
                    .map_or(0..0, |claim| claim.2.clone()),
            };
            check(name, span, "an API key");
        }
    }
}

/// # Errors
/// A field that credentials or the gateway's own statements stand in.
fn claim_header(name: &str, lower: &str) -> Result<(), ValueError> {
    edits::editable(name)?;
    if RESERVED_FIELDS.contains(&lower) || is_forwarded(lower.as_bytes()) {
        return Err(ValueError::new(
            format!("no claim can become the header {}: it has another meaning", quoted(name)),
            "choose a name of its own, such as \"x-user-id\"",
        ));
    }
    Ok(())
}
