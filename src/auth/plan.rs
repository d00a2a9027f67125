//! What the configuration says about authentication.

pub use crate::config::plan::{
    ApiKeyHash, ApiKeys, Consumer, Jwt, JwtKey, Method, Place, Require, Secret, check_algorithms,
    parse_algorithm, sha256, weak_secret,
};
