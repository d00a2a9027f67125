//! `[upstream.NAME.retry]`: when a request whose attempt failed is sent to another endpoint.

use super::problems::{Problems, ValueError, quoted};
use super::section::Section;
use crate::plan::RetryPlan;

const MAX_ATTEMPTS: i64 = 10;

/// A failure that `on` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RetriedFailure {
    Connect,
    Reset,
    Timeout,
    Status(u16),
}

/// The retries of an upstream's table. Without it, connects alone are tried again.
pub(super) fn retry(upstream: &Section<'_>, problems: &mut Problems) -> RetryPlan {
    if !upstream.has("retry") {
        return RetryPlan::CONNECTS_ONLY;
    }
    let table = upstream.section("retry");
    let on = match table.has("on") {
        true => table.parsed_list("on", problems, failure),
        false => vec![RetriedFailure::Connect, RetriedFailure::Reset],
    };
    let mut on_status: Vec<u16> = on.iter().filter_map(|failure| failure.status()).collect();
    on_status.sort_unstable();
    on_status.dedup();
    RetryPlan {
        attempts: table.integer("attempts", 0..=MAX_ATTEMPTS, problems).unwrap_or(1) as usize,
        on_connect: on.contains(&RetriedFailure::Connect),
        on_reset: on.contains(&RetriedFailure::Reset),
        on_timeout: on.contains(&RetriedFailure::Timeout),
        on_status,
        budget: Some(table.fraction("budget", problems).unwrap_or(0.2)),
    }
}

impl RetriedFailure {
    fn status(self) -> Option<u16> {
        match self {
            RetriedFailure::Status(status) => Some(status),
            RetriedFailure::Connect | RetriedFailure::Reset | RetriedFailure::Timeout => None,
        }
    }
}

/// # Errors
/// What is neither a known failure nor the status of an error.
fn failure(text: &str) -> Result<RetriedFailure, ValueError> {
    match text {
        "connect" => Ok(RetriedFailure::Connect),
        "reset" => Ok(RetriedFailure::Reset),
        "timeout" => Ok(RetriedFailure::Timeout),
        _ => match text.parse() {
            Ok(status @ 400..=599) if text.len() == 3 => Ok(RetriedFailure::Status(status)),
            _ => Err(ValueError::new(
                format!("`on` cannot have {}", quoted(text)),
                "write \"connect\", \"reset\", \"timeout\", or a status from \"400\" to \"599\"",
            )),
        },
    }
}
