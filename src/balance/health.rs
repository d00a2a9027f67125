//! What the results of health checks make of an endpoint.

use crate::plan::HealthPlan;

/// The health of an endpoint by its checks. Without a result yet it counts as healthy.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckedHealth {
    /// `None`: no check has ended yet.
    healthy: Option<bool>,
    /// Results in a row that say the opposite.
    contrary: u32,
}

impl CheckedHealth {
    /// Takes the result of a check. The first one decides alone, so that a gateway that starts learns at once; after it,
    /// `healthy` successes or `unhealthy` failures in a row change the state. Returns whether it has changed.
    pub fn record(&mut self, plan: &HealthPlan, succeeded: bool) -> bool {
        let was_healthy = self.is_healthy();
        let needed = if succeeded { plan.healthy } else { plan.unhealthy };
        self.contrary = if self.healthy == Some(succeeded) { 0 } else { self.contrary + 1 };
        if self.healthy.is_none() || self.contrary >= needed {
            *self = CheckedHealth { healthy: Some(succeeded), contrary: 0 };
        }
        was_healthy != self.is_healthy()
    }

    /// Whether it may get requests.
    pub fn is_healthy(&self) -> bool {
        self.healthy != Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::NoneHealthy;
    use std::time::Duration;

    fn states(results: &[bool]) -> Vec<bool> {
        let plan = HealthPlan {
            path: "/".into(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            healthy: 2,
            unhealthy: 3,
            status: vec![200..=399],
            none_healthy: NoneHealthy::TryAll,
        };
        let mut health = CheckedHealth::default();
        let record = |result: &bool| {
            let before = health.is_healthy();
            assert_eq!(health.record(&plan, *result), before != health.is_healthy());
            health.is_healthy()
        };
        results.iter().map(record).collect()
    }

    #[test]
    fn the_first_result_decides_and_then_only_a_row_of_others_does() {
        for (results, expected) in [
            (
                &[true, false, false, true, false, false, false][..],
                &[true, true, true, true, true, true, false][..],
            ),
            (&[false, true, false, true, true], &[false, false, false, false, true]),
            (&[false, false, false, true, true], &[false, false, false, false, true]),
        ] {
            assert_eq!(states(results), expected, "{results:?}");
        }
        assert!(CheckedHealth::default().is_healthy());
    }
}
