//! What a route does to a request and its response: one file a policy, each a plain function over heads.
//!
//! On the way in, in this order: [`client`] (who is asking), [`onward::clean`] (what a client may not say), request
//! scripts ([`hooks`]; [`scripted`] frames what they make), [`forward`] (where it goes; [`onward::prepare`], what the
//! gateway says; [`edits`], `request_headers`). On the way out: [`back::clean`], response scripts, [`back::prepare`]
//! (the request's id, `deprecated`), [`edits`] (`response_headers`). [`answer`] is what the gateway itself says.

pub mod access;
pub mod answer;
pub mod back;
pub mod client;
pub mod cors;
pub mod edits;
pub mod forward;
pub mod hooks;
pub mod identity;
pub mod limits;
pub mod onward;
pub mod scripted;
