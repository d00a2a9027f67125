//! Tests that need keys or a whole request. All keys are made in the process that runs the tests.

mod attacks;
mod claims;
mod decide;
mod key_sets;
mod mutation;
pub(super) mod providers;
pub(super) mod request;
pub(super) mod sign;
