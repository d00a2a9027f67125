//! The response head as the client gets it: what every response of a route says, whoever has made it.

use crate::exchange::Transaction;
use crate::http::fields::Fields;
use crate::plan::Deprecated;

pub use super::request_head::{apply_edits, remove_hop_by_hop as clean};

/// `deprecated`: `Deprecation` (RFC 9745), `Sunset` (RFC 8594), `Link`.
pub fn deprecate(deprecated: &Deprecated, fields: &mut Fields) {
    fields.set(b"Deprecation", deprecated.deprecation.as_bytes());
    if let Some(sunset) = &deprecated.sunset {
        fields.set(b"Sunset", sunset.as_bytes());
    }
    if let Some(link) = &deprecated.link {
        fields.add(b"Link", link.as_bytes());
    }
}

/// Removes a length that the status rules out (RFC 9110, 8.6).
pub fn drop_forbidden_length(transaction: &mut Transaction) {
    if matches!(transaction.response.status(), 100..=199 | 204) {
        transaction.response.fields.remove_id(crate::http::fields::FieldName::ContentLength);
    }
}
