//! TOML text becomes a `Plan`, or a list of problems with their places.

pub mod plan;

pub use plan::Plan;
