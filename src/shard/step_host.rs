//! What the steps of the pipeline get from a shard: its rate limits, its credentials, the request's body.
//!
//! `ringway test` has another host for the same steps; whatever both must agree on belongs in the pipeline, not here.

use super::Shard;
use super::generation::LiveGeneration;
use super::held::HeldBytes;
use super::limits::RouteLimits;
use super::protocol::{BodySource, ResponseSink, WholeBody};
use super::request_log::RequestLog;
use crate::auth::decide::{Authenticator, Identity};
use crate::base::error::{Error, Reason};
use crate::exchange::Transaction;
use crate::limit::LimitReport;
use crate::pipeline::identity;
use crate::pipeline::limits::LimitPhase;
use crate::pipeline::steps::StepHost;
use crate::plan::RoutePlan;

/// Lives for the way in of one request.
pub struct ShardStepHost<'t, 's, 'r> {
    pub shard: &'t Shard,
    pub live: &'t LiveGeneration,
    /// Those of the route, if it has any.
    pub limits: Option<&'t RouteLimits>,
    pub source: &'t mut BodySource<'s>,
    pub sink: &'t mut ResponseSink<'r>,
    pub log: &'t RequestLog,
    /// When the exchange must be over, by the shard's coarse clock.
    pub until_ms: u64,
    /// Counts the body that was read.
    pub held: Option<HeldBytes>,
}

impl StepHost for ShardStepHost<'_, '_, '_> {
    async fn check_limits(
        &mut self,
        phase: LimitPhase,
        transaction: &Transaction,
        report: &mut LimitReport,
    ) -> Result<(), Error> {
        match self.limits {
            Some(limits) => {
                let checked = limits.check(&self.shard.limits, phase, transaction, report);
                self.shard.deadlines.within(self.until_ms, checked).await.unwrap_or_else(|| {
                    let detail = "the store was waited for when the route's timeout passed";
                    Err(Error::gateway(Reason::StoreUnavailable, detail))
                })
            }
            None => Ok(()),
        }
    }

    fn identify(&mut self, route: &RoutePlan, transaction: &Transaction) -> Result<Identity, Error> {
        let dynamic_keys = self.shard.dynamic_keys.borrow();
        let mut authenticator = Authenticator {
            providers: &self.live.providers.borrow(),
            consumers: &self.live.consumers,
            dynamic_keys: dynamic_keys.as_ref(),
            key_places: &self.live.plan.api_keys.from,
            tokens: &mut self.shard.tokens.borrow_mut(),
        };
        let now_s = self.shard.unix_s();
        identity::identify(&mut authenticator, route, transaction, now_s).map_err(
            |(error, unknown_key_of)| {
                // The token may be signed by a key newer than our set: control fetches it, this request is refused all
                // the same.
                let mut reports = self.shard.unknown_key_reports.borrow_mut();
                for provider in unknown_key_of {
                    if reports.is_due(provider, now_s) {
                        (self.shard.unknown_key)(provider);
                    }
                }
                error
            },
        )
    }

    /// `None`: the body is read and dropped, because the script has replied without it.
    async fn read_body(&mut self, max_bytes: Option<usize>) -> Result<Vec<u8>, Error> {
        let Some(max_bytes) = max_bytes else {
            self.source.read_payload(self.sink, self.log, |_| Ok(())).await?;
            return Ok(Vec::new());
        };
        let (body, held) = self.source.read_held(self.shard, self.sink, self.log, max_bytes).await?;
        self.held = Some(held);
        Ok(body)
    }

    /// From here on the client's connection has no part in the request's body.
    fn replace_body(&mut self, bytes: Vec<u8>) {
        *self.source =
            BodySource::Whole(WholeBody { is_sent: bytes.is_empty(), bytes, _held: self.held.take() });
    }
}
