//! HTTP/1.1 between client, gateway and origin when everybody keeps to the rules.

mod common;
