//! Finds a command by its case-insensitive name, without allocating.

use super::CommandId;

/// Names up to this many bytes can be found; no Redis command comes near.
const NAME_BYTES: usize = 32;
const WORDS: usize = NAME_BYTES / 8;
const EMPTY: u16 = u16::MAX;

/// An index by name: open addressing, at most a quarter full.
#[derive(Clone, Debug)]
pub(super) struct Names {
    slots: Box<[u16]>,
    shift: u32,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Name,
    id: CommandId,
    is_container: bool,
}

/// A lower-case name in machine words, together with the container it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Name {
    words: [u64; WORDS],
    len: u16,
    container: CommandId,
}

impl Names {
    pub(super) fn new() -> Names {
        let mut names = Names { slots: Box::default(), shift: 0, entries: Vec::new() };
        names.rebuild();
        names
    }

    /// Makes `name` findable, among the subcommands of `container` unless that is UNKNOWN.
    /// False, and nothing is added, when the name is empty or too long.
    pub(super) fn add(&mut self, container: CommandId, name: &[u8], id: CommandId) -> bool {
        let Some(name) = Name::pack(container, name) else {
            return false;
        };
        if let Some(owner) = self.entries.iter_mut().find(|entry| entry.id == container) {
            owner.is_container = true;
        }
        self.entries.push(Entry { name, id, is_container: false });
        if self.entries.len() * 4 > self.slots.len() {
            self.rebuild();
        } else {
            self.place(self.entries.len() - 1);
        }
        true
    }

    /// The command of this name, or the subcommand of `container`, and whether it has subcommands itself.
    #[inline(always)]
    pub(super) fn find(&self, container: CommandId, name: &[u8]) -> Option<(CommandId, bool)> {
        if let 1..=8 = name.len() {
            // Nearly every name fits into one word, and need not be packed to be compared.
            let (word, len) = (lower(load(name)), name.len() as u16);
            let is = |known: &Name| known.words[0] == word && known.len == len && known.container == container;
            return self.search(mix([word, 0, 0, 0], len, container), is);
        }
        self.find_long(container, name)
    }

    /// Apart, so that a lookup of a short name needs no call.
    #[inline(never)]
    fn find_long(&self, container: CommandId, name: &[u8]) -> Option<(CommandId, bool)> {
        let name = Name::pack(container, name)?;
        self.search(name.mixed(), |known| known.is(&name))
    }

    #[inline(always)]
    fn search(&self, mixed: u64, is: impl Fn(&Name) -> bool) -> Option<(CommandId, bool)> {
        let mut slot = (mixed >> self.shift) as usize;
        loop {
            let entry = self.entries.get(usize::from(self.slots[slot]))?;
            if is(&entry.name) {
                return Some((entry.id, entry.is_container));
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    fn rebuild(&mut self) {
        let slots = (self.entries.len() * 8).next_power_of_two().max(2048);
        self.slots = vec![EMPTY; slots].into_boxed_slice();
        self.shift = 64 - slots.trailing_zeros();
        for i in 0..self.entries.len() {
            self.place(i);
        }
    }

    fn place(&mut self, entry: usize) {
        let mut slot = (self.entries[entry].name.mixed() >> self.shift) as usize;
        while self.slots[slot] != EMPTY {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = u16::try_from(entry).expect("a table has fewer commands than u16 counts");
    }
}

impl Name {
    #[inline]
    fn pack(container: CommandId, name: &[u8]) -> Option<Name> {
        if name.is_empty() || name.len() > NAME_BYTES {
            return None;
        }
        let mut words = [0; WORDS];
        if name.len() <= 8 {
            words[0] = lower(load(name));
        } else {
            for (word, bytes) in words.iter_mut().zip(name.chunks(8)) {
                *word = lower(load(bytes));
            }
        }
        Some(Name { words, len: name.len() as u16, container })
    }

    /// As `==`, without a call for so few words.
    #[inline]
    fn is(&self, other: &Name) -> bool {
        let differing = self.words.iter().zip(&other.words).fold(0, |bits, (a, b)| bits | (a ^ b));
        differing == 0 && self.len == other.len && self.container == other.container
    }

    fn mixed(&self) -> u64 {
        mix(self.words, self.len, self.container)
    }
}

/// A hash, whose highest bits are the best.
#[inline]
fn mix([a, b, c, d]: [u64; WORDS], len: u16, container: CommandId) -> u64 {
    let words = a ^ b.rotate_left(17) ^ c.rotate_left(31) ^ d.rotate_left(47);
    (words ^ (u64::from(container.0) << 48) ^ u64::from(len)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Up to eight bytes as one word. Overlapping reads agree on the bytes that they share, so OR joins them.
#[inline]
pub(super) fn load(bytes: &[u8]) -> u64 {
    if let Ok(all) = bytes.try_into() {
        return u64::from_le_bytes(all);
    }
    let len = bytes.len();
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let head = u64::from(u32::from_le_bytes(*head));
        let tail = u64::from(u32::from_le_bytes(*tail));
        return head | tail << ((len - 4) * 8);
    }
    match *bytes {
        [a, b, c] => u64::from(u32::from_le_bytes([a, b, c, 0])),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        [a] => u64::from(a),
        _ => 0,
    }
}

/// ASCII upper case to lower case in eight bytes at once; every other byte stays.
#[inline]
fn lower(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low_bits = word & (0x7f * EACH);
    let from_a = low_bits + EACH * u64::from(0x80 - b'A');
    let above_z = low_bits + EACH * u64::from(0x7f - b'Z');
    let upper = from_a & !above_z & !word & (0x80 * EACH);
    word | upper >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_changes_letters_and_nothing_else() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let word = u64::from(byte) << (place * 8);
                let expected = u64::from(byte.to_ascii_lowercase()) << (place * 8);
                assert_eq!(lower(word), expected, "{byte:#x}");
            }
        }
    }

    #[test]
    fn load_reads_every_length_alike() {
        let bytes = *b"\x01\x82\x03\x84\x05\x86\x07\x88";
        for len in 0..=8 {
            let mut padded = [0; 8];
            padded[..len].copy_from_slice(&bytes[..len]);
            assert_eq!(load(&bytes[..len]), u64::from_le_bytes(padded), "{len}");
        }
    }

    #[test]
    fn names_of_the_largest_length_are_found_and_longer_ones_refused() {
        let mut names = Names::new();
        let longest = [b'x'; NAME_BYTES];
        assert!(names.add(CommandId::UNKNOWN, &longest, CommandId(1)));
        assert!(!names.add(CommandId::UNKNOWN, &[b'x'; NAME_BYTES + 1], CommandId(2)));
        assert!(!names.add(CommandId::UNKNOWN, b"", CommandId(2)));
        let found = names.find(CommandId::UNKNOWN, &longest);
        assert_eq!(found, Some((CommandId(1), false)));
        assert_eq!(names.find(CommandId::UNKNOWN, &[b'x'; NAME_BYTES - 1]), None);
    }

    #[test]
    fn a_nul_byte_is_part_of_a_name() {
        let mut names = Names::new();
        assert!(names.add(CommandId::UNKNOWN, b"get", CommandId(1)));
        assert_eq!(names.find(CommandId::UNKNOWN, b"get\0"), None);
    }

    #[test]
    fn the_index_grows_with_its_names() {
        let mut names = Names::new();
        for i in 1..5000u16 {
            assert!(names.add(CommandId::UNKNOWN, format!("c{i}").as_bytes(), CommandId(i)));
        }
        for i in 1..5000u16 {
            let found = names.find(CommandId::UNKNOWN, format!("C{i}").as_bytes());
            assert_eq!(found, Some((CommandId(i), false)));
        }
    }
}
