//! The steps of a request, in the one order in which they run: [`WAY_IN`] before its route's action, [`WAY_OUT`] on
//! every response. Shards run these lists, and so do the offline tests of scripts: they differ in their [`StepHost`].
//!
//! A step that refuses returns an error, which becomes a problem document ([`answer::problem`]); one that answers ends the way
//! in ([`Decision::Answer`]). Both take the way out: `cors`, `deprecated` and `response_headers` hold on every response
//! of a route.

use std::borrow::Cow;
use std::sync::Arc;

use super::limits::LimitPhase;
use super::script::{BodyHandling, RouteScripts};
use super::{answer, cors, identity, ip, request_head, response_head, script};
use crate::auth::decide::Identity;
use crate::base::error::Error;
use crate::base::time::imf_fixdate;
use crate::exchange::Transaction;
use crate::http::fields::FieldName;
use crate::http::framing::Body;
use crate::limit::LimitReport;
use crate::plan::{Action, Jwt, Proxy, RoutePlan};

/// A step before the route's action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestStep {
    /// `ip`: which addresses may come.
    Ip,
    /// `cors`: answers preflights.
    Cors,
    /// Removes what a client may not say: hop-by-hop fields, those in which the gateway alone speaks, and offers to
    /// change to protocols that are not in `upgrade`.
    Clean,
    /// Rate limits with `before_auth`.
    EarlyLimits,
    /// `auth`: finds out who is calling, and tells the upstream.
    Auth,
    /// `require`: what the caller needs to have.
    Require,
    /// The other rate limits.
    Limits,
    /// `on_request` and `on_request_body` of the route's scripts.
    Scripts,
}

/// The steps before a route's action, in order. Who is asking, and which route it is, was found before
/// ([`super::receive`], [`super::find_route`]); the action comes after ([`request`]).
pub const WAY_IN: [RequestStep; 8] = [
    RequestStep::Ip,
    RequestStep::Cors,
    RequestStep::Clean,
    RequestStep::EarlyLimits,
    RequestStep::Auth,
    RequestStep::Require,
    RequestStep::Limits,
    RequestStep::Scripts,
];

/// A step between a response's head and the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseStep {
    /// Removes hop-by-hop fields.
    Clean,
    /// `on_response` and `on_response_body`. They do not see problem documents, nor what request scripts answered.
    Scripts,
    /// Where the request stands with its rate limits.
    LimitReport,
    /// `X-Request-Id`.
    RequestId,
    /// What the page that asked may do with the response.
    Cors,
    /// `deprecated`.
    Deprecated,
    /// `response_headers`.
    Headers,
}

/// The steps of a response, in order. Those up to [`ResponseStep::Scripts`] run when an upstream's head has arrived
/// ([`response_arrived`]), the others on every response, the gateway's own too ([`finish_response`]).
pub const WAY_OUT: [ResponseStep; 7] = [
    ResponseStep::Clean,
    ResponseStep::Scripts,
    ResponseStep::LimitReport,
    ResponseStep::RequestId,
    ResponseStep::Cors,
    ResponseStep::Deprecated,
    ResponseStep::Headers,
];

/// How many steps of [`WAY_OUT`] are for upstreams' responses alone.
const UPSTREAM_STEPS: usize = 2;

/// What steps need from where they run.
pub trait StepHost {
    /// Counts the request against the route's limits of this phase, and notes in `report` where it stands with them.
    ///
    /// # Errors
    /// `rate_limited`, `store_unavailable`.
    fn check_limits(
        &mut self,
        phase: LimitPhase,
        transaction: &Transaction,
        report: &mut LimitReport,
    ) -> impl Future<Output = Result<(), Error>>;

    /// Finds out who is calling a route that has `auth`.
    ///
    /// # Errors
    /// 401.
    fn identify(&mut self, route: &RoutePlan, transaction: &Transaction) -> Result<Identity, Error>;

    /// Reads the whole request body and returns it without its framing; of at most `max_bytes`, or, with `None`,
    /// reads it without keeping it.
    ///
    /// # Errors
    /// A body that is too large, malformed or late.
    fn read_body(&mut self, max_bytes: Option<usize>) -> impl Future<Output = Result<Vec<u8>, Error>>;

    /// Has this body go on in place of the one that was read.
    fn replace_body(&mut self, body: Vec<u8>);
}

/// The route of a request, with what its steps work with.
#[derive(Clone, Copy)]
pub struct RouteContext<'r> {
    pub plan: &'r RoutePlan,
    pub scripts: Option<RouteScripts<'r>>,
    /// The providers of tokens, by the plan's indices.
    pub jwts: &'r [Arc<Jwt>],
    /// Request fields in which the gateway tells of claims.
    pub owned_names: &'r [Arc<str>],
}

/// What the way in has come to.
pub enum Decision<'r> {
    /// The gateway answers: the head stands in the transaction, this is the body.
    Answer(Cow<'r, [u8]>),
    /// The request goes to an upstream.
    Forward(&'r Proxy),
}

/// Runs [`WAY_IN`], then the route's action as far as it needs no upstream.
///
/// # Errors
/// The step that refused the request.
pub async fn request<'r, H: StepHost>(
    route: &RouteContext<'r>,
    transaction: &mut Transaction,
    report: &mut LimitReport,
    host: &mut H,
) -> Result<Decision<'r>, Error> {
    for step in WAY_IN {
        let answer = match step {
            RequestStep::EarlyLimits | RequestStep::Limits if route.plan.rate_limits.is_empty() => None,
            RequestStep::EarlyLimits => {
                host.check_limits(LimitPhase::BeforeAuth, transaction, report).await?;
                None
            }
            RequestStep::Limits => {
                host.check_limits(LimitPhase::AfterAuth, transaction, report).await?;
                None
            }
            RequestStep::Scripts => match &route.scripts {
                Some(scripts) => scripts.on_request(transaction, host).await?,
                None => None,
            },
            step => run_request_step(step, route, transaction, host)?,
        };
        if let Some(body) = answer {
            return Ok(Decision::Answer(Cow::Owned(body)));
        }
    }
    match &route.plan.action {
        Action::Proxy(proxy) => Ok(Decision::Forward(proxy)),
        Action::Respond(respond) => {
            answer::respond(transaction, respond);
            own_response(route, transaction, &respond.body).map(Decision::Answer)
        }
        Action::Redirect(redirect) => {
            answer::redirect(transaction, redirect);
            own_response(route, transaction, b"").map(Decision::Answer)
        }
    }
}

/// Runs a step that never waits. Returns the body of its answer, if it answers.
fn run_request_step<H: StepHost>(
    step: RequestStep,
    route: &RouteContext<'_>,
    transaction: &mut Transaction,
    host: &mut H,
) -> Result<Option<Vec<u8>>, Error> {
    match step {
        RequestStep::Ip => ip::check(&route.plan.ip, transaction.meta.client.ip)?,
        RequestStep::Cors => {
            if route.plan.cors.is_some() && cors::preflight(&transaction.request).is_some() {
                cors::answer_preflight(&mut transaction.response);
                return Ok(Some(Vec::new()));
            }
        }
        RequestStep::Clean => {
            let client = transaction.meta.client;
            request_head::clean(&mut transaction.request.fields, client, route.owned_names);
            request_head::restrict_upgrade(&mut transaction.meta.upgrade, &route.plan.upgrade);
        }
        RequestStep::Auth => {
            if !route.plan.auth.is_empty() {
                let identity = host.identify(route.plan, transaction)?;
                identity::accept(identity, route.plan, route.jwts, transaction);
            }
        }
        RequestStep::Require => identity::require(route.plan, transaction)?,
        // Those may wait: see the caller.
        RequestStep::EarlyLimits | RequestStep::Limits | RequestStep::Scripts => {}
    }
    Ok(None)
}

/// A response of the route's own, which its response scripts may change.
fn own_response<'r>(
    route: &RouteContext<'r>,
    transaction: &mut Transaction,
    body: &'r [u8],
) -> Result<Cow<'r, [u8]>, Error> {
    let changed = match &route.scripts {
        Some(scripts) => scripts.on_own(transaction, body)?,
        None => None,
    };
    Ok(changed.map_or(Cow::Borrowed(body), Cow::Owned))
}

/// Runs the steps that only an upstream's response takes. Says whether its body can stream to the client, or has to
/// be here as a whole for [`response_body`]. `framing`: how the body arrives.
///
/// # Errors
/// A script that failed or denied.
pub fn response_arrived(
    route: &RouteContext<'_>,
    transaction: &mut Transaction,
    framing: Body,
) -> Result<BodyHandling, Error> {
    let mut handling = BodyHandling::Stream;
    for step in &WAY_OUT[..UPSTREAM_STEPS] {
        match (step, &route.scripts) {
            (ResponseStep::Clean, _) => response_head::clean(&mut transaction.response.fields),
            (ResponseStep::Scripts, Some(scripts)) => {
                handling = scripts.on_response_head(transaction, framing)?;
            }
            _ => {}
        }
    }
    Ok(handling)
}

/// Runs the scripts' body hooks on a response body that is all here, without its framing; returns what is sent.
///
/// # Errors
/// A script that failed or denied, a body that is too large.
pub fn response_body(
    route: &RouteContext<'_>,
    transaction: &mut Transaction,
    body: Vec<u8>,
) -> Result<Vec<u8>, Error> {
    match &route.scripts {
        Some(scripts) => scripts.on_response_body(transaction, body),
        None => Ok(body),
    }
}

/// Runs the steps that every response takes. `route`: where one was found.
pub fn finish_response(route: Option<&RoutePlan>, transaction: &mut Transaction, report: &LimitReport) {
    for step in &WAY_OUT[UPSTREAM_STEPS..] {
        let Transaction { response, id, origin, request, .. } = &mut *transaction;
        let fields = &mut response.fields;
        match (step, route) {
            (ResponseStep::LimitReport, _) => report.write_to(fields),
            (ResponseStep::RequestId, _) => fields.put(FieldName::XRequestId, id),
            (ResponseStep::Cors, Some(RoutePlan { cors: Some(cors), .. })) => {
                cors::tell(cors, request, origin, response);
            }
            (ResponseStep::Deprecated, Some(RoutePlan { deprecated: Some(deprecated), .. })) => {
                response_head::deprecate(deprecated, fields);
            }
            (ResponseStep::Headers, Some(route)) => {
                response_head::apply_edits(&route.response_headers, fields);
            }
            _ => {}
        }
    }
    response_head::drop_forbidden_length(transaction);
}

/// The way out of a response that the gateway makes itself and whose body is all here: the steps that every response
/// takes, then what frames and dates it. `now_s`: Unix seconds.
pub fn finish_whole(
    route: Option<&RoutePlan>,
    transaction: &mut Transaction,
    report: &LimitReport,
    body_bytes: usize,
    now_s: u64,
) {
    finish_response(route, transaction, report);
    let response = &mut transaction.response;
    add_date(&mut response.fields, now_s);
    if script::is_bodiless(response.status()) {
        response.fields.remove_id(FieldName::ContentLength);
    } else {
        script::frame(&mut response.fields, body_bytes);
    }
}

/// Adds `Date` where a response has none (RFC 9110, 6.6.1).
pub fn add_date(fields: &mut crate::http::fields::Fields, now_s: u64) {
    if fields.get(FieldName::Date).is_none() {
        fields.add(b"Date", &imf_fixdate(now_s));
    }
}
