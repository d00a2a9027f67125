//! Settings that are one of a few words.

/// A setting whose values have words: one table for reading them and for printing them.
pub trait Keyword: Clone + PartialEq + 'static {
    /// Every word with its value, in the order in which they are suggested.
    const WORDS: &'static [(&'static str, Self)];

    /// The word of this value.
    fn word(&self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| value == self).map_or("", |(word, _)| word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::*;

    #[test]
    fn every_word_is_the_word_of_its_value() {
        fn check<K: Keyword>() {
            for (word, value) in K::WORDS {
                assert_eq!(value.word(), *word);
            }
        }
        check::<Driver>();
        check::<AccessFormat>();
        check::<LogLevel>();
        check::<OnError>();
        check::<Balance>();
        check::<RateAlgorithm>();
        check::<LimitMode>();
        check::<OnStoreFailure>();
        check::<NoneHealthy>();
        check::<Option<Dialect>>();
        assert_eq!(Balance::Hash(HashOn::Path).word(), "hash");
    }
}
