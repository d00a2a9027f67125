//! What a limit counts by, in a bounded form: a consumer, an address, the value of a header or claim.

use std::fmt;
use std::hash::{Hash, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lru::LruCache;

use crate::base::hash;

/// The longest key that is kept as it is, in bytes.
const MAX_KEY_BYTES: usize = 64;

/// The kinds of keys: the first byte of each. So no consumer shares a bucket with an address or a header of the same
/// bytes.
mod kind {
    pub const CONSUMER: u8 = b'c';
    pub const IPV4: u8 = b'4';
    /// Followed by the first bytes of an address, eight in a key of a request.
    pub const IPV6: u8 = b'6';
    pub const ROUTE: u8 = b'r';
    /// Followed by a SHA-256, as is the next one.
    pub const HEADER: u8 = b'h';
    pub const CLAIM: u8 = b'j';
    /// The SHA-256 of a key that would be too long.
    pub const DIGEST: u8 = 0xff;
}

/// A key of a limit. It holds its bytes inline: clients choose the length and number of keys, so that one must neither
/// grow nor allocate.
#[derive(Clone, Copy)]
pub struct Key {
    len: u8,
    bytes: [u8; MAX_KEY_BYTES],
}

impl Key {
    /// All requests together.
    pub const ROUTE: Key = {
        let mut bytes = [0; MAX_KEY_BYTES];
        bytes[0] = kind::ROUTE;
        Key { len: 1, bytes }
    };

    /// How many of their first bits IPv6 addresses count by: in a key, and where there are too many of these.
    pub(super) const NETWORK_BITS: [usize; 3] = [64, 56, 48];

    /// The key of these bytes: themselves, or their SHA-256 if they are longer than [`MAX_KEY_BYTES`] or would look
    /// like a digest. The same bytes make the same key on every node.
    pub fn new(raw: &[u8]) -> Key {
        if raw.first() == Some(&kind::DIGEST) || raw.len() > MAX_KEY_BYTES {
            return Key::of_kind(kind::DIGEST, &hash::sha256(&[raw]));
        }
        Key::inline(&[raw])
    }

    pub fn of_consumer(name: &str) -> Key {
        if name.len() < MAX_KEY_BYTES {
            return Key::of_kind(kind::CONSUMER, name.as_bytes());
        }
        Key::of_kind(kind::DIGEST, &hash::sha256(&[&[kind::CONSUMER], name.as_bytes()]))
    }

    /// An IPv4 address; of IPv6 the first 64 bits, since a client is usually assigned all addresses that share them.
    pub fn of_address(address: IpAddr) -> Key {
        match address.to_canonical() {
            IpAddr::V4(address) => Key::of_kind(kind::IPV4, &address.octets()),
            IpAddr::V6(address) => Key::of_kind(kind::IPV6, &address.octets()[..Key::NETWORK_BITS[0] / 8]),
        }
    }

    /// A header's value: only its SHA-256, whatever its length. It may be a secret, and stores show their keys.
    pub fn of_header(value: &[u8]) -> Key {
        Key::of_kind(kind::HEADER, &hash::sha256(&[value]))
    }

    /// A claim's value, likewise.
    pub fn of_claim(value: &[u8]) -> Key {
        Key::of_kind(kind::CLAIM, &hash::sha256(&[value]))
    }

    /// `value` is shorter than [`MAX_KEY_BYTES`].
    fn of_kind(kind: u8, value: &[u8]) -> Key {
        Key::inline(&[&[kind], value])
    }

    /// All parts together are at most [`MAX_KEY_BYTES`] long.
    fn inline(parts: &[&[u8]]) -> Key {
        let (mut bytes, mut len) = ([0; MAX_KEY_BYTES], 0);
        for part in parts {
            bytes[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        Key { len: len as u8, bytes }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Clients may choose any value at any time, so that another bucket costs them nothing.
    pub(super) fn is_made_up(&self) -> bool {
        self.as_bytes().first() == Some(&kind::HEADER)
    }

    /// The network of so many bits that an IPv6 key is in; every other key itself.
    pub(super) fn network(&self, bits: usize) -> Key {
        match self.as_bytes() {
            [kind::IPV6, network @ ..] if network.len() > bits / 8 => {
                Key::of_kind(kind::IPV6, &network[..bits / 8])
            }
            _ => *self,
        }
    }

    /// Adds the key's name in stores: text, wherever what it names is no secret. No two keys have the same.
    pub fn write_name(&self, into: &mut Vec<u8>) {
        let (kind, value) = match self.as_bytes() {
            [kind, value @ ..] => (*kind, value),
            [] => return,
        };
        let mut write = |kind: &str, value: &[u8]| {
            into.extend_from_slice(kind.as_bytes());
            into.extend_from_slice(value);
        };
        match kind {
            kind::CONSUMER => write("consumer:", value),
            kind::ROUTE if value.is_empty() => write("route", value),
            kind::HEADER => write("header:", hash::to_hex(value).as_bytes()),
            kind::CLAIM => write("claim:", hash::to_hex(value).as_bytes()),
            kind::DIGEST => write("sha256:", hash::to_hex(value).as_bytes()),
            kind::IPV4 | kind::IPV6 => match address(value) {
                Some(name) => write("ip:", name.as_bytes()),
                None => write("", self.as_bytes()),
            },
            _ => write("", self.as_bytes()),
        }
    }
}

/// An address, or the network of the first half of one.
fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(address) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(address).to_string());
    }
    let network = u64::from_be_bytes(bytes.try_into().ok()?);
    Some(format!("{}/64", Ipv6Addr::from(u128::from(network) << 64)))
}

/// One value for each key, in the order of use. Clients choose the keys, so their hash is seeded with a secret.
pub(super) type KeyTable<V> = LruCache<Key, V, RandomState>;

/// An empty table, which its owner keeps within bounds.
pub(super) fn key_table<V>() -> KeyTable<V> {
    LruCache::unbounded_with_hasher(RandomState::new())
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_key_is_its_own_bytes_and_a_long_one_a_digest_of_all_of_them() {
        assert_eq!(Key::new(b"").as_bytes(), b"");
        assert_eq!(Key::new(&[b'a'; 64]).as_bytes(), &[b'a'; 64]);
        let mut long = vec![b'a'; 16 * 1024];
        let one = Key::new(&long);
        assert_eq!(one.as_bytes().len(), 33);
        *long.last_mut().unwrap() = b'b';
        assert_ne!(Key::new(&long), one);
    }

    #[test]
    fn no_bytes_make_another_keys_digest() {
        let digest = Key::new(&[b'a'; 100]);
        assert_ne!(Key::new(digest.as_bytes()), digest);
    }

    fn name(key: Key) -> String {
        let mut name = Vec::new();
        key.write_name(&mut name);
        String::from_utf8(name).expect("it is text")
    }

    #[test]
    fn names_tell_consumers_and_addresses_and_hide_the_values_of_headers_and_claims() {
        let of = |address: &str| name(Key::of_address(address.parse().expect("an address")));
        assert_eq!(of("192.0.2.1"), "ip:192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), "ip:192.0.2.1");
        assert_eq!(of("2001:db8:0:1:ffff::2"), "ip:2001:db8:0:1::/64");
        assert_eq!(name(Key::of_consumer("alice")), "consumer:alice");
        assert_eq!(name(Key::ROUTE), "route");
        let sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert_eq!(name(Key::of_header(b"test")), format!("header:{sha256}"));
        assert_eq!(name(Key::of_claim(b"test")), format!("claim:{sha256}"));
        let long = name(Key::of_consumer(&"n".repeat(64)));
        assert!(long.starts_with("sha256:") && long.len() == 71, "{long}");
    }

    #[test]
    fn only_ipv6_keys_are_in_larger_networks() {
        let of = |address: &str| Key::of_address(address.parse().expect("an address"));
        let (one, other) = (of("2001:db8:0:100::1"), of("2001:db8:0:1ff::1"));
        assert_eq!(one.network(64), one);
        assert_ne!(one.network(64), other.network(64));
        assert_eq!(one.network(56), other.network(56));
        assert_ne!(one.network(56), one.network(48));
        assert_ne!(of("2001:db8:0:200::1").network(56), one.network(56));
        assert_eq!(of("2001:db8:0:200::1").network(48), one.network(48));
        for key in [of("192.0.2.1"), Key::of_consumer("alice"), Key::of_header(b"6"), Key::new(b"k")] {
            assert_eq!(key.network(48), key);
        }
    }
}
