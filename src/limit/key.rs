//! What a limit counts by, in a bounded form: a consumer, an address, the value of a header or claim.

use std::fmt;
use std::hash::{Hash, Hasher, RandomState};

use aws_lc_rs::digest;
use lru::LruCache;

/// The longest key that is kept as it is, in bytes.
pub const MAX_KEY_BYTES: usize = 64;

/// The first byte of a key that is a digest.
const DIGEST_MARK: u8 = 0xff;
/// The first byte of the overflow key.
const OVERFLOW_MARK: u8 = 0x00;

/// A key of a limit. It holds its bytes inline: clients choose the length and number of keys, so that one must neither
/// grow nor allocate.
#[derive(Clone, Copy)]
pub struct Key {
    len: u8,
    bytes: [u8; MAX_KEY_BYTES],
}

impl Key {
    /// The key under which all those are counted that a full table has no room for. [`Key::new`] never makes it.
    pub const OVERFLOW: Key = Key { len: 1, bytes: [OVERFLOW_MARK; MAX_KEY_BYTES] };

    /// The key of these bytes: themselves, or their SHA-256 if they are longer than [`MAX_KEY_BYTES`] or would look
    /// like a digest or the overflow key. The same bytes make the same key on every node.
    pub fn new(raw: &[u8]) -> Key {
        let marked = matches!(raw.first(), Some(&(DIGEST_MARK | OVERFLOW_MARK)));
        if marked || raw.len() > MAX_KEY_BYTES {
            return Key::inline(&[&[DIGEST_MARK], digest::digest(&digest::SHA256, raw).as_ref()].concat());
        }
        Key::inline(raw)
    }

    /// `raw` is at most [`MAX_KEY_BYTES`] long.
    fn inline(raw: &[u8]) -> Key {
        let mut bytes = [0; MAX_KEY_BYTES];
        bytes[..raw.len()].copy_from_slice(raw);
        Key { len: raw.len() as u8, bytes }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
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
    fn no_bytes_make_the_overflow_key_or_another_keys_digest() {
        let digest = Key::new(&[b'a'; 100]);
        assert_ne!(Key::new(digest.as_bytes()), digest);
        assert_ne!(Key::new(Key::OVERFLOW.as_bytes()), Key::OVERFLOW);
        assert_ne!(Key::new(b""), Key::OVERFLOW);
    }
}
