//! Where Redis is: the `url` of `[store]`.

use std::fmt;
use std::path::{Path, PathBuf};

use ::redis::{ConnectionInfo, IntoConnectionInfo};

/// `redis://`, `rediss://` (TLS), `redis+unix:///path` or `redis-cluster://a:1,b:2`. Its `Debug` form does not show the
/// password.
#[derive(Clone)]
pub struct Address {
    url: String,
    /// One; for a cluster, its seeds, which name the others.
    pub(super) nodes: Vec<ConnectionInfo>,
    pub(super) cluster: bool,
    ca: Option<PathBuf>,
}

impl Address {
    /// `redis://[user][:password@]host[:port][/db]`, the same with `rediss` and an optional `?ca=/path.pem`,
    /// `redis+unix:///path[?db=1&user=…&pass=…]`, or `redis-cluster://[user][:password@]host[:port],host…`.
    /// Reserved characters in user and password are percent-encoded.
    ///
    /// # Errors
    /// What is wrong, without any part of the URL, which may contain a secret.
    pub fn parse(url: &str) -> Result<Address, &'static str> {
        let (scheme, rest) =
            url.split_once("://").ok_or("a store's URL begins with a scheme, such as redis://")?;
        if rest.contains('#') {
            return Err("a store's URL has no fragment (a `#` in a password is written %23)");
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        match scheme {
            "redis" => {
                parameters(query, &[])?;
                Ok(Address::one(url, node(url)?, None))
            }
            "rediss" => {
                let ca = parameters(query, &["ca"])?.into_iter().next().map(|(_, path)| path.into());
                Ok(Address::one(url, node(&format!("rediss://{place}"))?, ca))
            }
            "redis+unix" => {
                parameters(query, &["db", "user", "pass"])?;
                if !place.starts_with('/') || place.len() == 1 {
                    return Err("redis+unix:// is followed by an absolute path");
                }
                Ok(Address::one(url, node(url)?, None))
            }
            "redis-cluster" => {
                parameters(query, &[])?;
                Ok(Address { url: url.into(), nodes: cluster(place)?, cluster: true, ca: None })
            }
            _ => Err("a store is redis://, rediss://, redis+unix:// or redis-cluster://"),
        }
    }

    fn one(url: &str, node: ConnectionInfo, ca: Option<PathBuf>) -> Address {
        Address { url: url.into(), nodes: vec![node], cluster: false, ca }
    }

    /// The certificates to trust instead of the system's, in PEM.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca.as_deref()
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Address) -> bool {
        self.url == other.url
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("nodes", &self.nodes).field("ca", &self.ca).finish_non_exhaustive()
    }
}

fn node(url: &str) -> Result<ConnectionInfo, &'static str> {
    url.into_connection_info()
        .map_err(|_| "a store's URL is malformed: is the port, the database or the encoding wrong?")
}

/// The seeds of a cluster, all with the same user and password.
fn cluster(place: &str) -> Result<Vec<ConnectionInfo>, &'static str> {
    let place = place.strip_suffix('/').unwrap_or(place);
    if place.contains('/') {
        return Err("a cluster has no databases to choose from");
    }
    let (user, hosts) = match place.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), place),
    };
    hosts.split(',').map(|host| node(&format!("redis://{user}{host}"))).collect()
}

fn parameters<'q>(query: &'q str, known: &[&str]) -> Result<Vec<(&'q str, &'q str)>, &'static str> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if known.contains(&name) && !value.is_empty() => Ok((name, value)),
            _ => Err("a store's URL has a parameter that is not known for its scheme, or has no value"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(url: &str) -> Vec<String> {
        let address = Address::parse(url).unwrap();
        address.nodes.iter().map(|node| node.addr().to_string()).collect()
    }

    #[test]
    fn every_scheme_gives_its_addresses() {
        assert_eq!(addresses("redis://h"), ["h:6379"]);
        assert_eq!(addresses("redis://[::1]:7/"), ["::1:7"]);
        assert_eq!(addresses("rediss://h:1/2?ca=/a.pem"), ["h:1"]);
        assert_eq!(addresses("redis+unix:///run/r.sock?db=3"), ["/run/r.sock"]);
        assert_eq!(addresses("redis-cluster://u:p@a:1,b:2/"), ["a:1", "b:2"]);
        assert_eq!(Address::parse("rediss://h?ca=/a.pem").unwrap().ca_file(), Some(Path::new("/a.pem")));
    }

    #[test]
    fn user_password_and_database_are_read() {
        for url in ["redis://al:s%23c@h/4", "redis+unix:///r?user=al&pass=s%23c&db=4"] {
            let address = Address::parse(url).unwrap();
            let settings = address.nodes[0].redis_settings();
            assert_eq!(settings.username(), Some("al"));
            assert_eq!(settings.password(), Some("s#c"));
            assert_eq!(settings.db(), 4);
        }
        let address = Address::parse("redis-cluster://:pw@a,b").unwrap();
        assert!(address.nodes.iter().all(|node| node.redis_settings().password() == Some("pw")));
        assert!(!format!("{address:?}").contains("pw"));
    }

    #[test]
    fn ambiguous_urls_are_refused() {
        for url in [
            "",
            "h:6379",
            "http://h",
            "redis://",
            "redis://h:port",
            "redis://h/x",
            "redis://h?ca=/a.pem",
            "redis://h?timeout=1",
            "rediss://h#insecure",
            "rediss://h?ca=",
            "redis+unix://relative",
            "redis+unix:///",
            "redis-cluster://",
            "redis-cluster://a,,b",
            "redis-cluster://a/1",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
