//! `ip`: which addresses may come.

use std::net::IpAddr;

use crate::base::error::{Error, Reason};
use crate::plan::IpRules;

/// Refuses an address that `deny` has, and one that `allow` has not where it has any.
///
/// # Errors
/// 403 `ip_denied`.
pub fn check(rules: &IpRules, client: IpAddr) -> Result<(), Error> {
    let IpRules { allow, deny } = rules;
    let is_in = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&client));
    if is_in(deny) || !(allow.is_empty() || is_in(allow)) {
        return Err(Error::client(Reason::IpDenied, "this address may not come here"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_addresses_go_before_allowed_ones_and_no_list_allows_all() {
        let nets = |list: &[&str]| list.iter().map(|net| net.parse().expect("a net")).collect();
        let may = |allow: &[&str], deny: &[&str], ip: &str| {
            let rules = IpRules { allow: nets(allow), deny: nets(deny) };
            check(&rules, ip.parse().expect("an address")).is_ok()
        };
        assert!(may(&[], &[], "192.0.2.1"));
        assert!(may(&["10.0.0.0/8"], &[], "10.1.2.3"));
        assert!(!may(&["10.0.0.0/8"], &[], "192.0.2.1"));
        assert!(!may(&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.2.3"));
        assert!(!may(&[], &["fd00::/8"], "fd00::1"));
        assert!(may(&[], &["fd00::/8"], "10.1.2.3"));
    }
}
