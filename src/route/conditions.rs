//! The conditions of a route beyond host and path: method, headers, query.

use super::{HeaderLookup, MatchInput};
use crate::http::path;
use crate::plan::{Condition, RoutePlan};

/// Whether a request meets a route's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    /// Headers and query match, the method does not.
    AllButMethod,
    No,
}

/// The number of a route's conditions: one for its methods, one for each header, one for each query parameter.
pub(super) fn count(route: &RoutePlan) -> u32 {
    (usize::from(!route.methods.is_empty()) + route.headers.len() + route.query.len()) as u32
}

pub(super) fn fit<H: HeaderLookup + ?Sized>(route: &RoutePlan, request: &MatchInput<'_, H>) -> Fit {
    let holds = route.headers.iter().all(|condition| header_holds(request.header, condition))
        && route.query.iter().all(|condition| query_holds(request.query, condition));
    match holds {
        false => Fit::No,
        true if method_fits(route, request.method) => Fit::Yes,
        true => Fit::AllButMethod,
    }
}

/// Whether a route accepts this method. `GET` includes `HEAD` (RFC 9110, 9.3.2).
pub(super) fn method_fits(route: &RoutePlan, method: &[u8]) -> bool {
    let named = |name: &[u8]| route.methods.iter().any(|known| known.as_bytes() == name);
    route.methods.is_empty() || named(method) || (method == b"HEAD" && named(b"GET"))
}

/// Whether every request that meets `narrow`'s conditions provably meets those of `wide`.
pub(super) fn implied(wide: &RoutePlan, narrow: &RoutePlan) -> bool {
    let methods = match &narrow.methods[..] {
        [] => wide.methods.is_empty(),
        methods => methods.iter().all(|method| method_fits(wide, method.as_bytes())),
    };
    // A route for GET accepts HEAD too, and so does `wide` where it names GET.
    methods && all_implied(&wide.headers, &narrow.headers) && all_implied(&wide.query, &narrow.query)
}

fn all_implied(wide: &[Condition], narrow: &[Condition]) -> bool {
    wide.iter().all(|condition| {
        narrow.iter().any(|given| {
            given.name == condition.name && (condition.value.is_none() || condition.value == given.value)
        })
    })
}

/// Whether any field line of that name has the value, compared by bytes.
fn header_holds<H: HeaderLookup + ?Sized>(header: &H, condition: &Condition) -> bool {
    header.any(condition.name.as_bytes(), &mut |value| match &condition.value {
        Some(wanted) => value == wanted.as_bytes(),
        None => true,
    })
}

/// Whether any parameter of that name has the value; names and values are compared decoded.
fn query_holds(query: &[u8], condition: &Condition) -> bool {
    path::query_pairs(query).any(|(name, value)| {
        let holds = |wanted: &str| path::form_decoded(value).eq(wanted.bytes());
        path::form_decoded(name).eq(condition.name.bytes()) && condition.value.as_deref().is_none_or(holds)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(query: &str, name: &str, value: Option<&str>) -> bool {
        query_holds(query.as_bytes(), &Condition { name: name.into(), value: value.map(Into::into) })
    }

    #[test]
    fn a_query_condition_holds_for_the_decoded_value_of_any_parameter_of_that_name() {
        for query in ["beta=1", "a=2&beta=1", "beta=0&beta=1", "b%65ta=%31", "&&beta=1&", "beta=1&beta"] {
            assert!(holds(query, "beta", Some("1")), "{query}");
        }
        for query in
            ["", "beta", "beta=", "beta=10", "Beta=1", "xbeta=1", "beta==1", "a=beta=1", "beta=1;a=2"]
        {
            assert!(!holds(query, "beta", Some("1")), "{query}");
        }
    }

    #[test]
    fn a_query_condition_without_a_value_requires_presence_alone() {
        assert!(holds("a=1&beta", "beta", None));
        assert!(holds("beta=", "beta", None));
        assert!(!holds("alpha=beta", "beta", None));
    }

    #[test]
    fn plus_is_a_space_and_a_broken_percent_sequence_stands_for_itself() {
        assert!(holds("q=a+b%20c", "q", Some("a b c")));
        assert!(holds("q=a%2Bb", "q", Some("a+b")));
        assert!(holds("q=100%", "q", Some("100%")));
        assert!(holds("q=%zz%4", "q", Some("%zz%4")));
        assert!(holds("q=%C3%A4", "q", Some("ä")));
    }
}
