//! Requests that are proxied: attempts, the request on its way to an upstream, the response on its way back.

pub mod attempt;
pub mod request_body;
pub mod response;
pub mod response_body;
pub mod tunnel;
