//! The response head as the client gets it.

use super::{cors, edits};
use crate::exchange::Transaction;
use crate::http::fields::{FieldName, Fields};
use crate::plan::RoutePlan;

pub use super::request_head::remove_hop_by_hop as clean;

/// Rewrites the fields of a response that are [`clean`]: the request's id set, `deprecated` and `response_headers`
/// applied.
pub fn prepare(transaction: &mut Transaction, route: &RoutePlan) {
    let Transaction { response, id, origin, .. } = transaction;
    let fields = &mut response.fields;
    fields.put(FieldName::XRequestId, id);
    tell(origin, fields, route);
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

/// What every response of a route says, the gateway's problems too.
pub fn tell(origin: &[u8], response: &mut Fields, route: &RoutePlan) {
    if let Some(cors) = &route.cors {
        cors::tell(cors, origin, response);
    }
}
