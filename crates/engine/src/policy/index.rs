//! Finds the first of many key patterns that a key matches, without trying each of them.

use super::pattern::Pattern;
use super::prefix_trie::PrefixTrie;

/// Key patterns by the literal text they begin with.
///
/// A look-up tries only the patterns whose literal prefix the key shares.
#[derive(Clone, Debug)]
pub struct KeyIndex {
    prefixes: PrefixTrie,
    /// For each prefix the places in `patterns` of its patterns, those of shorter prefixes included, in order.
    places: Box<[Box<[u32]>]>,
    /// Each with its owner's place, in the owners' order.
    patterns: Box<[(usize, Pattern)]>,
}

impl KeyIndex {
    /// Indexes the patterns of a list of owners; an owner's place in the list is what a look-up answers.
    pub fn new<'p>(owners: impl IntoIterator<Item = &'p [Pattern]>) -> Self {
        let owned =
            owners.into_iter().enumerate().flat_map(|(owner, patterns)| patterns.iter().map(move |pattern| (owner, pattern)));
        let patterns: Box<[(usize, Pattern)]> = owned.map(|(owner, pattern)| (owner, pattern.clone())).collect();
        let (prefixes, places) =
            PrefixTrie::with_places((0u32..).zip(&patterns).map(|(place, (_, pattern))| (place, pattern.prefix())));
        Self { prefixes, places, patterns }
    }

    /// The first owner with a pattern that matches the key.
    pub fn first_match(&self, key: &[u8]) -> Option<usize> {
        let places = self.places.get(self.prefixes.longest(key)?)?;
        let mut patterns = places.iter().filter_map(|place| self.patterns.get(*place as usize));
        patterns.find(|(_, pattern)| pattern.matches_key(key)).map(|(owner, _)| *owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::pattern::Names;

    fn index(owners: &[&[&str]]) -> KeyIndex {
        let parse = |word: &&str| Pattern::parse(word, &mut Names::default()).unwrap();
        let owners: Vec<Vec<Pattern>> = owners.iter().map(|words| words.iter().map(parse).collect()).collect();
        KeyIndex::new(owners.iter().map(Vec::as_slice))
    }

    #[test]
    fn the_first_declared_owner_wins_whatever_is_more_specific() {
        let index = index(&[&["a:*"], &["a:b:*", "*:z"], &["*"]]);
        assert_eq!(index.first_match(b"a:b:c"), Some(0));
        assert_eq!(index.first_match(b"b:z"), Some(1));
        assert_eq!(index.first_match(b"b:y"), Some(2));
    }

    #[test]
    fn a_more_specific_owner_wins_where_it_is_declared_first() {
        let index = index(&[&["a:b:*"], &["a:*"]]);
        assert_eq!(index.first_match(b"a:b:c"), Some(0));
        assert_eq!(index.first_match(b"a:c"), Some(1));
    }

    #[test]
    fn a_key_without_a_pattern_has_no_owner() {
        let index = index(&[&["a:*"], &["exact"]]);
        assert_eq!(index.first_match(b"a"), None);
        assert_eq!(index.first_match(b""), None);
        assert_eq!(index.first_match(b"exactly"), None);
        assert_eq!(index.first_match(b"exac"), None);
        assert_eq!(index.first_match(b"exact"), Some(1));
        assert_eq!(KeyIndex::new([]).first_match(b"a"), None);
    }

    proptest::proptest! {
        #[test]
        fn the_index_agrees_with_trying_each_pattern_in_order(
            words in proptest::collection::vec("[ab]{0,3}\\*?[ab]{0,2}", 1..12),
            key in "[ab]{0,6}",
        ) {
            let patterns: Vec<Pattern> = words.iter().map(|w| Pattern::parse(w, &mut Names::default()).unwrap()).collect();
            let index = KeyIndex::new(patterns.iter().map(std::slice::from_ref));
            let expected = patterns.iter().position(|pattern| pattern.matches_key(key.as_bytes()));
            proptest::prop_assert_eq!(index.first_match(key.as_bytes()), expected);
        }
    }
}
