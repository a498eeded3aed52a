//! Which cell each key's name leads to.

use std::collections::HashMap;

/// So many names are looked through, which is quicker than hashing; those behind them are hashed.
const FEW: usize = 16;

/// Cells by the names of their keys.
#[derive(Debug, Default)]
pub(super) struct Leads<'a> {
    few: Vec<(&'a [u8], usize)>,
    others: HashMap<&'a [u8], usize>,
}

impl<'a> Leads<'a> {
    /// Where the name leads to, if it has been met.
    pub(super) fn get(&self, name: &[u8]) -> Option<usize> {
        let known = self.few.iter().find(|(known, _)| *known == name);
        known.map(|(_, place)| *place).or_else(|| self.others.get(name).copied())
    }

    /// From here on the name leads to `place`.
    pub(super) fn set(&mut self, name: &'a [u8], place: usize) {
        if let Some(known) = self.few.iter_mut().find(|(known, _)| *known == name) {
            known.1 = place;
        } else if self.few.len() < FEW {
            self.few.push((name, place));
        } else {
            self.others.insert(name, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_and_many_lead_where_they_were_set_to_last() {
        let names: Vec<String> = (0..3 * FEW).map(|number| format!("key:{number}")).collect();
        let mut leads = Leads::default();
        for (place, name) in names.iter().enumerate() {
            assert_eq!(leads.get(name.as_bytes()), None);
            leads.set(name.as_bytes(), place);
        }
        for (place, name) in names.iter().enumerate().step_by(2) {
            leads.set(name.as_bytes(), place + 1000);
        }
        for (place, name) in names.iter().enumerate() {
            let expected = if place % 2 == 0 { place + 1000 } else { place };
            assert_eq!(leads.get(name.as_bytes()), Some(expected), "{name}");
        }
    }
}
