//! The hash slot of a key (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).

/// How many slots a cluster has.
pub const SLOTS: usize = 16384;

/// CRC16 of the XMODEM kind, a byte at a time.
static CRC16: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The slot of a key: that of its hash tag, the first `{...}` with something in it, or else of the whole key.
pub fn key_slot(key: &[u8]) -> u16 {
    let crc = tag(key).iter().fold(0u16, |crc, &byte| crc << 8 ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)]);
    crc % SLOTS as u16
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let behind = &key[open + 1..];
    match behind.iter().position(|byte| *byte == b'}') {
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
    fn what_is_in_the_first_braces_counts_if_there_is_anything_in_them() {
        assert_eq!(key_slot(b"a{user1000}.x"), key_slot(b"user1000"));
        assert_eq!(key_slot(b"foo{{bar}}zap"), key_slot(b"{bar"));
        assert_eq!(key_slot(b"foo{bar}{zap}"), key_slot(b"bar"));
        for whole in [&b"foo{}{bar}"[..], b"foo{bar", b"foo}bar{"] {
            assert_eq!(tag(whole), whole);
        }
    }
}
