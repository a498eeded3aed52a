//! Reads the replies to the proxy's own questions: which TTL a key has.

use super::Part;
use crate::pipeline::finding::{Finding, TtlState};
use crate::pipeline::probe::Probe;
use crate::pipeline::sequencer::Sequencer;
use crate::pipeline::slot::Question;
use respguard_resp::value;

impl Sequencer {
    /// Takes a piece of the answer to a question.
    pub(super) fn admit_answer(&mut self, number: u64, piece: &[u8], part: Part, found: &mut Vec<Finding>) {
        let Some(at) = self.questions.iter().position(|question| question.number == number) else {
            return found.push(Finding::CloseUpstream);
        };
        if part.first
            && let Some(probe) = self.questions[at].probe.take()
        {
            self.read_ttl(probe, piece, found);
        }
        if part.last {
            self.questions.remove(at);
        }
    }

    /// A question will not be answered.
    pub(super) fn abandon_answer(&mut self, number: u64, found: &mut Vec<Finding>) {
        let Some(at) = self.questions.iter().position(|question| question.number == number) else { return };
        if let Some(Question { probe: Some(probe), .. }) = self.questions.remove(at) {
            // What was found before the write is of no use without what is found behind it.
            if let Some(at) = self.ttls_before.iter().position(|(key, _)| *key == probe.key) {
                self.ttls_before.remove(at);
            }
            found.push(Finding::Ttl { probe, state: TtlState::Unknown });
        }
    }

    fn read_ttl(&mut self, probe: Probe, reply: &[u8], found: &mut Vec<Finding>) {
        let ttl = value::integer(reply);
        if probe.before {
            if let Some(ttl) = ttl {
                self.ttls_before.push_back((probe.key, ttl));
            }
            return;
        }
        let before = self.ttls_before.iter().position(|(key, _)| *key == probe.key);
        // Answers come in the order of the questions: most stand at the front.
        let before = before.and_then(|at| self.ttls_before.remove(at)).map(|(_, ttl)| ttl);
        let state = match ttl {
            Some(-1) => TtlState::None { dropped: before.is_some_and(|ttl| ttl >= 0) },
            Some(ttl) if probe.rule.is_exceeded_by(ttl) => TtlState::TooLong,
            Some(_) => TtlState::Fine,
            None if reply.starts_with(b"-NOPERM ") => TtlState::Refused,
            // A server that loads its dataset will answer again.
            None => TtlState::Unknown,
        };
        found.push(Finding::Ttl { probe, state });
    }
}
