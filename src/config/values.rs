//! Reads values that several sections have.

use std::time::Duration;

use crate::net::address::{Address, AddressError};

use super::section::{Findings, Section};

/// The longest that any timeout can be.
pub(super) const TIMEOUT_MS_MAX: u64 = 3_600_000;

pub(super) fn address(section: &mut Section<'_>, findings: &mut Findings) -> Option<Address> {
    let text = section.text("address", findings)?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(error) => {
            let error: AddressError = error;
            findings.add(&section.path_of("address"), error.to_string(), AddressError::EXPECTED);
            None
        }
    }
}

pub(super) fn timeout(section: &mut Section<'_>, key: &'static str, default: Duration, findings: &mut Findings) -> Duration {
    let default_ms = u64::try_from(default.as_millis()).unwrap_or(TIMEOUT_MS_MAX);
    Duration::from_millis(section.number(key, 1..=TIMEOUT_MS_MAX, default_ms, findings))
}
