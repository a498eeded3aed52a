//! Metrics of compressed values.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, histogram};

use super::label::{ValueDirection, ValueForm, key};
use super::names;

/// Counts a value by its bytes, and those that are stored.
pub fn count_value(rule: &Arc<str>, direction: ValueDirection, original: u64, stored: u64) {
    for (form, bytes) in [(ValueForm::Original, original), (ValueForm::Stored, stored)] {
        let (direction, form) = (direction.as_str(), form.as_str());
        counter!(names::COMPRESS_BYTES_TOTAL, key::RULE => Arc::clone(rule), key::DIRECTION => direction, key::FORM => form)
            .increment(bytes);
    }
}

/// Counts commands that would have looked into compressed values, or are too long.
pub fn count_refused(rule: &Arc<str>, commands: u64) {
    counter!(names::COMPRESS_REFUSED_TOTAL, key::RULE => Arc::clone(rule)).increment(commands);
}

/// Counts values that cannot be read.
pub fn count_failed(rule: &Arc<str>, values: u64) {
    counter!(names::COMPRESS_FAILED_TOTAL, key::RULE => Arc::clone(rule)).increment(values);
}

/// Notes how long the long values of one client took.
pub fn observe(elapsed: Duration) {
    histogram!(names::COMPRESS_SECONDS).record(elapsed);
}

/// Shows all of a rule before it counts.
pub fn show(rule: &Arc<str>) {
    ValueDirection::ALL.into_iter().for_each(|direction| count_value(rule, direction, 0, 0));
    count_refused(rule, 0);
    count_failed(rule, 0);
}
