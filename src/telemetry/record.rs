//! The JSON form of a violation, the same over HTTP, in the stream and in the file.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use respguard_engine::pipeline::violation::Violation;

/// The version of the object; it grows when a field changes its meaning or goes, not when one comes.
pub const SCHEMA: u32 = 1;

/// A violation as it was kept.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counts violations of this process from 1, without gaps.
    pub sequence: u64,
    pub at: SystemTime,
    /// The client's address.
    pub client: Box<str>,
    pub violation: Violation,
}

/// The object; docs/violations.md describes it.
#[derive(Debug, Serialize)]
pub struct RecordJson<'a> {
    schema: u32,
    sequence: u64,
    at: String,
    at_ms: u64,
    kind: &'static str,
    rule: Option<&'a str>,
    commands: &'a [Box<str>],
    place: Option<u32>,
    error: Option<&'a str>,
    key_pattern: Option<&'a str>,
    /// Only where the configuration asks for keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    reason: Option<&'a str>,
    client: &'a str,
}

impl Record {
    /// The violation as it is shown.
    pub fn shown(&self) -> RecordJson<'_> {
        let Violation { kind, rule, commands, place, error, key_pattern, key, reason } = &self.violation;
        RecordJson {
            schema: SCHEMA,
            sequence: self.sequence,
            at: rfc3339(self.at),
            at_ms: unix_ms(self.at),
            kind: kind.as_str(),
            rule: rule.as_deref(),
            commands,
            place: *place,
            error: error.as_deref(),
            key_pattern: key_pattern.as_deref(),
            key: key.as_deref(),
            reason: reason.as_deref(),
            client: &self.client,
        }
    }
}

/// Milliseconds since 1970.
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `2026-03-01T12:00:00.250Z` (RFC 3339).
pub fn rfc3339(time: SystemTime) -> String {
    // What was before 1970 cannot be written.
    humantime::format_rfc3339_millis(time.max(UNIX_EPOCH)).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use respguard_engine::pipeline::violation::Kind;

    #[test]
    fn times_are_written_as_dates_with_leap_days() {
        for (seconds, wanted) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_767_225_600, "2026-01-01T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), wanted);
        }
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_millis(7)), "1970-01-01T00:00:00.007Z");
    }

    #[test]
    fn every_field_is_there_known_or_not() {
        let violation = Violation::new(Kind::Split).commands(["set"]);
        let record = Record { sequence: 3, at: UNIX_EPOCH, client: "127.0.0.1:1".into(), violation };
        assert_eq!(
            serde_json::to_string(&record.shown()).expect("JSON"),
            "{\"schema\":1,\"sequence\":3,\"at\":\"1970-01-01T00:00:00.000Z\",\"at_ms\":0,\"kind\":\"split\",\"rule\":null,\
             \"commands\":[\"set\"],\"place\":null,\"error\":null,\"key_pattern\":null,\"reason\":null,\"client\":\"127.0.0.1:1\"}"
        );
    }
}
