//! Finds the known word that a misspelt one was probably meant to be.

use strsim::osa_distance;

/// The nearest of the known words, if one is near enough to be a likely slip; the case does not matter.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_ascii_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let near = known.into_iter().map(|candidate| (osa_distance(&word, &candidate.to_ascii_lowercase()), candidate));
    near.filter(|(distance, _)| *distance <= allowed).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// All known words that are as near, at most so many, the nearest first.
pub fn all_near<'k>(word: &str, known: impl IntoIterator<Item = &'k str>, most: usize) -> Vec<&'k str> {
    let word = word.to_ascii_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let near = known.into_iter().map(|candidate| (osa_distance(&word, &candidate.to_ascii_lowercase()), candidate));
    let mut near: Vec<_> = near.filter(|(distance, _)| *distance <= allowed).collect();
    near.sort_by_key(|(distance, candidate)| (*distance, candidate.len().abs_diff(word.len()), *candidate));
    let least = near.first().map_or(0, |(distance, _)| *distance);
    near.into_iter().filter(|(distance, _)| *distance == least).map(|(_, candidate)| candidate).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word() {
        assert_eq!(nearest("comands", ["command", "commands", "keys"]), Some("commands"));
        assert_eq!(nearest("SETXE", ["setex", "set", "setnx"]), Some("setex"));
        assert_eq!(nearest("nmae", ["mode", "name"]), Some("name"));
    }

    #[test]
    fn all_that_are_as_near_are_given() {
        assert_eq!(all_near("SETX", ["setex", "set", "get", "setnx"], 3), ["set", "setex", "setnx"]);
        assert_eq!(all_near("SETXE", ["setex", "set", "setnx"], 3), ["setex"]);
        assert!(all_near("frobnicate", ["set"], 3).is_empty());
    }

    #[test]
    fn a_word_like_none_of_them_finds_nothing() {
        assert_eq!(nearest("frobnicate", ["commands", "keys"]), None);
        assert_eq!(nearest("", ["commands"]), None);
        assert_eq!(nearest("xy", ["ab"]), None);
    }
}
