//! `auth` and `require`: who is calling, what they may, and what the upstream learns of them.

use std::borrow::Cow;
use std::sync::Arc;

use crate::auth::decide::{Authenticator, Denied, Identity, Refusal};
use crate::auth::require::{self, Missing};
use crate::auth::token::{self, CredentialSource};
use crate::auth::{headers, strip};
use crate::base::error::{Error, Reason};
use crate::exchange::Transaction;
use crate::http::fields::{FieldName, Fields};
use crate::http::{hygiene, path};
use crate::plan::CredentialPlace;
use crate::plan::{AuthMethod, Jwt, RoutePlan};

/// Where credentials may stand in a request.
pub struct Credentials<'a> {
    pub fields: &'a Fields,
    /// Without its `?`.
    pub query: &'a [u8],
}

impl CredentialSource for Credentials<'_> {
    fn each<'a>(&'a self, place: &CredentialPlace, see: &mut dyn FnMut(Cow<'a, [u8]>)) {
        match place {
            CredentialPlace::Header(name) => {
                self.fields.find_all(name.as_bytes()).for_each(|value| see(Cow::Borrowed(value)));
            }
            CredentialPlace::Cookie(name) => {
                let pairs =
                    self.fields.all(FieldName::Cookie).flat_map(|line| line.split(|byte| *byte == b';'));
                let of_name = |pair: &'a [u8]| match strip::split_cookie(pair) {
                    (found, value) if found == name.as_bytes() => value,
                    _ => None,
                };
                pairs.filter_map(of_name).for_each(|value| see(Cow::Borrowed(value)));
            }
            CredentialPlace::Query(name) => {
                for (raw_name, raw_value) in path::query_pairs(self.query) {
                    if path::form_decoded(raw_name).eq(name.bytes()) {
                        let value = percent_encoding::percent_decode(raw_value);
                        see(Cow::Owned(value.collect()));
                    }
                }
            }
        }
    }
}

/// Finds out who is calling a route that has `auth`, at `now_s` (Unix seconds).
///
/// # Errors
/// 401 with its challenges, or 503 while API keys cannot be decided about; beside it the providers whose key sets lack
/// the token's key, if that is why.
pub fn identify(
    authenticator: &mut Authenticator<'_>,
    route: &RoutePlan,
    transaction: &Transaction,
    now_s: u64,
) -> Result<Identity, (Error, Vec<usize>)> {
    let credentials = Credentials { fields: &transaction.request.fields, query: transaction.query() };
    authenticator.decide(&route.auth, &credentials, now_s).map_err(refused)
}

/// Notes who is calling, tells the upstream, and takes away the tokens that it must not see.
pub fn accept(identity: Identity, route: &RoutePlan, jwts: &[Arc<Jwt>], transaction: &mut Transaction) {
    introduce(&identity, jwts, transaction);
    withhold_tokens(&route.auth, jwts, transaction);
    transaction.consumer = identity.consumer;
    transaction.claims = identity.claims;
}

/// A route's `require`.
///
/// # Errors
/// 403 `forbidden`.
pub fn require(route: &RoutePlan, transaction: &Transaction) -> Result<(), Error> {
    let (consumer, claims) = (transaction.consumer.as_deref(), transaction.claims.as_deref());
    require::check(&route.require, consumer, claims).map_err(|missing| forbidden(&missing))
}

fn forbidden(missing: &Missing) -> Error {
    let mut error = Error::client(Reason::Forbidden, missing.to_string());
    error.fields.extend(missing.challenge().map(|challenge| ("WWW-Authenticate", challenge.to_owned())));
    error
}

fn refused(denied: Denied) -> (Error, Vec<usize>) {
    let (reason, detail) = match denied.refusal {
        Refusal::NoCredentials => (Reason::NoCredentials, "no credentials were sent"),
        Refusal::InvalidToken(why) => (Reason::InvalidToken, why),
        Refusal::TokenExpired => (Reason::TokenExpired, "the token has expired"),
        Refusal::InvalidApiKey(why) => (Reason::InvalidApiKey, why),
        Refusal::KeysUnknown => {
            (Reason::StoreUnavailable, "which API keys were revoked was not read from the store yet")
        }
    };
    // What exactly is wrong with a credential is for the log: a stranger could probe with it.
    let mut error = Error::client(reason, detail).untold();
    error
        .fields
        .extend(denied.challenges.iter().map(|challenge| ("WWW-Authenticate", (*challenge).to_owned())));
    (error, denied.unknown_key_of)
}

/// Tells the upstream who is calling.
fn introduce(identity: &Identity, jwts: &[Arc<Jwt>], transaction: &mut Transaction) {
    let Identity { method, consumer, claims } = identity;
    let fields = &mut transaction.request.fields;
    if let Some(consumer) = consumer {
        headers::of_consumer(consumer)
            .for_each(|(name, value)| fields.set(name.as_bytes(), value.as_bytes()));
    }
    if let (AuthMethod::Jwt(index), Some(claims)) = (*method, claims) {
        headers::of_claims(&jwts[index], claims)
            .for_each(|(name, value)| fields.set(name.as_bytes(), value.as_bytes()));
    }
}

/// Takes tokens away that the upstream must not see. Also where something else let the request in: a token that was
/// not even looked at must not reach an upstream that is used to seeing none.
fn withhold_tokens(methods: &[AuthMethod], jwts: &[Arc<Jwt>], transaction: &mut Transaction) {
    for method in methods {
        let AuthMethod::Jwt(index) = *method else { continue };
        let plan = &jwts[index];
        if !plan.forward {
            plan.from.iter().for_each(|place| take_away(place, transaction));
        }
    }
}

fn take_away(place: &CredentialPlace, transaction: &mut Transaction) {
    let fields = &mut transaction.request.fields;
    match place {
        CredentialPlace::Header(name) if **name == *"authorization" => {
            fields.retain(|field| field.id != FieldName::Authorization || !token::is_bearer(field.value));
        }
        // Servers that read `_` as `-` would find the token under either name.
        CredentialPlace::Header(name) => {
            fields.retain(|field| !hygiene::reads_as(field.name, name.as_bytes()));
        }
        CredentialPlace::Cookie(name) => {
            let lines: Vec<Vec<u8>> = fields.all(FieldName::Cookie).map(<[u8]>::to_vec).collect();
            fields.remove_id(FieldName::Cookie);
            for line in lines {
                let line = strip::without_cookie(&line, name.as_bytes()).unwrap_or(line);
                if !line.is_empty() {
                    fields.add(b"Cookie", &line);
                }
            }
        }
        CredentialPlace::Query(name) => {
            let query = transaction.edits.query.as_deref().unwrap_or_else(|| transaction.query());
            if let Some(query) = strip::without_query(query, name.as_bytes()) {
                transaction.edits.query = Some(query);
            }
        }
    }
}

/// The headers in which the gateway tells of claims: no client may say them itself.
pub fn owned_names<'p>(jwts: impl Iterator<Item = &'p Jwt>) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> =
        jwts.flat_map(|jwt| &jwt.headers).map(|(_, header)| header.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Removes the client's own fields of those names, spelled with `_` too.
pub fn remove_owned(owned: &[Arc<str>], fields: &mut Fields) {
    if !owned.is_empty() {
        fields.retain(|field| !owned.iter().any(|name| hygiene::reads_as(field.name, name.as_bytes())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        lines.iter().for_each(|(name, value)| fields.add(name.as_bytes(), value.as_bytes()));
        fields
    }

    fn found(place: CredentialPlace, lines: &[(&str, &str)], query: &str) -> Vec<String> {
        let fields = fields(lines);
        let credentials = Credentials { fields: &fields, query: query.as_bytes() };
        let mut all = Vec::new();
        credentials.each(&place, &mut |value| all.push(String::from_utf8_lossy(&value).into_owned()));
        all
    }

    #[test]
    fn credentials_are_found_in_every_field_cookie_and_parameter_of_a_name() {
        let cookies = [("Cookie", "a=1; t=x"), ("cookie", "t=y;tt=z")];
        assert_eq!(found(CredentialPlace::Cookie("t".into()), &cookies, ""), ["x", "y"]);
        // Two, which is refused: servers differ in which one they read.
        let spaced = [("Cookie", "t =forged; t=good")];
        assert_eq!(found(CredentialPlace::Cookie("t".into()), &spaced, ""), ["forged", "good"]);
        assert_eq!(found(CredentialPlace::Query("t".into()), &[], "%74=x%2By&t=z&T=no"), ["x+y", "z"]);
        assert_eq!(
            found(CredentialPlace::Header("x-key".into()), &[("X-Key", "1"), ("x-KEY", "2")], ""),
            ["1", "2"]
        );
    }

    #[test]
    fn a_withheld_token_goes_in_every_spelling_that_an_upstream_reads() {
        for (place, name, value, is_kept) in [
            ("authorization", "Authorization", "Bearer t", false),
            ("authorization", "Authorization", "bearer\tt", false),
            ("authorization", "Authorization", "Bearer", true),
            ("authorization", "Authorization", "Bearerx t", true),
            ("authorization", "Authorization", "Basic eHg=", true),
            ("x-token", "X-Token", "t", false),
            ("x-token", "x_token", "t", false),
            ("x_token", "X-Token", "t", false),
            ("x_token", "X_Token", "t", false),
            ("x-token", "x-tokens", "t", true),
        ] {
            let mut transaction = Transaction::default();
            transaction.request.fields = fields(&[(name, value)]);
            take_away(&CredentialPlace::Header(place.into()), &mut transaction);
            let kept = transaction.request.fields.find(name.as_bytes()).is_some();
            assert_eq!(kept, is_kept, "{name}: {value:?} from header:{place}");
        }
    }

    #[test]
    fn a_client_cannot_say_what_the_gateway_says_of_claims() {
        let mut head = fields(&[("X-User-Id", "root"), ("x_user_id", "root"), ("X-User", "me")]);
        remove_owned(&["x-user-id".into()], &mut head);
        let names: Vec<_> = head.iter().map(|field| field.name.to_vec()).collect();
        assert_eq!(names, [b"X-User"]);
    }
}
