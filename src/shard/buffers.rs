//! What one request needs room for, kept from request to request so that none of it is allocated twice.

use crate::exchange::Transaction;
use crate::limit::LimitReport;

/// How many a shard keeps.
pub const KEPT: usize = 256;

#[derive(Default)]
pub struct RequestBuffers {
    pub transaction: Transaction,
    /// The host as the client wrote it.
    pub client_host: Vec<u8>,
    /// The target as the upstream gets it, or where a redirect leads.
    pub onward: Vec<u8>,
    /// Where the request stands with the limits that it met.
    pub told: LimitReport,
}

impl RequestBuffers {
    /// Forgets the request and the bodies that scripts have seen, keeps the room.
    pub fn forget(&mut self) {
        self.transaction.begin();
        self.client_host.clear();
        self.onward.clear();
        self.told.clear();
    }

    /// Not swollen by one huge request.
    pub fn is_ordinary(&self) -> bool {
        const MAX_BYTES: usize = 64 * 1024;
        let Transaction { target, request, response, .. } = &self.transaction;
        let heads = request.fields.stored_bytes() + response.fields.stored_bytes();
        target.capacity() + self.onward.capacity() + heads < MAX_BYTES
    }
}
