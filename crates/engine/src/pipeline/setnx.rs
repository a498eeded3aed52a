//! SETNX that goes out as SET: what its answer means.

use respguard_resp::value;

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
}
