//! Finds the longest of many literal prefixes of a byte string, without trying each of them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// Literal prefixes in a tree that branches where they differ.
///
/// A look-up compares what the prefixes have in common once, however many they are.
#[derive(Clone, Debug, Default)]
pub(super) struct PrefixTrie {
    /// The root is the first, the children of each node stand side by side.
    nodes: Box<[Node]>,
    /// For each node its label, then the byte that leads to each of its children.
    text: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    label: u32,
    branches: u32,
    behind: u32,
    first_child: u32,
    /// One more than the place of the prefix that ends behind the label, or 0.
    place: u32,
}

impl PrefixTrie {
    /// The prefixes are sorted, none of them comes twice; a look-up answers with a place among them.
    pub(super) fn new(sorted: &[&[u8]]) -> PrefixTrie {
        let (mut nodes, mut text) = (vec![Node::default()], Vec::new());
        let mut open = VecDeque::from([(0, 0..sorted.len(), 0)]);
        while let Some((at, mut range, depth)) = open.pop_front() {
            let Some((first, last)) = sorted[range.clone()].first().zip(sorted[range.clone()].last()) else { continue };
            let end = depth + shared(&first[depth..], &last[depth..]);
            nodes[at].label = number(text.len());
            text.extend_from_slice(&first[depth..end]);
            nodes[at].branches = number(text.len());
            if first.len() == end {
                range.start += 1;
                nodes[at].place = number(range.start);
            }
            nodes[at].first_child = number(nodes.len());
            while let Some(child) = next_child(sorted, &mut range, end) {
                text.push(sorted[child.start][end]);
                open.push_back((nodes.len(), child, end + 1));
                nodes.push(Node::default());
            }
            nodes[at].behind = number(text.len());
        }
        PrefixTrie { nodes: nodes.into(), text: text.into() }
    }

    /// The prefixes of numbered things, with the numbers of each, those of shorter prefixes included, in order.
    pub(super) fn with_places<'b>(things: impl IntoIterator<Item = (u32, &'b [u8])>) -> (PrefixTrie, Box<[Box<[u32]>]>) {
        let mut by_prefix: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
        for (thing, prefix) in things {
            by_prefix.entry(prefix).or_default().push(thing);
        }
        let sorted: Vec<&[u8]> = by_prefix.keys().copied().collect();
        let mut places: Vec<Box<[u32]>> = Vec::new();
        // Those that the one at hand begins with; the last is the longest, and has the things of all before it.
        let mut shorter: Vec<usize> = Vec::new();
        for (place, (prefix, mut own)) in by_prefix.into_iter().enumerate() {
            while shorter.pop_if(|shorter| !prefix.starts_with(sorted[*shorter])).is_some() {}
            own.extend(shorter.last().into_iter().flat_map(|shorter| &places[*shorter]));
            own.sort_unstable();
            own.dedup();
            places.push(own.into());
            shorter.push(place);
        }
        (PrefixTrie::new(&sorted), places.into())
    }

    /// The place of the longest that the bytes begin with.
    pub(super) fn longest(&self, bytes: &[u8]) -> Option<usize> {
        let mut longest = 0;
        self.descend(bytes, |place| {
            longest = place;
            true
        });
        (longest > 0).then(|| longest as usize - 1)
    }

    /// Whether the bytes begin with any of them.
    #[inline(never)]
    pub(super) fn any(&self, bytes: &[u8]) -> bool {
        let mut any = false;
        self.descend(bytes, |_| {
            any = true;
            false
        });
        any
    }

    /// Visits the nodes that the bytes lead to at which a prefix ends, until told to stop.
    #[inline]
    fn descend(&self, bytes: &[u8], mut visit: impl FnMut(u32) -> bool) {
        let (mut rest, mut node) = (bytes, self.nodes.first());
        while let Some(&Node { label, branches, behind, first_child, place }) = node {
            if branches > label {
                let Some(remaining) = rest.strip_prefix(&self.text[label as usize..branches as usize]) else { return };
                rest = remaining;
            }
            if place > 0 && !visit(place) {
                return;
            }
            let Some((byte, remaining)) = rest.split_first() else { return };
            let Some(child) = memchr::memchr(*byte, &self.text[branches as usize..behind as usize]) else { return };
            (rest, node) = (remaining, self.nodes.get(first_child as usize + child));
        }
    }
}

/// Takes those off the front of the range that have the same byte at `at`.
fn next_child(sorted: &[&[u8]], range: &mut Range<usize>, at: usize) -> Option<Range<usize>> {
    let byte = sorted[range.clone()].first()?[at];
    let count = sorted[range.clone()].iter().take_while(|prefix| prefix[at] == byte).count();
    let child = range.start..range.start + count;
    range.start = child.end;
    Some(child)
}

/// How many bytes two have in common at the front.
fn shared(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("the rules of one configuration are far less than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(sorted: &[&str]) -> PrefixTrie {
        PrefixTrie::new(&sorted.iter().map(|text| text.as_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn the_longest_that_fits_is_found_and_one_byte_less_finds_the_one_before() {
        let found = prefixes(&["a:", "a:b", "a:bc:", "b"]);
        for (text, place) in [("a:", 0), ("a:x", 0), ("a:b", 1), ("a:bc", 1), ("a:bc:", 2), ("a:bc:d", 2), ("b", 3), ("bb", 3)] {
            assert_eq!(found.longest(text.as_bytes()), Some(place), "{text}");
        }
        for text in ["", "a", "c", "A:"] {
            assert_eq!(found.longest(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_empty_one_is_a_prefix_of_everything() {
        let found = prefixes(&["", "a"]);
        assert_eq!([found.longest(b""), found.longest(b"b"), found.longest(b"a")], [Some(0), Some(0), Some(1)]);
        assert!(found.any(b""));
        assert!(!PrefixTrie::default().any(b"a") && !prefixes(&[]).any(b""));
    }

    #[test]
    fn prefixes_longer_than_a_word_differ_behind_it() {
        let found = prefixes(&["a:long:prefix:1", "a:long:prefix:2"]);
        for (text, place) in [("a:long:prefix:1", Some(0)), ("a:long:prefix:22", Some(1)), ("a:long:prefix:3", None)] {
            assert_eq!(found.longest(text.as_bytes()), place, "{text}");
        }
        assert!(!found.any(b"a:long:b") && !found.any(b"a:long:") && !found.any(b""));
    }

    proptest::proptest! {
        #[test]
        fn the_tree_agrees_with_trying_each(
            texts in proptest::collection::btree_set("[abc]{0,5}", 0..24),
            key in "[abcd]{0,7}",
        ) {
            let sorted: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
            let found = PrefixTrie::new(&sorted);
            let expected = sorted.iter().rposition(|prefix| key.as_bytes().starts_with(prefix));
            proptest::prop_assert_eq!(found.longest(key.as_bytes()), expected);
            proptest::prop_assert_eq!(found.any(key.as_bytes()), expected.is_some());
        }
    }
}
