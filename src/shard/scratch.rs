//! What one request needs room for, kept from request to request so that none of it is allocated twice.

use crate::http::head::{RequestHead, ResponseHead};
use crate::route::Captures;

/// How many a shard keeps.
pub const KEPT: usize = 256;

#[derive(Default)]
pub struct Scratch {
    pub request: RequestHead,
    pub response: ResponseHead,
    pub id: Vec<u8>,
    /// The host as routes match it: lower case, no port.
    pub host: Vec<u8>,
    /// The host as the client wrote it.
    pub client_host: Vec<u8>,
    /// Normalised path, then `?` and the query if there is one.
    pub target: Vec<u8>,
    pub path_bytes: usize,
    pub captures: Captures,
    /// The target as the upstream gets it, or where a redirect leads.
    pub onward: Vec<u8>,
}

impl Scratch {
    /// Forgets the request before, keeps the room.
    pub fn begin(&mut self) {
        self.request.clear();
        self.response.clear();
        self.id.clear();
        self.host.clear();
        self.client_host.clear();
        self.target.clear();
        self.path_bytes = 0;
        self.onward.clear();
    }

    /// The normalised path.
    pub fn path(&self) -> &[u8] {
        &self.target[..self.path_bytes]
    }

    /// The query without its `?`.
    pub fn query(&self) -> &[u8] {
        self.target.get(self.path_bytes + 1..).unwrap_or_default()
    }

    /// Not swollen by one huge request.
    pub fn is_ordinary(&self) -> bool {
        const MOST_BYTES: usize = 64 * 1024;
        self.target.capacity() + self.onward.capacity() < MOST_BYTES
    }
}
