//! What is left of a payload that is passed on without being looked at.

use super::{ReplyScanner, State};

impl ReplyScanner {
    /// Bytes of the bulk at hand that are still to come, without the line end behind them: nothing need be known of them.
    pub fn payload_left(&self) -> u64 {
        if self.state == State::Payload { self.payload_left } else { 0 }
    }

    /// So many of these have been passed on.
    pub fn skip_payload(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.payload_left(), "no more than is left");
        self.payload_left = self.payload_left.saturating_sub(bytes);
        if self.payload_left == 0 && self.state == State::Payload {
            self.state = State::PayloadReturn;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ScanLimits;
    use super::*;

    #[test]
    fn what_is_skipped_counts_as_if_it_had_been_looked_at() {
        let mut scanner = ReplyScanner::new(ScanLimits::default());
        assert_eq!(scanner.payload_left(), 0, "nothing has begun");
        assert!(scanner.scan(b"*2\r\n$10\r\n012").is_ok_and(|scanned| !scanned.end));
        assert_eq!(scanner.payload_left(), 7);
        scanner.skip_payload(3);
        assert_eq!(scanner.payload_left(), 4);
        scanner.skip_payload(4);
        assert_eq!(scanner.payload_left(), 0, "the line end is looked at");
        assert!(scanner.scan(b"\r\n:1\r").is_ok_and(|scanned| !scanned.end));
        assert_eq!(scanner.payload_left(), 0, "a number has no payload");
        assert!(scanner.scan(b"\n").is_ok_and(|scanned| scanned.end));
    }

    #[test]
    fn what_follows_must_still_be_a_line_end() {
        let mut scanner = ReplyScanner::new(ScanLimits::default());
        assert!(scanner.scan(b"$3\r\n0").is_ok());
        scanner.skip_payload(2);
        assert!(scanner.scan(b"xx").is_err());
    }
}
