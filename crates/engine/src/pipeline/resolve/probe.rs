//! Reads the replies to the proxy's own questions: which TTL a key has.

use super::Part;
use crate::pipeline::finding::{Finding, TtlState};
use crate::pipeline::probe::Probe;
use crate::pipeline::sequencer::{RareState, Sequencer, TtlsBefore};
use crate::pipeline::slot::Question;
use respguard_resp::value;

impl Sequencer {
    /// Takes a piece of the answer to a question.
    pub(super) fn admit_answer(&mut self, number: u64, piece: &[u8], part: Part, found: &mut Vec<Finding>) {
        let Some((rare, at)) = self.question(number) else {
            return found.push(Finding::CloseUpstream);
        };
        if part.first
            && let Some(probe) = rare.questions[at].probe.take()
        {
            read_ttl(&mut rare.ttls_before, probe, piece, found);
        }
        if part.last {
            rare.questions.remove(at);
        }
    }

    /// A question will not be answered.
    pub(super) fn abandon_answer(&mut self, number: u64, found: &mut Vec<Finding>) {
        let Some((rare, at)) = self.question(number) else { return };
        if let Some(Question { probe: Some(probe), .. }) = rare.questions.remove(at) {
            // What was found before the write is of no use without what is found behind it.
            take_before(&mut rare.ttls_before, &probe);
            found.push(Finding::Ttl { probe, state: TtlState::Unknown });
        }
    }

    /// The question with this number, and its place.
    fn question(&mut self, number: u64) -> Option<(&mut RareState, usize)> {
        let rare = self.rare.get_mut()?;
        let at = rare.questions.iter().position(|question| question.number == number)?;
        Some((rare, at))
    }
}

fn read_ttl(ttls_before: &mut TtlsBefore, probe: Probe, reply: &[u8], found: &mut Vec<Finding>) {
    let ttl = value::integer(reply);
    if probe.before {
        if let Some(ttl) = ttl {
            ttls_before.push_back((probe.key, ttl));
        }
        return;
    }
    let before = take_before(ttls_before, &probe);
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

/// What was found before the write to the probe's key.
fn take_before(ttls_before: &mut TtlsBefore, probe: &Probe) -> Option<i64> {
    // Answers come in the order of the questions: most stand at the front.
    let at = ttls_before.iter().position(|(key, _)| *key == probe.key)?;
    ttls_before.remove(at).map(|(_, ttl)| ttl)
}
