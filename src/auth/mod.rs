//! Authentication and authorisation: tokens and API keys in, an identity or a refusal out. No I/O and no clock.
//!
//! In the order in which a request meets them: [`token`] finds the credential; [`cache`] knows it or has [`jwt`] verify
//! it with the keys of [`keys`] (read from [PEM files](keys::KeySet::from_pem) and
//! [JWK sets](keys::KeySet::from_jwks)); [`api_keys`] finds the consumer; [`decide`] tries a route's methods and makes
//! the refusal; [`require`] checks what the caller may do; [`headers`] passes identity on to the upstream, and [`strip`]
//! removes credentials from the request. Beside them, [`refetch`] decides when a JWK set is fetched again, and [`parse`] reads the words
//! of a configuration that are about credentials.

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
