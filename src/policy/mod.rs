//! What a route does to a request and its response: one file a policy, each a plain function over heads.
//!
//! On the way in, in this order: [`client`] (who is asking), [`onward`] (the head that the upstream gets),
//! [`edits`] (`request_headers`). On the way out: [`back`] (the head that the client gets, `deprecated`),
//! [`edits`] (`response_headers`).

pub mod back;
pub mod client;
pub mod edits;
pub mod onward;
