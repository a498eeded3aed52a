//! A TTL that a rule gives within a group's transaction, and what takes it back.

use crate::pipeline::wire::TtlFix;

/// A TTL that is given within the transaction, and what has become of it.
#[derive(Debug)]
pub(super) struct GivenTtl {
    /// The place among the queued commands of the one that gives it.
    pub(super) place: u32,
    pub(super) fix: TtlFix,
    pub(super) failed: usize,
    pub(super) given: bool,
}

impl GivenTtl {
    pub(super) fn new(place: u32, fix: TtlFix) -> Option<GivenTtl> {
        (!fix.members.is_empty()).then_some(GivenTtl { place, fix, failed: 0, given: false })
    }

    pub(super) fn is_undeserved(&self) -> bool {
        self.given && self.failed == self.fix.members.len()
    }
}

/// Commands of our own that are under way behind the transaction, while the members' replies wait.
#[derive(Debug)]
pub(super) struct TakeBack {
    request: Vec<u8>,
    sent: bool,
    owed: u32,
    pub(super) replies: Vec<u8>,
}

impl TakeBack {
    /// To be sent, while the replies wait for its answers.
    pub(super) fn new(request: Vec<u8>, owed: u32, replies: Vec<u8>) -> TakeBack {
        TakeBack { request, sent: false, owed, replies }
    }

    pub(super) fn is_unsent(&self) -> bool {
        !self.sent
    }

    pub(super) fn take(&mut self) -> Option<(&[u8], u32)> {
        let was_sent = std::mem::replace(&mut self.sent, true);
        (!was_sent).then_some((&self.request[..], self.owed))
    }

    pub(super) fn owed(&self) -> u32 {
        self.owed
    }

    /// One has been answered, whatever it says; true when it was the last.
    pub(super) fn admit(&mut self, out: &mut Vec<u8>) -> bool {
        self.owed = self.owed.saturating_sub(1);
        if self.owed == 0 {
            out.append(&mut self.replies);
        }
        self.owed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_undeserved_where_it_was_given_and_all_its_writes_have_failed() {
        let fix = |members: &[u32]| TtlFix { key: Box::from(&b"k"[..]), members: members.to_vec() };
        assert!(GivenTtl::new(2, fix(&[])).is_none());
        let mut ttl = GivenTtl::new(2, fix(&[0, 1])).expect("there are members that write the key");
        ttl.failed = 2;
        assert!(!ttl.is_undeserved(), "the key had a TTL already");
        ttl.given = true;
        assert!(ttl.is_undeserved());
        ttl.failed = 1;
        assert!(!ttl.is_undeserved(), "one write has succeeded");
    }

    #[test]
    fn replies_wait_until_everything_that_takes_back_is_answered() {
        let mut take_back = TakeBack::new(b"PERSIST a PERSIST b".to_vec(), 2, b"+OK\r\n".to_vec());
        assert!(take_back.is_unsent());
        assert_eq!(take_back.take(), Some((&b"PERSIST a PERSIST b"[..], 2)));
        assert_eq!((take_back.is_unsent(), take_back.take()), (false, None));
        let mut out = Vec::new();
        assert!(!take_back.admit(&mut out) && out.is_empty() && take_back.owed() == 1);
        assert!(take_back.admit(&mut out));
        assert_eq!(out, b"+OK\r\n");
    }
}
