//! What the steps of the pipeline get from a test: the identity that it gives, limits with buckets of its own, its body.

use std::rc::Rc;
use std::sync::Arc;

use super::case::TestCase;
use super::host::TestState;
use crate::auth::decide::Identity;
use crate::auth::jwt::Claims;
use crate::base::error::Error;
use crate::exchange::Transaction;
use crate::limit::LimitReport;
use crate::pipeline::limits::{ConsumerRates, LimitPhase};
use crate::pipeline::script;
use crate::pipeline::steps::StepHost;
use crate::plan::{AuthMethod, RoutePlan};

pub struct TestStepHost<'a> {
    pub state: &'a TestState,
    pub route: &'a RoutePlan,
    pub rates: &'a ConsumerRates,
    pub test_case: &'a TestCase,
    /// As it goes on.
    pub body: Vec<u8>,
}

impl StepHost for TestStepHost<'_> {
    async fn check_limits(
        &mut self,
        phase: LimitPhase,
        transaction: &Transaction,
        report: &mut LimitReport,
    ) -> Result<(), Error> {
        self.state.limits.check(phase, self.route, self.rates, transaction, report, self.state.unix_ms())
    }

    /// Credentials are not looked at: whoever the test says is calling is calling.
    fn identify(&mut self, route: &RoutePlan, _: &Transaction) -> Result<Identity, Error> {
        let TestCase { consumer, claims, .. } = self.test_case;
        let by_token = route.auth.iter().copied().find(|method| matches!(method, AuthMethod::Jwt(_)));
        Ok(Identity {
            method: by_token.filter(|_| claims.is_some()).unwrap_or(AuthMethod::Key),
            consumer: consumer.clone().map(Arc::new),
            claims: claims.clone().map(|map| Rc::new(Claims { map, exp_s: 0, bytes: 0 })),
        })
    }

    async fn read_body(&mut self, max_bytes: Option<usize>) -> Result<Vec<u8>, Error> {
        let body = std::mem::take(&mut self.body);
        match max_bytes {
            Some(max_bytes) if body.len() > max_bytes => Err(script::too_large()),
            Some(_) => Ok(body),
            None => Ok(Vec::new()),
        }
    }

    fn replace_body(&mut self, body: Vec<u8>) {
        self.body = body;
    }
}
