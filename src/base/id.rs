//! Request ids: random UUIDs (RFC 9562, version 4), from one generator per shard.

/// A generator of request ids. Ids are no secrets, so that a fast generator (SplitMix64) is sufficient.
pub struct RequestIds {
    state: u64,
}

impl RequestIds {
    /// A generator with a seed of its own; ids of different seeds collide only by chance.
    pub fn new(seed: u64) -> RequestIds {
        RequestIds { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Appends a new id.
    pub fn write(&mut self, out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next().to_be_bytes());
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        for (at, byte) in bytes.into_iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                out.push(b'-');
            }
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_4_uuids_and_differ() {
        let mut ids = RequestIds::new(1);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            let mut id = Vec::new();
            ids.write(&mut id);
            assert_eq!(id.len(), 36);
            assert!(id[8] == b'-' && id[14] == b'4' && b"89ab".contains(&id[19]));
            assert!(seen.insert(id));
        }
    }
}
