//! Compiles `[[compress]]`.

use std::sync::Arc;

use super::{Errors, key_patterns};
use crate::command::Table;
use crate::packed::{Method, VALUE_BYTES_MAX};
use crate::policy::compress::CompressRule;
use crate::policy::group::{Group, Shape};
use crate::policy::requirement::Required;
use crate::policy::rule::{Algorithm, WrittenCompress};

/// What zstd does where nothing is said.
const LEVEL: i32 = 3;
const LEVEL_MAX: u64 = 19;
/// With the header less would gain nothing.
const MIN_BYTES: u64 = 64;

pub(super) fn compress(path: &str, written: &WrittenCompress, errors: &mut Errors) -> Option<CompressRule> {
    let before = errors.found.len();
    let keys = key_patterns(&format!("{path}.keys"), &written.keys, errors);
    if !(MIN_BYTES..=VALUE_BYTES_MAX).contains(&written.min_bytes) {
        let message = format!("{} is no length from which on it pays", written.min_bytes);
        errors.add(format!("{path}.min_bytes"), message, format!("{MIN_BYTES} to {VALUE_BYTES_MAX}"));
    }
    if written.value_bytes_max < written.min_bytes || written.value_bytes_max > VALUE_BYTES_MAX {
        let message = format!("{} cannot be the longest value", written.value_bytes_max);
        errors.add(format!("{path}.value_bytes_max"), message, format!("min_bytes to {VALUE_BYTES_MAX}"));
    }
    let method = match (written.algorithm, written.level) {
        (Algorithm::Lz4, None) => Method::Lz4,
        (Algorithm::Lz4, Some(_)) => {
            errors.add(format!("{path}.level"), "lz4 has no levels", "algorithm = \"zstd\", or no level");
            Method::Lz4
        }
        (Algorithm::Zstd, level) => match level.map_or(Some(LEVEL), |level| i32::try_from(level).ok()) {
            Some(level) if (1..=LEVEL_MAX).contains(&(level as u64)) => Method::Zstd(level),
            _ => {
                errors.add(format!("{path}.level"), "there is no such level", format!("1 to {LEVEL_MAX}"));
                Method::Zstd(LEVEL)
            }
        },
    };
    (errors.found.len() == before).then(|| CompressRule {
        name: written.name.as_str().into(),
        keys,
        min_bytes: usize::try_from(written.min_bytes).unwrap_or(usize::MAX),
        method,
        write: written.write,
        scripts: written.scripts,
        value_bytes_max: written.value_bytes_max,
        mode: written.mode,
    })
}

/// A member that requires a value would be compared with what is stored, which may be compressed.
pub(super) fn refuse_required_values(
    groups: &[(usize, Arc<Group>)],
    rules: &[(usize, Arc<CompressRule>)],
    table: &Table,
    errors: &mut Errors,
) {
    for (number, group) in groups {
        let Shape::Templates(templates) = &group.shape else { continue };
        for (place, member) in templates.members.iter().enumerate() {
            if !member.require.as_ref().is_some_and(Required::is_value) {
                continue;
            }
            let keys = if table.spec(member.id).first_argument_is_only_key() { 1 } else { member.words.len() };
            let meets = |(_, rule): &&(usize, Arc<CompressRule>)| {
                rule.keys.iter().any(|key| member.words.iter().take(keys).any(|word| may_meet(key.prefix(), word.prefix())))
            };
            if let Some((_, rule)) = rules.iter().find(meets) {
                let path = format!("group[{number}].commands[{place}].require");
                let message = format!(
                    "values of such keys may be stored compressed (compress rule {}), and are compared as they are stored",
                    rule.name
                );
                errors.add(path, message, "another requirement, or keys that no compress rule is about");
            }
        }
    }
}

/// Whether a key can begin both ways.
fn may_meet(one: &[u8], other: &[u8]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
