//! The objects that hooks receive and return. `req`, `res` and their headers are empty handles: they read and change the
//! transaction in the call stage.

mod body;
mod headers;
mod query;
mod reply;
mod request;
mod response;

use std::rc::Rc;

use super::call_stage::CallStage;

pub(super) use headers::{RequestSide, ResponseSide, refusal as header_refusal};
pub(super) use query::encoded;
pub use reply::{ScriptReply, ScriptReplyBody};
pub(super) use request::RequestObject;
pub(super) use response::ResponseObject;

pub(super) fn register(engine: &mut rhai::Engine, stage: &Rc<CallStage>) {
    headers::register(engine, stage);
    reply::register(engine);
    request::register(engine, stage);
    response::register(engine, stage);
}
