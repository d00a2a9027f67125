//! Finds the credential of a request: in the first of the configured places that holds one.

use std::borrow::Cow;

use crate::http::hygiene::is_token_byte;
use crate::plan::CredentialPlace;

/// Access to the values of a request that may hold credentials.
pub trait CredentialSource {
    /// Calls `see` with every value in `place`, in order: of all fields of that name, all cookies of that name, or all
    /// query parameters of that name (percent-decoded, `+` unchanged).
    fn each<'a>(&'a self, place: &CredentialPlace, see: &mut dyn FnMut(Cow<'a, [u8]>));
}

/// The credential of a request, if it has one.
#[derive(Debug, PartialEq, Eq)]
pub enum FoundCredential<'a> {
    /// No credential in any of the places.
    Nothing,
    Token(Cow<'a, [u8]>),
    /// A credential that is not examined, and why.
    Refused(&'static str),
}

/// The credential in the first place that holds one. Later places are not examined.
///
/// Two credentials in one place are refused: the upstream might use the other one. So is one of more than `max_bytes`,
/// before any work is done on it. In `authorization` only the scheme `Bearer` counts (RFC 6750, 2.1; schemes have no case: RFC
/// 9110, 11.1); another scheme, or one without a token, is no credential.
pub fn find<'a>(
    places: &[CredentialPlace],
    request: &'a impl CredentialSource,
    max_bytes: usize,
) -> FoundCredential<'a> {
    for place in places {
        let bearer = matches!(place, CredentialPlace::Header(name) if &**name == "authorization");
        let (mut token, mut seen) = (None, 0);
        request.each(place, &mut |value| {
            seen += 1;
            let value = if bearer { after_bearer(value) } else { value };
            if !value.is_empty() {
                token.get_or_insert(value);
            }
        });
        match token {
            None => {}
            Some(_) if seen > 1 => return FoundCredential::Refused("more than one credential in one place"),
            Some(token) if token.len() > max_bytes => {
                return FoundCredential::Refused("the credential is too long");
            }
            Some(token) => return FoundCredential::Token(token),
        }
    }
    FoundCredential::Nothing
}

/// Whether an upstream may take an `Authorization` value for one of the scheme `Bearer`, which `forward = false` removes:
/// whatever separates the token, since many accept HTAB or any whitespace.
pub fn is_bearer(value: &[u8]) -> bool {
    starts_with(value, SCHEME.trim_ascii_end())
        && value.get(SCHEME.len() - 1).is_some_and(|byte| !is_token_byte(*byte))
}

/// The scheme as the gateway reads it: a space follows (RFC 6750, 2.1).
const SCHEME: &[u8] = b"bearer ";

fn starts_with(value: &[u8], prefix: &[u8]) -> bool {
    value.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The value after `Bearer` and its spaces; empty for other schemes.
fn after_bearer(value: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let start = match starts_with(&value, SCHEME) {
        true => SCHEME.len() + value[SCHEME.len()..].iter().take_while(|byte| **byte == b' ').count(),
        false => value.len(),
    };
    match value {
        Cow::Borrowed(value) => Cow::Borrowed(&value[start..]),
        Cow::Owned(mut value) => {
            value.drain(..start);
            Cow::Owned(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::request::Request;
    use super::*;

    fn found(places: &[&str], request: &Request) -> Result<Option<String>, &'static str> {
        let places: Vec<CredentialPlace> =
            places.iter().map(|place| crate::auth::parse::credential_place(place).unwrap()).collect();
        match find(&places, request, 8) {
            FoundCredential::Nothing => Ok(None),
            FoundCredential::Token(token) => Ok(Some(String::from_utf8(token.into_owned()).unwrap())),
            FoundCredential::Refused(why) => Err(why),
        }
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER   abc", Some("abc")),
            ("Bearer a b", Some("a b")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer\tabc", None),
            ("Bearerabc", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
        ] {
            let request = Request::new().with("header:authorization", value);
            assert_eq!(found(&["header:authorization"], &request), Ok(token.map(Into::into)), "{value:?}");
        }
    }

    #[test]
    fn other_places_hold_the_token_alone() {
        for place in ["header:x-token", "cookie:sid", "query:t"] {
            assert_eq!(found(&[place], &Request::new().with(place, "abc")), Ok(Some("abc".into())));
            assert_eq!(found(&[place], &Request::new().with(place, "")), Ok(None));
            let whole = Request::new().with(place, "Bearer a");
            assert_eq!(found(&[place], &whole), Ok(Some("Bearer a".into())));
        }
    }

    #[test]
    fn the_first_place_that_holds_a_token_wins() {
        let request = Request::new().with("cookie:sid", "c").with("query:t", "q");
        let places = ["header:authorization", "cookie:sid", "query:t"];
        assert_eq!(found(&places, &request), Ok(Some("c".into())));
        let basic = request.with("header:authorization", "Basic eHg=");
        assert_eq!(found(&places, &basic), Ok(Some("c".into())));
        assert_eq!(found(&["query:other"], &basic), Ok(None));
    }

    #[test]
    fn two_in_one_place_or_one_too_long_is_refused() {
        for place in ["header:authorization", "cookie:sid", "query:t"] {
            let twice = Request::new().with(place, "Bearer a").with(place, "Basic b");
            assert!(found(&[place], &twice).is_err(), "{place}");
        }
        assert!(found(&["query:t"], &Request::new().with("query:t", "123456789")).is_err());
        assert!(found(&["query:t"], &Request::new().with("query:t", "12345678")).is_ok());
    }
}
