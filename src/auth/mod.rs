//! Who is calling: tokens and API keys in, an identity or a refusal out. No I/O and no clock.
//!
//! In the order of a request's way: [`token`] takes a credential from where it stands; [`cache`] knows it or has
//! [`jwt`] verify it with the keys of [`keys`] (read from [`pem`](keys::KeySet::from_pem) and
//! [JWK sets](keys::KeySet::from_jwks)); [`api_keys`] finds the consumer; [`decide`] tries a route's methods and words
//! the refusal; [`require`] asks what the caller may; [`headers`] tells the upstream, and [`strip`] hides from it what
//! it should not see. Beside it, [`refetch`] says when a JWK set is fetched again, and [`parse`]
//! reads what a configuration says in words of its own.

pub mod api_keys;
pub mod cache;
pub mod decide;
pub mod headers;
mod json;
mod jwks;
pub mod jwt;
pub mod keys;
pub mod parse;
mod pem;
pub mod refetch;
pub mod require;
pub mod strip;
#[cfg(test)]
mod tests;
pub mod token;
