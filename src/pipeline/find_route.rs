//! The route of a request.

use std::sync::Arc;

use super::cors;
use crate::base::error::{Error, Reason};
use crate::exchange::Transaction;
use crate::http::fields::Fields;
use crate::plan::RoutePlan;
use crate::route::{self, Found, RouteTable};

struct FieldLookup<'a>(&'a Fields);

impl route::HeaderLookup for FieldLookup<'_> {
    fn any(&self, lower_name: &[u8], pred: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.find_all(lower_name).any(pred)
    }
}

/// The index of the request's route, whose captures are then in the transaction. A preflight goes to the route of what
/// it asks for, if that answers preflights.
///
/// # Errors
/// `no_route`, `method_not_allowed`.
pub fn find_route(
    table: &RouteTable,
    routes: &[Arc<RoutePlan>],
    transaction: &mut Transaction,
) -> Result<usize, Error> {
    let Transaction { request, host, target, path_bytes, captures, .. } = transaction;
    let mut input = route::MatchInput {
        host,
        path: &target[..*path_bytes],
        query: target.get(*path_bytes + 1..).unwrap_or_default(),
        method: request.method_bytes(),
        header: &FieldLookup(&request.fields),
    };
    if let Some(method) = cors::preflight(request) {
        let own_method = std::mem::replace(&mut input.method, method);
        match table.find(&input, captures) {
            Found::Route(route) if routes[route].cors.is_some() => return Ok(route),
            _ => input.method = own_method,
        }
    }
    match table.find(&input, captures) {
        Found::Route(route) => Ok(route),
        Found::None => Err(Error::client(Reason::NoRoute, "no route matches this host and path")),
        Found::MethodNotAllowed => {
            let mut allow = Vec::new();
            table.allowed(&input, &mut allow);
            let detail = "no route for this path takes this method";
            let mut error = Error::client(Reason::MethodNotAllowed, detail);
            error.fields.push(("Allow", String::from_utf8_lossy(&allow).into_owned()));
            Err(error)
        }
    }
}
