//! What a route does to a request and its response: one file a policy, each a plain function over heads.
//!
//! On the way in, in this order: [`client`] (who is asking), [`request_head::clean`] (what a client may not say), request
//! scripts ([`hooks`]; [`scripted`] frames what they make), [`forward`] (where it goes; [`request_head::prepare`], what the
//! gateway says; [`edits`], `request_headers`). On the way out: [`response_head::clean`], response scripts, [`response_head::prepare`]
//! (the request's id, `deprecated`), [`edits`] (`response_headers`). [`answer`] is what the gateway itself says.

pub mod answer;
pub mod client;
pub mod cors;
pub mod edits;
pub mod forward;
pub mod identity;
pub mod ip;
pub mod limits;
pub mod request_head;
pub mod response_head;
pub mod script;
pub mod scripted;
