//! Removes TTLs that a rule has set on keys whose write then failed.
//!
//! The TTL goes out in the transaction of the write, before anybody knows what becomes of that. A write that fails changes
//! nothing, and so must what was added to it: `PEXPIRE key default NX` has answered 1 only where the key had no TTL, so that
//! PERSIST restores what was (<https://redis.io/docs/latest/commands/persist/>).

use super::given_ttl::TakeBack;
use super::{Behind, WrappedGroup};
use crate::pipeline::finding::Finding;
use respguard_resp::encode;
use respguard_resp::scan::{Top, elements};
use respguard_resp::value;

impl WrappedGroup {
    /// Looks at the elements of EXEC's whole array.
    pub(super) fn note_ttl_fixes(&mut self, frame: &[u8], top: Top) {
        if self.given_ttls.is_empty() || top.elements != self.queued() || top.null || value::is_error(frame) {
            return;
        }
        (0..).zip(elements(frame)).for_each(|(place, reply)| self.note_ttl_fix(place, reply));
    }

    /// Looks at one element of EXEC's array, or at the beginning of one.
    pub(super) fn note_ttl_fix(&mut self, place: u32, reply: &[u8]) {
        if self.given_ttls.is_empty() {
            return;
        }
        match self.member_at(place) {
            None => {
                let given = self.given_ttls.iter_mut().find(|ttl| ttl.place == place);
                given.into_iter().for_each(|ttl| ttl.given = reply == b":1\r\n");
            }
            Some(member) if value::is_error(reply) => {
                let of_member = self.given_ttls.iter_mut().filter(|ttl| ttl.fix.members.contains(&member));
                of_member.for_each(|ttl| ttl.failed += 1);
            }
            Some(_) => {}
        }
    }

    /// Takes back what was given for nothing; true when the replies, in `out` from `before` on, wait for that.
    ///
    /// They do if nothing stands behind the group, of which they could be overtaken.
    pub(super) fn takes_back(&mut self, behind: Behind, before: usize, out: &mut Vec<u8>, found: &mut Vec<Finding>) -> bool {
        let (mut request, mut owed) = (Vec::new(), 0);
        for ttl in self.given_ttls.iter().filter(|ttl| ttl.is_undeserved()) {
            encode::request(&mut request, &[b"PERSIST", &ttl.fix.key]);
            owed += 1;
        }
        self.given_ttls.clear();
        if owed == 0 {
            return false;
        }
        if behind == Behind::Requests {
            found.push(Finding::FollowUp { request, frames: owed });
            return false;
        }
        self.take_back = Some(Box::new(TakeBack::new(request, owed, out.split_off(before))));
        true
    }

    /// What takes TTLs back will not be answered: the replies that waited for that go out.
    pub(in super::super) fn abandon_take_back(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(mut take_back) = self.take_back.take() else { return false };
        out.append(&mut take_back.replies);
        true
    }
}
