//! Finds which of many names are the same key, without comparing all of them.

use std::collections::HashMap;
use std::hash::Hash;

use smallvec::SmallVec;

/// So many names are looked through, which is quicker than hashing; those behind them are hashed.
const FEW: usize = 16;
/// So many are kept without asking the allocator for room.
const INLINE: usize = 4;

/// Places by names.
#[derive(Debug)]
pub(super) struct KeyAliases<N> {
    few: SmallVec<[(N, usize); INLINE]>,
    others: Option<HashMap<N, usize>>,
}

impl<N> Default for KeyAliases<N> {
    fn default() -> Self {
        KeyAliases { few: SmallVec::new(), others: None }
    }
}

impl<N: Copy + Eq + Hash> KeyAliases<N> {
    /// Where the name leads to, if it has been met.
    pub(super) fn get(&self, name: N) -> Option<usize> {
        let known = self.few.iter().find(|(known, _)| *known == name);
        known.map(|(_, place)| *place).or_else(|| self.others.as_ref()?.get(&name).copied())
    }

    /// From here on the name leads to `place`.
    pub(super) fn set(&mut self, name: N, place: usize) {
        if let Some(known) = self.few.iter_mut().find(|(known, _)| *known == name) {
            known.1 = place;
        } else if self.few.len() < FEW {
            self.few.push((name, place));
        } else {
            self.others.get_or_insert_default().insert(name, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_and_many_lead_where_they_were_set_to_last() {
        let names: Vec<String> = (0..3 * FEW).map(|number| format!("key:{number}")).collect();
        let mut aliases: KeyAliases<&[u8]> = KeyAliases::default();
        for (place, name) in names.iter().enumerate() {
            assert_eq!(aliases.get(name.as_bytes()), None);
            aliases.set(name.as_bytes(), place);
        }
        for (place, name) in names.iter().enumerate().step_by(2) {
            aliases.set(name.as_bytes(), place + 1000);
        }
        for (place, name) in names.iter().enumerate() {
            let expected = if place % 2 == 0 { place + 1000 } else { place };
            assert_eq!(aliases.get(name.as_bytes()), Some(expected), "{name}");
        }
    }
}
