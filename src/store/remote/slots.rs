//! Which node of a cluster holds which key (Redis Cluster specification, "Key distribution model").

use ::redis::Value;

use super::op::text;

pub const SLOTS: usize = 16_384;

/// Host and port of a node.
pub type NodeAddress = (String, u16);

/// For each slot, the index of its master.
pub struct SlotMap(Vec<u16>);

impl SlotMap {
    /// From the answer to `CLUSTER SLOTS`; returns the masters too. A node that does not know its own address gives no
    /// host: it is the one that answers, `host`.
    ///
    /// # Errors
    /// The answer is malformed, or there are slots that no node serves.
    pub fn parse(answer: &Value, host: &str) -> Result<(SlotMap, Vec<NodeAddress>), &'static str> {
        const MALFORMED: &str = "CLUSTER SLOTS was not understood";
        let Value::Array(ranges) = answer else { return Err(MALFORMED) };
        let mut masters: Vec<NodeAddress> = Vec::new();
        let mut slots = vec![u16::MAX; SLOTS];
        for range in ranges {
            let (first, last, master) = parse_range(range, host).ok_or(MALFORMED)?;
            let index = masters.iter().position(|known| *known == master).unwrap_or_else(|| {
                masters.push(master);
                masters.len() - 1
            });
            let index = u16::try_from(index).map_err(|_| MALFORMED)?;
            slots.get_mut(first..=last).ok_or(MALFORMED)?.fill(index);
        }
        if slots.contains(&u16::MAX) {
            return Err("the cluster does not serve all slots");
        }
        Ok((SlotMap(slots), masters))
    }

    /// `slot` is below [`SLOTS`].
    pub fn node(&self, slot: usize) -> usize {
        usize::from(self.0[slot])
    }
}

fn parse_range(range: &Value, host: &str) -> Option<(usize, usize, NodeAddress)> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else { return None };
    let [own, Value::Int(port), ..] = &master[..] else { return None };
    let own = text(own).filter(|own| !own.is_empty()).unwrap_or(host);
    let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
    (first <= last && last < SLOTS).then_some(())?;
    Some((first, last, (own.to_owned(), u16::try_from(*port).ok()?)))
}

/// The slot of a key. Only the hash tag counts, if there is one: what stands between the first opening brace and the
/// next closing one.
pub fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let length = rest.iter().position(|&byte| byte == b'}')?;
        (length > 0).then(|| &rest[..length])
    });
    usize::from(crc16(tag.unwrap_or(key))) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: &str, port: i64) -> Value {
        let node = Value::Array(vec![Value::BulkString(host.into()), Value::Int(port)]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node])
    }

    #[test]
    fn slots_follow_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), usize::from(crc16(b"foo{}{bar}")) % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b"{open"), usize::from(crc16(b"{open")) % SLOTS);
    }

    #[test]
    fn each_slot_has_its_master() {
        let answer =
            Value::Array(vec![range(0, 99, "", 1), range(100, 16_382, "b", 2), range(16_383, 16_383, "", 1)]);
        let (slots, masters) = SlotMap::parse(&answer, "a").unwrap();
        assert_eq!(masters, [("a".into(), 1), ("b".into(), 2)]);
        assert_eq!([0, 99, 100, 16_382, 16_383].map(|slot| slots.node(slot)), [0, 0, 1, 1, 0]);
    }

    #[test]
    fn a_cluster_with_holes_or_a_malformed_answer_is_refused() {
        for ranges in [
            vec![],
            vec![range(0, 16_382, "a", 1)],
            vec![range(0, 16_384, "a", 1)],
            vec![range(9, 3, "a", 1)],
            vec![range(-1, 16_383, "a", 1)],
            vec![range(0, 16_383, "a", 70_000)],
            vec![Value::Nil],
        ] {
            assert!(SlotMap::parse(&Value::Array(ranges), "a").is_err());
        }
        assert!(SlotMap::parse(&Value::Okay, "a").is_err());
    }
}
