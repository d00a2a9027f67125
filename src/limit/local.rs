//! One shard's share of a rule, counted by itself: mode `local`, and what goes on when the store is lost.

use super::bucket::Terms;
use super::bucket_store::BucketStore;
use super::rule::Rule;

/// The bank of one of `shards` shards, `index` counted from 0, of which only [`BucketStore::take`] is to be used.
///
/// Over all shards it admits no more than the rule. A shard sees its own share alone: a client whose connections all
/// end at one shard gets that shard's share only. Where the burst is less than the number of shards, the last shards
/// refuse everything.
pub fn local(rule: &Rule, shards: u64, index: u64, keys_max: usize) -> BucketStore {
    BucketStore::with_terms(Terms::share(rule, shards, index), keys_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Key, Period};

    /// What all shards admit of an endless demand in that time.
    fn admitted(rule: &Rule, shards: u64, ms: u64) -> u64 {
        let mut banks: Vec<BucketStore> = (0..shards).map(|index| local(rule, shards, index, 10)).collect();
        let mut count = 0;
        for now_ms in (0..=ms).step_by(50) {
            for bank in &mut banks {
                while bank.take(&Key::new(b"key"), now_ms).allowed {
                    count += 1;
                }
            }
        }
        count
    }

    #[test]
    fn all_shards_together_admit_the_rule_whatever_their_number() {
        let bucket = Rule::token_bucket(5, Period::Second, 7);
        let window = Rule::fixed_window(5, Period::Second);
        for shards in [1, 2, 3, 4, 7] {
            // 7 and 5 a second. Up to one token per shard is still on its way.
            let count = admitted(&bucket, shards, 9_999);
            assert!((57 - shards..57).contains(&count), "{count} of {shards} shards");
            assert_eq!(admitted(&window, shards, 9_999), 50);
        }
    }

    #[test]
    fn where_tokens_are_fewer_than_shards_the_first_shards_have_them_and_their_rate() {
        let rule = Rule::token_bucket(2, Period::Second, 2);
        let count = admitted(&rule, 16, 10_000);
        assert_eq!(count, 22);
        assert!(!local(&rule, 16, 2, 10).take(&Key::new(b"key"), 0).allowed);
    }
}
