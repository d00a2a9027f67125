//! The response head as the client gets it.

use super::edits;
use crate::config::plan::Route;
use crate::http::fields::{Fields, Name};

pub use super::onward::remove_hop_by_hop as clean;

/// Rewrites the fields of a response that are [`clean`]: the request's id set, `deprecated` and `response_headers`
/// applied.
pub fn prepare(fields: &mut Fields, route: &Route, request_id: &[u8]) {
    fields.put(Name::XRequestId, request_id);
    if let Some(deprecated) = &route.deprecated {
        fields.set(b"Deprecation", deprecated.deprecation.as_bytes());
        if let Some(sunset) = &deprecated.sunset {
            fields.set(b"Sunset", sunset.as_bytes());
        }
        if let Some(link) = &deprecated.link {
            fields.add(b"Link", link.as_bytes());
        }
    }
    edits::apply(&route.response_headers, fields);
}
