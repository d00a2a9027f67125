//! A request with values in the places of credentials.

use std::borrow::Cow;

use super::super::token::CredentialSource;
use crate::auth::parse::credential_place;
use crate::plan::CredentialPlace;

#[derive(Clone, Default)]
pub struct Request(Vec<(CredentialPlace, Vec<u8>)>);

impl Request {
    pub fn new() -> Request {
        Request::default()
    }

    pub fn with(mut self, place: &str, value: impl AsRef<[u8]>) -> Request {
        self.0.push((credential_place(place).unwrap(), value.as_ref().to_vec()));
        self
    }

    pub fn bearer(self, token: &[u8]) -> Request {
        self.with("header:authorization", [b"Bearer ", token].concat())
    }
}

impl CredentialSource for Request {
    fn each<'a>(&'a self, place: &CredentialPlace, see: &mut dyn FnMut(Cow<'a, [u8]>)) {
        for (_, value) in self.0.iter().filter(|(at, _)| at == place) {
            see(Cow::Borrowed(value));
        }
    }
}
