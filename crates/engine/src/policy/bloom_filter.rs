//! Rejects most requests that no rule can match, by the first bytes of one argument.

/// For many lists of literal prefixes one table of bits, so that a look-up takes the same way for all of them.
#[derive(Clone, Debug)]
pub(super) struct BloomFilter {
    /// One for each hash; set where a prefix of some list has it. So many are few enough to lie in a cache, and rarely
    /// set by chance: a thousand rules of all sorts set one in ten.
    bits: Box<[u64; WORDS]>,
}

const WORDS: usize = 1024;
/// Bits of a hash: one for each of `WORDS` words of 64.
const HASH_BITS: u32 = (WORDS * 64).trailing_zeros();
/// Odd, and half of its bits are set, in no order: every bit of a word changes the highest of the product.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl BloomFilter {
    /// A Bloom filter for lists of prefixes, each under a number of its own.
    pub(super) fn new(lists: &[(u16, Vec<&[u8]>)]) -> BloomFilter {
        let mut bloom_filter = BloomFilter::default();
        for (number, list) in lists {
            for prefix in list {
                let hash = hash(*number, mask(list), opening(prefix));
                bloom_filter.bits[hash / 64] |= 1 << (hash % 64);
            }
        }
        bloom_filter
    }

    /// False only where what begins with these eight bytes has none of the prefixes of the list, which has this [`mask`];
    /// what stands behind the end of something shorter may be any bytes.
    #[inline]
    pub(super) fn passes(&self, list: u16, mask: u64, opening: u64) -> bool {
        let hash = hash(list, mask, opening);
        self.bits[hash / 64] >> (hash % 64) & 1 == 1
    }
}

impl Default for BloomFilter {
    fn default() -> BloomFilter {
        BloomFilter { bits: Box::new([0; WORDS]) }
    }
}

#[inline]
fn hash(list: u16, mask: u64, opening: u64) -> usize {
    (((opening & mask) ^ u64::from(list)).wrapping_mul(SPREAD) >> (u64::BITS - HASH_BITS)) as usize
}

/// Which of the first eight bytes are looked at: as many as the shortest prefix has.
pub(super) fn mask(prefixes: &[&[u8]]) -> u64 {
    let length = prefixes.iter().map(|prefix| prefix.len()).min().unwrap_or(0);
    if length >= size_of::<u64>() { u64::MAX } else { (1 << (8 * length)) - 1 }
}

/// The first eight bytes as one number, zeros behind fewer.
fn opening(bytes: &[u8]) -> u64 {
    let mut first = [0; size_of::<u64>()];
    let length = bytes.len().min(first.len());
    first[..length].copy_from_slice(&bytes[..length]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_begins_with_one_of_a_list_passes_whatever_stands_behind_it(
            lists in proptest::collection::vec(proptest::collection::vec("[ab]{0,10}", 1..8), 1..8),
            behind in "[abc\r\n]{8}",
        ) {
            let lists = lists.iter().map(|list| list.iter().map(|text| text.as_bytes()).collect());
            let lists: Vec<(u16, Vec<&[u8]>)> = (0..).zip(lists).collect();
            let bloom_filter = BloomFilter::new(&lists);
            for (number, list) in &lists {
                for prefix in list {
                    let found = opening(&[prefix, behind.as_bytes()].concat());
                    proptest::prop_assert!(bloom_filter.passes(*number, mask(list), found));
                }
            }
        }
    }

    #[test]
    fn few_others_pass() {
        let lists = [(1, vec![&b"user:"[..], b"session:"]), (2, vec![b"order:"])];
        let bloom_filter = BloomFilter::new(&lists);
        let passes =
            |(number, list): &(u16, Vec<&[u8]>), text: &str| bloom_filter.passes(*number, mask(list), opening(text.as_bytes()));
        let others = (0..1000).map(|number| format!("{number:04}:user"));
        assert!(others.filter(|other| lists.iter().any(|list| passes(list, other))).count() < 300);
        assert!(!passes(&lists[0], "order:12") && !passes(&lists[1], "user:123"));
    }
}
