//! Placeholder: written in its own commit.
