//! SETNX that goes out as SET: whether its user may SET, and what the answer means.

use respguard_resp::{encode, value};

/// Whether the user may SET this key: nothing is set, for the options contradict each other, and a user who may not is told that
/// before they are looked at (<https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>).
pub fn question(key: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    encode::request(&mut request, &[b"SET", key, b"", b"NX", b"XX"]);
    request
}

/// What the answer means; nothing, where it says something of the server only.
pub fn may_set(reply: &[u8]) -> Option<bool> {
    if reply.starts_with(b"-NOPERM ") {
        return Some(false);
    }
    reply.starts_with(b"-ERR syntax error").then_some(true)
}

/// What SETNX would have answered in the place of what SET with NX has.
pub(super) fn turned(reply: &[u8]) -> &[u8] {
    if reply == b"+OK\r\n" {
        b":1\r\n"
    } else if value::is_null(reply) {
        b":0\r\n"
    } else {
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_to_set_becomes_that_to_setnx() {
        let pairs = [("+OK\r\n", ":1\r\n"), ("$-1\r\n", ":0\r\n"), ("_\r\n", ":0\r\n"), ("-OOM x\r\n", "-OOM x\r\n")];
        assert!(pairs.iter().all(|(set, setnx)| turned(set.as_bytes()) == setnx.as_bytes()));
    }

    #[test]
    fn only_a_refusal_by_name_means_that_a_user_may_not() {
        let read = ["-NOPERM this user", "-ERR syntax error\r\n", "-LOADING x", "+OK\r\n"].map(|reply| may_set(reply.as_bytes()));
        assert_eq!(read, [Some(false), Some(true), None, None]);
    }
}
