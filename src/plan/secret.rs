//! What must not be seen.

use std::fmt;
use std::sync::Arc;

/// Bytes that never show in logs or errors; never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Arc<[u8]>);

impl Secret {
    /// `None`: it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_stars_whatever_it_is() {
        assert_eq!(format!("{:?}", Some(Secret((*b"hunter2").into()))), "Some(Secret(***))");
    }
}
