//! What a route does to a request and its response: [`steps`] is the ordered list, complete, on the way in and on the
//! way out; beside it one file a policy, each a plain function over heads.
//!
//! Nothing here does I/O. What a step needs from where it runs (who is calling, tokens of a rate limit, the request's
//! body) it asks of a [`steps::StepHost`]: a shard has one, and so have the offline tests of scripts.

pub mod answer;
pub mod cors;
pub mod find_route;
pub mod identity;
pub mod ip;
pub mod limits;
pub mod receive;
pub mod request_head;
pub mod response_head;
pub mod script;
pub mod steps;
