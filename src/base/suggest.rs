//! "Did you mean …?": the known word that a misspelt one stands for.

use strsim::osa_distance;

/// The known word nearest to `word`, if it is near enough to be a slip: one edit in three letters (at most three), or
/// a word that begins with the other one. Upper and lower case count as equal.
pub fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Shorter words begin too many others by chance.
    const MIN_PREFIX: usize = 3;
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let folded = folded(word);
    let rank = |known: &str| {
        let shorter = word.len().min(known.len());
        let is_prefix = shorter >= MIN_PREFIX && (known.starts_with(word) || word.starts_with(known));
        let may_be_near = known.len().abs_diff(word.len()) <= 2 * limit;
        let edits = may_be_near.then(|| osa_distance(&folded, &self::folded(known)));
        edits.filter(|edits| *edits <= limit).or(is_prefix.then_some(limit + 1))
    };
    known
        .filter_map(|known| Some((rank(known)?, known)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, known)| known)
}

/// Lower case, and no longer than any word that is known: the distance costs the product of both lengths, and a
/// hostile key must cost nothing.
fn folded(word: &str) -> String {
    const MAX_CHARS: usize = 64;
    word.chars().take(MAX_CHARS).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_that_was_meant_and_another_word_finds_none() {
        let known = ["upstream", "path", "method", "strip_prefix", "drain_timeout", "listen", "id"];
        for (word, want) in [
            ("upstrem", Some("upstream")),
            ("uptsream", Some("upstream")),
            ("Path", Some("path")),
            ("methods", Some("method")),
            ("strip_prefx", Some("strip_prefix")),
            ("drain", Some("drain_timeout")),
            ("listen_on", Some("listen")),
            ("idea", None),
            ("completely_else", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known.into_iter()), want, "{word}");
        }
        let long = "x".repeat(1_000_000);
        assert_eq!(closest(&long, [&*long].into_iter()), Some(&*long));
    }
}
