//! The marker of a group with `once`: its key, its content, and what it says about a repeated group.
//!
//! It is a key of the group's own slot, set by the group's transaction and asked for by its preflight, which watches it. It lives
//! as long as the same group counts as a duplicate. `1 LIFETIME ID` is what it holds: the version of this form, how many
//! milliseconds it was to live, and a name that no other application of a group has. What the group was answered may lie beside
//! it, under that name. A marker of another version is a marker all the same: nothing more is read from it.

use std::time::Duration;

use super::names::{push_hex, slot_prefix};
use respguard_resp::{encode, scan, value};

const VERSION: &str = "1";
/// Replies that take more room are not kept.
pub const REPLIES_BYTES_MAX: usize = 16 * 1024;

/// A group that is applied once, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    pub(super) marker: Vec<u8>,
    /// How long a group that comes again is a duplicate.
    pub lifetime: Duration,
}

/// What a marker said of a group that has come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// How long ago the group was applied.
    pub age: Option<Duration>,
    /// What it was answered, behind the digit of its protocol; empty where that is not kept.
    pub replies: Box<[u8]>,
}

impl Once {
    /// For the group of this name whose first key is `key`; groups with the same digest are the same.
    pub fn new(prefix: &str, key: &[u8], group: &str, digest: &[u8], lifetime: Duration) -> Once {
        let mut marker = slot_prefix(prefix, key);
        marker.extend_from_slice(b"once:");
        marker.extend_from_slice(group.as_bytes());
        marker.push(b':');
        digest.iter().for_each(|byte| push_hex(&mut marker, u64::from(*byte), 2));
        Once { marker, lifetime }
    }

    /// The marker's key.
    pub fn marker(&self) -> &[u8] {
        &self.marker
    }

    /// The command that sets the marker, within the group's transaction (<https://redis.io/docs/latest/commands/set/>).
    pub fn mark(&self, id: &[u8]) -> Vec<u8> {
        let lifetime = self.lifetime.as_millis().to_string();
        let value = [VERSION.as_bytes(), lifetime.as_bytes(), id].join(&b' ');
        let mut request = Vec::with_capacity(self.marker.len() + 128);
        encode::request(&mut request, &[b"SET", &self.marker, &value, b"PX", lifetime.as_bytes()]);
        request
    }

    /// The command that keeps what the group was answered.
    pub fn keep(&self, id: &[u8], protocol: u8, replies: &[u8]) -> Vec<u8> {
        let (key, value) = ([&self.marker, id].join(&b':'), [&[protocol], replies].concat());
        let mut request = Vec::with_capacity(key.len() + value.len() + 64);
        encode::request(&mut request, &[b"SET", &key, &value, b"PX", self.lifetime.as_millis().to_string().as_bytes()]);
        request
    }
}

impl Duplicate {
    /// Reads what the preflight has answered: the marker's time to live, the marker and the replies.
    pub(super) fn read(frame: &[u8]) -> Option<Duplicate> {
        let mut parts = scan::elements(frame);
        let (left, marker, replies) = (parts.next()?, parts.next()?, parts.next()?);
        let age = lifetime(value::bulk(marker)?).and_then(|lifetime| {
            let left = u64::try_from(value::integer(left)?).ok()?;
            lifetime.checked_sub(left).map(Duration::from_millis)
        });
        Some(Duplicate { age, replies: value::bulk(replies)?.into() })
    }
}

/// How long a marker of our own form was to live.
fn lifetime(marker: &[u8]) -> Option<u64> {
    let mut words = str::from_utf8(marker).ok()?.split(' ');
    (words.next() == Some(VERSION)).then(|| words.next()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duplicate(left: &str, marker: &str, replies: &str) -> Option<Duplicate> {
        let mut frame = format!("*3\r\n:{left}\r\n").into_bytes();
        encode::bulk(&mut frame, marker.as_bytes());
        encode::bulk(&mut frame, replies.as_bytes());
        Duplicate::read(&frame)
    }

    #[test]
    fn a_marker_tells_how_long_ago_its_group_was_applied() {
        let age = |left, marker| duplicate(left, marker, "").expect("a duplicate").age;
        assert_eq!(age("9000", "1 10000 ff"), Some(Duration::from_secs(1)));
        assert_eq!(age("10000", "1 10000 ff"), Some(Duration::ZERO));
        for (left, marker) in [("11000", "1 10000 ff"), ("-1", "1 10000 ff"), ("5", "2 10000 ff"), ("5", "1"), ("5", "")] {
            assert_eq!(age(left, marker), None, "{left} {marker}");
        }
    }

    #[test]
    fn what_is_no_answer_about_a_marker_is_none() {
        assert_eq!(Duplicate::read(b":0\r\n"), None);
        assert_eq!(Duplicate::read(b"*2\r\n:1\r\n$1\r\n1\r\n"), None);
    }

    #[test]
    fn a_marker_lies_in_the_slot_of_its_group_and_is_the_same_for_the_same_group() {
        let once = |key: &[u8], group, digest: &[u8]| Once::new("p:", key, group, digest, Duration::from_secs(1));
        assert_eq!(once(b"a{u}b", "g", &[1, 255]).marker(), b"p:{u}:once:g:01ff");
        assert_ne!(once(b"{u}", "g", &[1]), once(b"{u}", "h", &[1]));
        let set = String::from_utf8(once(b"k", "g", &[7]).mark(b"ab")).expect("text");
        assert!(set.contains("p:{k}:once:g:07\r\n$9\r\n1 1000 ab\r\n$2\r\nPX\r\n$4\r\n1000"), "{set}");
    }
}
