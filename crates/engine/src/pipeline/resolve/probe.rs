//! Reads the answers to questions of our own: what TTL a key has.

use std::time::Duration;

use crate::pipeline::finding::{Finding, TtlState};
use crate::pipeline::slot::Slots;
use respguard_resp::value;

impl Slots {
    pub(super) fn admit_probe(&mut self, reply: &[u8], found: &mut Vec<Finding>) {
        let Some(probe) = self.probes.front() else { return };
        let ttl = value::integer(reply);
        if probe.before {
            if let Some(ttl) = ttl {
                self.ttls_before.push_back((probe.key.clone(), ttl));
            }
            return;
        }
        let before = self.ttls_before.iter().position(|(key, _)| *key == probe.key);
        // Answers come in the order of the questions: most stand at the front.
        let before = before.and_then(|at| self.ttls_before.remove(at)).map(|(_, ttl)| ttl);
        let state = match ttl {
            Some(-1) => TtlState::None { dropped: before.is_some_and(|ttl| ttl >= 0) },
            Some(ttl) if is_longer(ttl, probe.rule.max) => TtlState::TooLong,
            Some(_) => TtlState::Fine,
            None if reply.starts_with(b"-NOPERM ") => TtlState::Refused,
            // A server that loads its dataset will answer again.
            None => TtlState::Unknown,
        };
        found.push(Finding::Ttl { probe: probe.clone(), state });
    }

    pub(in super::super) fn forgo_probe(&mut self, found: &mut Vec<Finding>) {
        if let Some(probe) = self.probes.front() {
            // What was found before the write is of no use without what is found behind it.
            if let Some(at) = self.ttls_before.iter().position(|(key, _)| *key == probe.key) {
                self.ttls_before.remove(at);
            }
            found.push(Finding::Ttl { probe: probe.clone(), state: TtlState::Unknown });
        }
    }
}

/// `ttl` in milliseconds, negative for none.
fn is_longer(ttl: i64, max: Option<Duration>) -> bool {
    max.is_some_and(|max| u128::try_from(ttl).is_ok_and(|ttl| ttl > max.as_millis()))
}
