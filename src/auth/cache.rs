//! The tokens that a shard has verified: a signature is checked once, after that a token costs one hash.
//!
//! Only accepted tokens are kept. Cached refusals would let strangers evict the accepted ones, and would outlive a change
//! of keys; the cost of a refusal is bounded by the token's length and the number of keys tried.

use std::rc::Rc;

use foldhash::fast::RandomState;
use lru::LruCache;

use super::jwt::{Claims, Provider, TokenFailure};

/// Bytes of one entry beyond its claims: list, table and allocator overhead.
const ENTRY_BYTES: usize = 256;
/// Bytes in memory per byte of the claims' JSON text, roughly.
const CLAIMS_FACTOR: usize = 4;

/// Verified tokens, bounded in entries and bytes; the least recently used are evicted first.
///
/// An entry is found by the SHA-256 of the token together with the provider's keys and rules. So another key set, or
/// another issuer after a reload, finds nothing, and stale entries are evicted in time; nobody can make two tokens
/// collide, or learn from a look-up's time how much of a token was right.
pub struct TokenCache {
    entries: LruCache<[u8; 32], CachedToken, RandomState>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

struct CachedToken {
    claims: Rc<Claims>,
    expires_s: u64,
    bytes: usize,
}

impl TokenCache {
    /// Entries of a shard's cache.
    pub const MAX_ENTRIES: usize = 16_384;
    /// Bytes of a shard's cache, as estimated.
    pub const MAX_BYTES: usize = 16 * 1024 * 1024;

    /// An empty cache, which allocates as it is used. With `max_entries` of 0 it keeps nothing.
    pub fn new(max_entries: usize, max_bytes: usize) -> TokenCache {
        let entries = LruCache::unbounded_with_hasher(RandomState::default());
        TokenCache { entries, bytes: 0, max_entries, max_bytes }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that the entries hold, as estimated.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// [`Provider::verify`], or its cached result while the token has not expired.
    pub fn verify(
        &mut self,
        provider: &Provider,
        token: &[u8],
        now_s: u64,
    ) -> Result<Rc<Claims>, TokenFailure> {
        let id = provider.token_id(token);
        if let Some(entry) = self.entries.get(&id).filter(|entry| now_s < entry.expires_s) {
            return Ok(entry.claims.clone());
        }
        self.remove(&id);
        let claims = Rc::new(provider.verify(token, now_s)?);
        self.insert(id, claims.clone(), provider.expires_s(claims.exp_s));
        Ok(claims)
    }

    fn insert(&mut self, id: [u8; 32], claims: Rc<Claims>, expires_s: u64) {
        let bytes = ENTRY_BYTES + CLAIMS_FACTOR * claims.bytes;
        if self.max_entries == 0 || bytes > self.max_bytes {
            return;
        }
        while self.entries.len() >= self.max_entries || self.bytes + bytes > self.max_bytes {
            let Some((_, oldest)) = self.entries.pop_lru() else { break };
            self.bytes -= oldest.bytes;
        }
        self.bytes += bytes;
        self.entries.put(id, CachedToken { claims, expires_s, bytes });
    }

    fn remove(&mut self, id: &[u8; 32]) {
        if let Some(entry) = self.entries.pop(id) {
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jsonwebtoken::Algorithm;
    use serde_json::json;

    use super::super::keys::KeySet;
    use super::super::tests::providers::{NOW, jwt_plan};
    use super::super::tests::sign::hs256;
    use super::*;

    fn provider(secret: &[u8]) -> Provider {
        let keys = KeySet::from_secret(secret, &[Algorithm::HS256]).unwrap();
        Provider::new(Arc::new(jwt_plan(&[Algorithm::HS256])), Arc::new(keys))
    }

    fn token(number: usize) -> Vec<u8> {
        hs256(b"secret", &json!({ "sub": number.to_string(), "exp": NOW + 100 }))
    }

    #[test]
    fn a_token_is_verified_once_until_it_expires() {
        let (mut cache, provider) = (TokenCache::new(10, 100_000), provider(b"secret"));
        let first = cache.verify(&provider, &token(1), NOW).unwrap();
        let second = cache.verify(&provider, &token(1), NOW + 159).unwrap();
        assert!(Rc::ptr_eq(&first, &second), "the leeway counts");
        assert_eq!(cache.verify(&provider, &token(1), NOW + 160), Err(TokenFailure::Expired));
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
    }

    #[test]
    fn refused_tokens_are_not_kept() {
        let (mut cache, provider) = (TokenCache::new(10, 100_000), provider(b"other"));
        assert!(cache.verify(&provider, &token(1), NOW).is_err());
        assert!(cache.verify(&provider, b"x.y.z", NOW).is_err());
        assert!(cache.is_empty());
    }

    #[test]
    fn another_key_set_or_rule_finds_nothing() {
        let mut cache = TokenCache::new(10, 100_000);
        let old = provider(b"secret");
        cache.verify(&old, &token(1), NOW).unwrap();
        assert!(cache.verify(&provider(b"other"), &token(1), NOW).is_err());
        let mut plan = old.plan().clone();
        plan.issuer = Some("https://id.example.com".into());
        assert!(cache.verify(&Provider::new(Arc::new(plan), old.keys().clone()), &token(1), NOW).is_err());
        let same = cache.verify(&provider(b"secret"), &token(1), NOW).unwrap();
        assert_eq!(Rc::strong_count(&same), 2, "equal keys and rules share the entry");
    }

    #[test]
    fn entries_and_bytes_are_bounded_and_the_least_recently_used_are_evicted() {
        let provider = provider(b"secret");
        let mut cache = TokenCache::new(3, 100_000);
        for number in [1, 2, 3, 1, 4] {
            cache.verify(&provider, &token(number), NOW).unwrap();
        }
        assert_eq!(cache.len(), 3);
        assert!(!cache.entries.contains(&provider.token_id(&token(2))));
        assert!(cache.entries.contains(&provider.token_id(&token(1))));

        let mut cache = TokenCache::new(1000, 2000);
        (0..100).for_each(|number| drop(cache.verify(&provider, &token(number), NOW)));
        let sum: usize = cache.entries.iter().map(|(_, entry)| entry.bytes).sum();
        assert!(cache.bytes() == sum && sum <= 2000 && cache.len() > 2);

        let mut none = TokenCache::new(0, 2000);
        none.verify(&provider, &token(1), NOW).unwrap();
        assert!(none.is_empty());
    }
}
