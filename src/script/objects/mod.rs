//! The objects that hooks are given and answer with. They are handles without content of their own: all of them
//! read and change the one transaction on the stage.

mod body;
mod headers;
mod query;
mod reply;
mod request;
mod response;

use std::rc::Rc;

use super::stage::Stage;

pub(super) use query::encoded;
pub use reply::{Reply, ReplyBody};
pub(super) use request::Request;
pub(super) use response::Response;

pub(super) fn register(engine: &mut rhai::Engine, stage: &Rc<Stage>) {
    headers::register(engine, stage);
    reply::register(engine);
    request::register(engine, stage);
    response::register(engine, stage);
}
