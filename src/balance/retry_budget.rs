//! How many retries an upstream gets: a share of its requests, so that retries cannot multiply an outage's load.

use std::cell::Cell;

/// What a budget begins with, so that the first requests may be retried too.
const FIRST_RETRIES: f64 = 10.0;
/// What it saves up at most: the requests in flight at an endpoint fail together when it dies.
const MAX_RETRIES: f64 = 100.0;

/// The retries that are left.
#[derive(Debug)]
pub struct RetryBudget {
    left: Cell<f64>,
}

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        RetryBudget { left: Cell::new(FIRST_RETRIES) }
    }
}

impl RetryBudget {
    /// A request has come, of which `share` may be retries.
    pub fn add_request(&self, share: f64) {
        self.left.set((self.left.get() + share).min(MAX_RETRIES));
    }

    /// Whether a retry is left. Of a share of 0, none ever is.
    pub fn allows(&self, share: f64) -> bool {
        share > 0.0 && self.left.get() >= 1.0
    }

    /// A retry is made.
    pub fn take(&self) {
        self.left.set((self.left.get() - 1.0).max(0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `requests` are retried where all fail.
    fn retried(budget: &RetryBudget, share: f64, requests: usize) -> usize {
        let is_retried = |_: &usize| {
            budget.add_request(share);
            let allows = budget.allows(share);
            if allows {
                budget.take();
            }
            allows
        };
        (0..requests).filter(is_retried).count()
    }

    #[test]
    fn after_the_first_ten_a_share_of_the_requests_is_retried() {
        for (share, expected) in [(0.0, 0), (0.25, 260), (0.5, 510), (1.0, 1000)] {
            let count = retried(&RetryBudget::default(), share, 1000);
            assert!(count.abs_diff(expected) <= 1, "{share}: {count}");
        }
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let budget = RetryBudget::default();
        (0..10_000).for_each(|_| budget.add_request(0.5));
        let burst = (0..10_000).take_while(|_| budget.allows(0.5)).inspect(|_| budget.take()).count();
        assert_eq!(burst, 100);
    }
}
