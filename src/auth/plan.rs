//! What the configuration says about authentication, under one name for this folder.

pub use crate::plan::{
    ApiKeyHash, ApiKeys, Consumer, Jwt, JwtKey, Method, Place, Require, Secret, check_algorithms,
    parse_algorithm, sha256,
};
