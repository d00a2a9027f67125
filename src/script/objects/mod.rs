//! The objects that hooks are given and answer with. They are handles without content of their own: all of them
//! read and change the one transaction on the stage.

mod body;
mod headers;
mod query;
mod reply;
mod request;
mod response;

use std::rc::Rc;

use super::call_stage::CallStage;

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
