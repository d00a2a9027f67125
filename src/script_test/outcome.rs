//! The map that `run` gives back: the answer, and what the upstream got.

use std::collections::BTreeMap;
use std::sync::Arc;

use rhai::{Array, Dynamic, Map};

use crate::base::error::Reason;
use crate::http::fields::Fields;
use crate::http::head::ResponseHead;

/// How a request ended.
pub struct TestOutcome {
    pub response: ResponseHead,
    pub body: Vec<u8>,
    /// `None`: the request went to no upstream.
    pub sent: Option<SentRequest>,
    /// Of an answer that the gateway made of an error.
    pub reason: Option<Reason>,
    /// The errors of scripts, one a line.
    pub error: Option<String>,
    pub log: Vec<String>,
}

/// A request as an upstream gets it.
pub struct SentRequest {
    pub method: Vec<u8>,
    /// Path and query.
    pub target: Vec<u8>,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub upstream: Arc<str>,
}

impl TestOutcome {
    pub fn into_map(self) -> Map {
        let log = self.log.into_iter().map(Dynamic::from).collect::<Array>();
        Map::from([
            ("status".into(), i64::from(self.response.status()).into()),
            ("headers".into(), headers(&self.response.fields).into()),
            ("json".into(), serde_json::from_slice::<Dynamic>(&self.body).unwrap_or_default()),
            ("body".into(), text_or_blob(self.body)),
            ("request".into(), self.sent.map_or(Dynamic::UNIT, |sent| sent.into_map().into())),
            ("reason".into(), self.reason.map_or(Dynamic::UNIT, |reason| reason.as_str().into())),
            ("error".into(), self.error.map_or(Dynamic::UNIT, Dynamic::from)),
            ("log".into(), log.into()),
        ])
    }
}

impl SentRequest {
    fn into_map(self) -> Map {
        let target = String::from_utf8_lossy(&self.target);
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        Map::from([
            ("method".into(), String::from_utf8_lossy(&self.method).as_ref().into()),
            ("path".into(), path.into()),
            ("query".into(), query.into()),
            ("headers".into(), headers(&self.fields).into()),
            ("body".into(), text_or_blob(self.body)),
            ("upstream".into(), (*self.upstream).into()),
        ])
    }
}

/// By name in lower case; of a repeated one the values, joined as RFC 9110, 5.3 has it.
fn headers(fields: &Fields) -> Map {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for field in fields.iter() {
        let value = String::from_utf8_lossy(field.value);
        joined
            .entry(String::from_utf8_lossy(field.name).to_ascii_lowercase())
            .and_modify(|values| {
                values.push_str(", ");
                values.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    joined.into_iter().map(|(name, value)| (name.as_str().into(), value.into())).collect()
}

fn text_or_blob(bytes: Vec<u8>) -> Dynamic {
    match String::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(error) => Dynamic::from_blob(error.into_bytes()),
    }
}
