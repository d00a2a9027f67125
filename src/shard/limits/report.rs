//! What a response tells of the limits that its request met.

use std::cell::RefCell;
use std::rc::Rc;

use super::route::Limit;
use crate::http::fields::Fields;
use crate::limit::{Dialect, Rule, Standing, Verdict};

/// Kept from request to request; empty, and without any cost, where there are no limits.
#[derive(Default)]
pub struct LimitReport {
    met: Vec<Met>,
    /// Room for a value.
    text: RefCell<String>,
}

struct Met {
    limit: Rc<Limit>,
    dialect: Dialect,
    rule: Rule,
    verdict: Verdict,
}

impl Met {
    fn standing(&self) -> Standing<'_> {
        Standing { name: self.limit.name(), rule: self.rule, verdict: self.verdict }
    }
}

impl LimitReport {
    pub fn forget(&mut self) {
        self.met.clear();
    }

    /// A limit without `headers` is not told of.
    pub(super) fn add(&mut self, limit: &Rc<Limit>, rule: Rule, verdict: Verdict) {
        if let Some(dialect) = limit.dialect() {
            self.met.push(Met { limit: limit.clone(), dialect, rule, verdict });
        }
    }

    /// Writes the fields into a response, in place of those of the same name.
    pub fn write_to(&self, fields: &mut Fields) {
        let mut write = |dialect: Dialect, standings: &[Standing<'_>]| {
            let put = |name: &str, value: &str| fields.set(name.as_bytes(), value.as_bytes());
            dialect.write(standings, &mut self.text.borrow_mut(), put);
        };
        match &self.met[..] {
            [] => {}
            [only] => write(only.dialect, &[only.standing()]),
            several => {
                for dialect in [Dialect::XRateLimit, Dialect::Ietf, Dialect::Kong] {
                    let of_dialect = several.iter().filter(|met| met.dialect == dialect);
                    write(dialect, &of_dialect.map(Met::standing).collect::<Vec<_>>());
                }
            }
        }
    }
}
