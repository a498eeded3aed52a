//! Names for respguard's own keys: in the slot of a group, and used once.

use std::cell::Cell;

/// A longer key is no hash tag: the guard is then a key of its own slot.
const TAG_BYTES_MAX: usize = 256;

/// Makes names for guards that no other guard has.
#[derive(Debug, Default)]
pub struct Names {
    /// Tells processes and threads apart: random.
    pub instance: u64,
    /// How many names have been made.
    pub used: Cell<u64>,
}

impl Names {
    /// A key of the same slot as `key`, as long as that can be had.
    pub fn next(&self, prefix: &str, key: &[u8]) -> Vec<u8> {
        let mut name = slot_prefix(prefix, key);
        push_hex(&mut name, self.instance, 16);
        name.push(b':');
        push_hex(&mut name, self.take(), 1);
        name
    }

    /// Hexadecimal digits that come only once.
    pub fn id(&self) -> Vec<u8> {
        let mut id = Vec::with_capacity(32);
        push_hex(&mut id, self.instance, 16);
        push_hex(&mut id, self.take(), 16);
        id
    }

    fn take(&self) -> u64 {
        let number = self.used.get();
        self.used.set(number.wrapping_add(1));
        number
    }
}

/// What keys of ours begin with that lie in the slot of `key`, as long as that can be had.
pub(super) fn slot_prefix(prefix: &str, key: &[u8]) -> Vec<u8> {
    let tag = hash_tag(key);
    let mut name = Vec::with_capacity(prefix.len() + tag.len() + 80);
    name.extend_from_slice(prefix.as_bytes());
    if !tag.is_empty() && tag.len() <= TAG_BYTES_MAX && !tag.contains(&b'}') {
        name.push(b'{');
        name.extend_from_slice(tag);
        name.extend_from_slice(b"}:");
    }
    name
}

/// At least so many digits.
pub(super) fn push_hex(out: &mut Vec<u8>, number: u64, digits_min: usize) {
    let mut text = [0; 16];
    let digits = (text.len() - number.leading_zeros() as usize / 4).max(digits_min).min(text.len());
    for (place, digit) in text[..digits].iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * place)) as usize % 16];
    }
    out.extend_from_slice(&text[..digits]);
}

/// The part of a key that its slot is made of (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>).
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    match memchr::memchr(b'}', &key[open + 1..]) {
        Some(0) | None => key,
        Some(length) => &key[open + 1..open + 1 + length],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_lies_in_the_slot_of_its_group() {
        let names = Names::default();
        let name = |key: &[u8]| String::from_utf8(names.next("p", key)).expect("text");
        assert!(name(b"a{user}b").starts_with("p{user}:"));
        assert!(name(b"plain").starts_with("p{plain}:"));
        for odd in [&b"{}x"[..], b"odd}key"] {
            assert!(!name(odd).contains('{'), "it has no tag that leads to its slot");
        }
    }
}
