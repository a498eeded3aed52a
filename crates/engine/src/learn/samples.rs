//! Compresses a sample of values, to see by how much each key's would shrink.

use std::collections::BTreeMap;

use crate::command::{for_each_value, looks_into};
use crate::packed::{self, Method};
use crate::policy::rule::WrittenCompress;
use respguard_resp::request::Args;

/// Of one value no more is compressed to see, and of all values together.
const SAMPLE_BYTES_MAX: usize = 64 * 1024;
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Values that are tried of one key, and keys of which some are.
const VALUES_MAX: u32 = 4;
const KEYS_MAX: usize = 10_000;
/// As the rule's own default.
const METHOD: Method = Method::Zstd(3);

/// What was tried of one key, or of one family.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) values: u32,
    pub(super) original: u64,
    pub(super) stored: u64,
    /// A command looked into its value: with a rule it would be refused.
    pub(super) looked_into: bool,
}

impl Sample {
    pub(super) fn add(&mut self, other: &Sample) {
        self.values += other.values;
        self.original += other.original;
        self.stored += other.stored;
        self.looked_into |= other.looked_into;
    }
}

/// Everything that was tried.
#[derive(Default)]
pub(super) struct Samples {
    /// In order, so that the same traffic gives the same proposals.
    keys: BTreeMap<Box<[u8]>, Sample>,
    bytes: usize,
}

impl Samples {
    /// Takes one command.
    pub(super) fn command(&mut self, name: &str, args: Args<'_>) {
        let least = usize::try_from(WrittenCompress::default().min_bytes).unwrap_or(usize::MAX);
        for_each_value(name, args, &mut |key, place| {
            if let (Some(key), Some(value)) = (args.get(key), args.get(place))
                && value.len() >= least
            {
                self.value(key, value);
            }
        });
        if let Some(key) = args.get(1).filter(|_| looks_into(name, args))
            && let Some(tried) = self.tried(key)
        {
            tried.looked_into = true;
        }
    }

    fn value(&mut self, key: &[u8], value: &[u8]) {
        let sample = &value[..value.len().min(SAMPLE_BYTES_MAX)];
        if self.bytes + sample.len() > BYTES_MAX {
            return;
        }
        let Some(tried) = self.tried(key).filter(|tried| tried.values < VALUES_MAX) else { return };
        tried.values += 1;
        tried.original += sample.len() as u64;
        tried.stored += packed::pack(sample, Some(METHOD)).map_or(sample.len(), |stored| stored.len()) as u64;
        self.bytes += sample.len();
    }

    fn tried(&mut self, key: &[u8]) -> Option<&mut Sample> {
        if !self.keys.contains_key(key) {
            if self.keys.len() == KEYS_MAX {
                return None;
            }
            self.keys.insert(key.into(), Sample::default());
        }
        self.keys.get_mut(key)
    }

    /// Each key of which something was tried.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&[u8], &Sample)> {
        self.keys.iter().map(|(key, tried)| (&**key, tried))
    }
}
