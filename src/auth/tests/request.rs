//! A request, as far as credentials stand in it.

use std::borrow::Cow;

use super::super::plan::Place;
use super::super::token::Lookup;

#[derive(Clone, Default)]
pub struct Request(Vec<(Place, Vec<u8>)>);

impl Request {
    pub fn new() -> Request {
        Request::default()
    }

    pub fn with(mut self, place: &str, value: impl AsRef<[u8]>) -> Request {
        self.0.push((Place::parse(place).unwrap(), value.as_ref().to_vec()));
        self
    }

    pub fn bearer(self, token: &[u8]) -> Request {
        self.with("header:authorization", [b"Bearer ", token].concat())
    }
}

impl Lookup for Request {
    fn each<'a>(&'a self, place: &Place, see: &mut dyn FnMut(Cow<'a, [u8]>)) {
        for (_, value) in self.0.iter().filter(|(at, _)| at == place) {
            see(Cow::Borrowed(value));
        }
    }
}
