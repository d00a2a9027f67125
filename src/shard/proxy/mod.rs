//! Requests that go to an upstream, whatever protocol they came by: attempts, the request on its way there, the
//! response on its way back.

pub mod attempt;
mod connecting;
mod endpoint_choice;
mod replay;
pub mod request_body;
pub mod response;
pub mod response_body;
mod retry;
pub mod tunnel;
