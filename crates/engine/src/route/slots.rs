//! The hash slot of a key (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).

/// How many slots a cluster has.
pub const SLOTS: usize = 16384;

/// Some of the slots.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet([u64; SLOTS / 64]);

impl Default for SlotSet {
    fn default() -> Self {
        SlotSet([0; SLOTS / 64])
    }
}

impl std::fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl SlotSet {
    /// Every slot.
    pub fn all() -> SlotSet {
        SlotSet([u64::MAX; SLOTS / 64])
    }

    /// Numbers that are no slots are left out.
    pub fn insert(&mut self, slot: u16) {
        if let Some(word) = self.0.get_mut(usize::from(slot) / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    /// Whether the slot is one of them.
    pub fn contains(&self, slot: u16) -> bool {
        self.0.get(usize::from(slot) / 64).is_some_and(|word| word & 1 << (slot % 64) != 0)
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// All of them, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..SLOTS as u16).filter(|slot| self.contains(*slot))
    }

    /// The lowest.
    pub fn first(&self) -> Option<u16> {
        self.iter().next()
    }

    /// Those that are in both.
    #[must_use]
    pub fn within(&self, other: &SlotSet) -> SlotSet {
        self.combined(other, |own, other| own & other)
    }

    /// Those that are in either.
    #[must_use]
    pub fn with(&self, other: &SlotSet) -> SlotSet {
        self.combined(other, |own, other| own | other)
    }

    /// Those that are not in the other.
    #[must_use]
    pub fn without(&self, other: &SlotSet) -> SlotSet {
        self.combined(other, |own, other| own & !other)
    }

    fn combined(&self, other: &SlotSet, combine: impl Fn(u64, u64) -> u64) -> SlotSet {
        let mut combined = self.clone();
        combined.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own = combine(*own, *other));
        combined
    }
}

/// CRC16 of the XMODEM kind: of each byte, and of each with one to seven zeros behind it.
static CRC16: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = before << 8 ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// The slot of a key: that of its hash tag, the first `{...}` with something in it, or else of the whole key.
pub fn key_slot(key: &[u8]) -> u16 {
    // Most keys have no brace: that is seen on the way.
    let crc = crc16_without_brace(key).unwrap_or_else(|| crc16(tag(key)));
    crc % SLOTS as u16
}

/// `None` where an opening brace is among the bytes.
#[inline]
fn crc16_without_brace(bytes: &[u8]) -> Option<u16> {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut crc = 0;
    for eight in eights {
        if has_brace(*eight) {
            return None;
        }
        crc = crc16_of_eight(crc, *eight);
    }
    for &byte in rest {
        if byte == b'{' {
            return None;
        }
        crc = crc16_of_one(crc, byte);
    }
    Some(crc)
}

fn crc16(bytes: &[u8]) -> u16 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let crc = eights.iter().fold(0, |crc, eight| crc16_of_eight(crc, *eight));
    rest.iter().fold(crc, |crc, &byte| crc16_of_one(crc, byte))
}

#[inline]
fn crc16_of_eight(crc: u16, [a, b, c, d, e, f, g, h]: [u8; 8]) -> u16 {
    let [high, low] = crc.to_be_bytes();
    let of = |zeros: usize, byte: u8| CRC16[zeros][usize::from(byte)];
    of(7, high ^ a) ^ of(6, low ^ b) ^ of(5, c) ^ of(4, d) ^ of(3, e) ^ of(2, f) ^ of(1, g) ^ of(0, h)
}

#[inline]
fn crc16_of_one(crc: u16, byte: u8) -> u16 {
    crc << 8 ^ CRC16[0][usize::from((crc >> 8) as u8 ^ byte)]
}

/// Whether an opening brace is among these bytes.
#[inline]
fn has_brace(eight: [u8; 8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    // A brace becomes a zero, and only below a zero does a byte borrow so that its highest bit shows.
    let zeros = u64::from_ne_bytes(eight) ^ (ONES * u64::from(b'{'));
    zeros.wrapping_sub(ONES) & !zeros & (ONES << 7) != 0
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let behind = &key[open + 1..];
    match memchr::memchr(b'}', behind) {
        Some(length @ 1..) => &behind[..length],
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(key_slot(b"123456789"), 0x31C3);
        assert_eq!([&b"foo"[..], b"bar", b"", b"somekey"].map(key_slot), [12182, 5061, 0, 11058]);
    }

    #[test]
    fn eight_bytes_at_a_time_are_as_one_after_the_other() {
        let bytes: Vec<u8> = (0..64u8).map(|n| n.wrapping_mul(151)).collect();
        for end in 0..bytes.len() {
            let one_by_one =
                bytes[..end].iter().fold(0u16, |crc, &byte| crc << 8 ^ CRC16[0][usize::from((crc >> 8) as u8 ^ byte)]);
            assert_eq!(crc16(&bytes[..end]), one_by_one, "{end} bytes");
        }
    }

    #[test]
    fn a_hash_tag_is_found_wherever_it_stands() {
        for before in 0..20 {
            let key = [&vec![b'z'; before][..], b"{user}", &vec![b'|'; 20 - before]].concat();
            assert_eq!(key_slot(&key), key_slot(b"user"), "{before} bytes before it");
            // The bytes next to the brace are none.
            let other: Vec<u8> = key.iter().map(|byte| if *byte == b'{' { b'|' } else { *byte }).collect();
            assert_eq!(tag(&other), &other[..]);
        }
    }

    #[test]
    fn sets_of_slots_are_put_together_and_taken_apart() {
        let of = |slots: &[u16]| {
            let mut set = SlotSet::default();
            slots.iter().for_each(|slot| set.insert(*slot));
            set
        };
        let (a, b) = (of(&[0, 63, 64, 16383, 16384]), of(&[64, 100]));
        assert_eq!(a.iter().collect::<Vec<_>>(), [0, 63, 64, 16383]);
        assert_eq!(a.within(&b), of(&[64]));
        assert_eq!(a.with(&b).iter().count(), 5);
        assert_eq!(a.without(&b), of(&[0, 63, 16383]));
        assert!(!a.contains(16384) && SlotSet::default().is_empty() && SlotSet::all().iter().count() == SLOTS);
    }

    #[test]
    fn what_is_in_the_first_braces_counts_if_there_is_anything_in_them() {
        assert_eq!(key_slot(b"a{user1000}.x"), key_slot(b"user1000"));
        assert_eq!(key_slot(b"foo{{bar}}zap"), key_slot(b"{bar"));
        assert_eq!(key_slot(b"foo{bar}{zap}"), key_slot(b"bar"));
        for whole in [&b"foo{}{bar}"[..], b"foo{bar", b"foo}bar{"] {
            assert_eq!(tag(whole), whole);
        }
    }
}
