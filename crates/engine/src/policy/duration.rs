//! Parses durations: `500ms`, `30s`, `15m`, `1h`, `7d`.

use std::time::Duration;

/// What every duration in a rule looks like, for error messages.
pub const EXPECTED: &str = "a number and one of ms, s, m, h, d, such as \"30s\" or \"7d\", up to 36500d";

const MILLISECONDS_MAX: u64 = 36_500 * 24 * 3600 * 1000;

/// The duration, or `None` where the text is none, is zero or is longer than a hundred years.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return None,
    };
    let milliseconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=MILLISECONDS_MAX).contains(&milliseconds).then(|| Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse("15m"), Some(Duration::from_secs(900)));
        assert_eq!(parse("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(parse("7d"), Some(Duration::from_secs(604_800)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "7", "d", "7 d", " 7d", "-1s", "+1s", "1.5h", "7D", "1w", "99999999999999999999s"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn zero_and_more_than_the_longest_are_refused() {
        assert_eq!(parse("0s"), None);
        assert!(parse("1ms").is_some());
        assert!(parse("36500d").is_some());
        assert_eq!(parse("36501d"), None);
    }
}
