//! The preflight of one group on the wire: its replies, and whether the group may be sent again.

use crate::preflight::once::REPLIES_BYTES_MAX;
use crate::preflight::request::Answer;
use crate::preflight::rollback::{BeginReply, FRAMES};
use crate::preflight::{Duplicate, Preflight, Rollback, Verdict};
use respguard_resp::scan::{elements, split_pushes};
use respguard_resp::{Protocol, encode, value};

/// How often a group is sent at most while other clients change its keys.
const ATTEMPTS_MAX: u32 = 3;
/// What WATCH and the questions are answered where nothing is wrong.
const FINE: &[u8] = b"+OK\r\n:0\r\n";

/// What precedes a group's transaction, and what it said.
#[derive(Debug)]
pub struct Guard {
    preflight: Preflight,
    /// Under which name what the group is answered is kept, and its protocol's digit, where that is to be.
    keeping: Option<(Vec<u8>, u8)>,
    /// Everything that was sent for the group; empty where it is too long to be kept.
    request: Vec<u8>,
    attempts: u32,
    /// Under which name it went out, where it is rolled back.
    name: Vec<u8>,
    watched: bool,
    verdict: Verdict,
    /// What WATCH or EVAL answered instead.
    error: Option<Box<[u8]>>,
    again: bool,
}

impl Guard {
    /// A preflight that is to be sent.
    pub fn new(preflight: Preflight) -> Guard {
        Guard {
            preflight,
            keeping: None,
            request: Vec::new(),
            attempts: 1,
            name: Vec::new(),
            watched: true,
            verdict: Verdict::Missing,
            error: None,
            again: false,
        }
    }

    /// What is asked.
    pub fn preflight(&self) -> &Preflight {
        &self.preflight
    }

    /// A key of ours is put back with the group's own, where it is rolled back.
    pub fn keep_too(&mut self, key: &[u8]) {
        self.preflight.keep_too(key);
    }

    /// It has been sent under this name.
    pub fn send_as(&mut self, name: Vec<u8>) {
        self.preflight.forget_questions();
        if self.rolls_back() {
            self.name = name;
        }
    }

    /// It is a part of this request, which is sent again where another client was the reason that nothing ran.
    pub fn keep_request(&mut self, request: Vec<u8>) {
        self.request = request;
    }

    /// What the group is answered is kept, in this protocol and under the name that its marker has.
    pub fn keep_answer(&mut self, id: Vec<u8>, protocol: Protocol) {
        self.keeping = Some((id, digit(protocol)));
    }

    /// Whether what the group is answered is kept, if it is short enough.
    pub(super) fn keeps(&self) -> bool {
        self.keeping.is_some()
    }

    /// The command that keeps it; none for what cannot be told as it was.
    pub(super) fn keep(&self, replies: &[u8], members: usize) -> Option<Vec<u8>> {
        let ((id, protocol), once) = self.keeping.as_ref().zip(self.preflight.is_once())?;
        (replies.len() <= REPLIES_BYTES_MAX && are_replies(replies, members)).then(|| once.keep(id, *protocol, replies))
    }

    /// What the group was answered the first time, where that is kept and in the client's protocol.
    pub(super) fn kept<'d>(&self, duplicate: &'d Duplicate, members: usize) -> Option<&'d [u8]> {
        let (_, protocol) = self.keeping.as_ref()?;
        let replies = duplicate.replies.strip_prefix(&[*protocol])?;
        are_replies(replies, members).then_some(replies)
    }

    /// Takes the answer of WATCH or of EVAL.
    pub(super) fn admit(&mut self, place: u32, frame: &[u8]) {
        match self.preflight.answer(place) {
            // Without it the keys are not kept.
            Answer::Guard => {}
            Answer::Watch => self.watched &= frame == b"+OK\r\n",
            Answer::Verdict => self.verdict = self.preflight.verdict(frame),
            Answer::Begun => self.note_begun(BeginReply::read(frame)),
        }
        if value::is_error(frame) {
            self.error.get_or_insert_with(|| frame.into());
        }
    }

    /// Takes the answers to WATCH and to the questions at the beginning of `bytes`, where both have come and nothing is wrong: how
    /// many they are, and their bytes.
    pub(super) fn take_fine(&mut self, answered: u32, bytes: &[u8]) -> (u32, usize) {
        if answered > 0 || self.rolls_back() || !bytes.starts_with(FINE) {
            return (0, 0);
        }
        self.verdict = Verdict::Fine;
        (self.frames_in_front(), FINE.len())
    }

    /// What was asked before comes first.
    fn note_begun(&mut self, begun: BeginReply) {
        let asked = self.preflight.frames() > FRAMES;
        if asked && self.verdict != Verdict::Fine {
            return;
        }
        self.verdict = match begun {
            BeginReply::Saved => Verdict::Fine,
            BeginReply::Refused(why) => Verdict::Unkept { why },
            BeginReply::Missing => Verdict::Missing,
        };
    }

    /// Frames before the one of MULTI.
    pub(super) fn frames_in_front(&self) -> u32 {
        self.preflight.frames()
    }

    /// Whether the group is rolled back where a member fails.
    pub(super) fn rolls_back(&self) -> bool {
        self.preflight.rolls_back().is_some()
    }

    /// What takes away what is kept of a group that has not run.
    pub(super) fn forget(&self) -> Option<Vec<u8>> {
        self.preflight.rolls_back().map(|_| Rollback::forget(&self.name))
    }

    /// What the preflight said; missing also where nothing would have come of it.
    pub(super) fn verdict(&self) -> &Verdict {
        if self.watched { &self.verdict } else { &Verdict::Missing }
    }

    /// The error of what did not run.
    pub(super) fn error(&self) -> Option<&[u8]> {
        self.error.as_deref()
    }

    /// EXEC answered null: true when the group goes out again, because another client was the reason. `alone` says that
    /// nothing that its client has sent behind it could be overtaken.
    pub(super) fn tries_again(&mut self, alone: bool) -> bool {
        let may = alone && self.attempts < ATTEMPTS_MAX && !self.request.is_empty() && *self.verdict() == Verdict::Fine;
        if may {
            self.attempts += 1;
            self.again = true;
        }
        may
    }

    /// None of its answers counts any more.
    pub(super) fn start_over(&mut self) {
        self.watched = true;
        self.verdict = Verdict::Missing;
        self.error = None;
    }

    /// What is to be sent once more.
    pub(super) fn goes_again(&self) -> bool {
        self.again
    }

    pub(super) fn take_again(&mut self) -> Option<&[u8]> {
        std::mem::take(&mut self.again).then_some(&self.request)
    }

    /// How often it has been sent.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }
}

fn digit(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Resp2 => b'2',
        Protocol::Resp3 => b'3',
    }
}

/// Whether these are whole replies, one for each member, and nothing that the server has sent amid them.
fn are_replies(replies: &[u8], members: usize) -> bool {
    let mut array = Vec::with_capacity(replies.len() + 16);
    encode::array_header(&mut array, members);
    let header = array.len();
    array.extend_from_slice(replies);
    let (mut count, mut end) = (0, header);
    for reply in elements(&array) {
        count += usize::from(split_pushes(reply).0.is_empty());
        end += reply.len();
    }
    count == members && end == array.len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::finding::{Finding, Outcome};
    use super::super::group::WrappedGroup;
    use super::super::reading::{ClientSide, Context, Part};
    use super::super::sequencer::Sequencer;
    use super::super::violation::Kind;
    use super::super::wire::Injected;
    use super::*;
    use crate::command::written::WrittenRequest;
    use crate::command::{CommandId, Table};
    use crate::link::owed::{Owed, ReplyTo, Seq};
    use crate::policy::compile;
    use crate::policy::rule::{Atomic, Written, WrittenGroup, WrittenMember};
    use crate::preflight::examine;
    use crate::session::Session;
    use respguard_resp::scan::{ReplyScanner, ScanLimits};

    /// `SADD s a`, `INCR c`, sent behind their preflight.
    struct Sent {
        table: Table,
        slots: Sequencer,
        group: Seq,
        session: Session,
        out: Vec<u8>,
        found: Vec<Finding>,
    }

    impl Sent {
        fn new() -> Sent {
            let table = Table::builtin();
            let member = |text: &str| WrittenMember { template: text.to_owned(), ..WrittenMember::default() };
            let commands = Some(vec![member("SADD s *"), member("INCR c")]);
            let group = WrittenGroup { name: "g".into(), atomic: Atomic::Guarded, commands, ..WrittenGroup::default() };
            let policy = compile(&Written { groups: vec![group], ..Written::default() }, &table).expect("good rules");
            let requests = ["SADD s a", "INCR c"].map(WrittenRequest::new);
            let [sadd, incr] = requests.each_ref().map(WrittenRequest::args);
            let ids: Vec<CommandId> = [sadd, incr].iter().map(|args| table.lookup(*args)).collect();
            let checks = examine(&table, ids.iter().copied().zip([sadd, incr])).expect("it can be predicted");
            let mut guard = Box::new(Guard::new(Preflight::new(&checks)));
            guard.send_as(b"guard".to_vec());
            guard.keep_request(b"again".to_vec());
            let assert_guard = Injected { behind: 0, request: Vec::new(), ttl_fix: None };
            let mut wrapped = WrappedGroup::new(0, Arc::clone(&policy.groups()[0]), ids);
            wrapped.guarded(Some(guard)).with_injected(&[assert_guard]);
            let mut slots = Sequencer::default();
            let group = slots.push_group(None, wrapped);
            Sent { table, slots, group, session: Session::default(), out: Vec::new(), found: Vec::new() }
        }

        fn admit(&mut self, answers: &str) -> &mut Sent {
            let (mut scanner, mut rest) = (ReplyScanner::new(ScanLimits::default()), answers.as_bytes());
            while !rest.is_empty() {
                let scanned = scanner.scan(rest).expect("a reply");
                let part = Part { first: true, last: true, top: scanner.top() };
                let context = Context { table: &self.table, client_id: 1 };
                let (frame, behind) = rest.split_at(scanned.bytes);
                let group = ReplyTo::Request(self.group);
                let (session, out, found) = (&mut self.session, &mut self.out, &mut self.found);
                self.slots.admit(group, frame, part, &mut ClientSide { session, out, found, context });
                rest = behind;
            }
            self
        }

        fn text(&self) -> String {
            String::from_utf8_lossy(&self.out).into_owned()
        }

        fn outcome(&self) -> Option<Outcome> {
            self.found.iter().find_map(|finding| match finding {
                Finding::Group { outcome, .. } => Some(*outcome),
                _ => None,
            })
        }

        fn tells(&self, kind: Kind) -> bool {
            self.found.iter().any(|finding| matches!(finding, Finding::Violation(violation) if violation.kind == kind))
        }
    }

    const FINE: &str = "+OK\r\n:0\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n";
    const NULL: &str = "*-1\r\n";
    const APPLIED: &str = "*3\r\n:1\r\n:1\r\n:7\r\n";

    #[test]
    fn the_client_gets_its_members_replies_and_nothing_of_ours() {
        let mut sent = Sent::new();
        sent.admit(FINE).admit(APPLIED);
        assert_eq!((sent.text(), sent.outcome()), (":1\r\n:7\r\n".to_owned(), Some(Outcome::Applied)));
        assert!(sent.slots.is_empty() && sent.slots.is_drained());
    }

    #[test]
    fn answers_that_say_that_nothing_is_wrong_are_taken_together_with_those_behind_them() {
        let taken = |answers: &str| Sent::new().slots.take_queued(Seq::default(), answers.as_bytes());
        assert_eq!(taken(FINE), (6, FINE.len()));
        assert_eq!(taken("+OK\r\n:0\r\n+O"), (2, 9));
        for other in ["+OK\r\n:0", "+OK\r\n:6\r\n+OK\r\n", "-NOPERM no\r\n:0\r\n"] {
            assert_eq!(taken(other), (0, 0), "{other:?}");
        }
        let mut sent = Sent::new();
        sent.slots.take_queued(sent.group, FINE.as_bytes());
        sent.admit(APPLIED);
        assert_eq!((sent.text(), sent.outcome()), (":1\r\n:7\r\n".to_owned(), Some(Outcome::Applied)));
        let mut sent = Sent::new();
        sent.slots.take_queued(sent.group, FINE.as_bytes());
        sent.admit(NULL);
        assert_eq!(sent.slots.take_again(), Some((&b"again"[..], Owed::request(Seq::default(), 7))), "others changed its keys");
    }

    #[test]
    fn what_was_predicted_is_answered_by_its_member() {
        let mut sent = Sent::new();
        // The second question (three codes and an empty place for each): no integer.
        sent.admit(&FINE.replace(":0", ":6")).admit(NULL);
        let text = sent.text();
        assert!(
            text.starts_with("-EXECABORT") && text.contains("member 2 of 2 (INCR) would answer ERR value is not an integer"),
            "{text}"
        );
        assert!(text.ends_with("-ERR value is not an integer or out of range\r\n"), "{text}");
        assert_eq!(sent.outcome(), Some(Outcome::Refused));
        assert!(sent.tells(Kind::Aborted));
    }

    #[test]
    fn what_others_changed_is_sent_again_three_times_in_all() {
        let mut sent = Sent::new();
        for attempt in 1..=2 {
            sent.admit(FINE).admit(NULL);
            assert_eq!(sent.text(), "", "attempt {attempt}");
            assert!(!sent.slots.is_drained(), "its replies are owed again");
            assert_eq!(sent.slots.take_again(), Some((&b"again"[..], Owed::request(Seq::default(), 7))));
            assert_eq!(sent.slots.take_again(), None, "once");
        }
        sent.admit(FINE).admit(NULL);
        assert!(sent.text().contains("other clients changed its keys at each of 3 attempts"), "{}", sent.text());
        assert_eq!(sent.outcome(), Some(Outcome::Aborted));

        let mut sent = Sent::new();
        sent.admit(FINE).admit(NULL).admit(FINE).admit(APPLIED);
        assert_eq!(sent.outcome(), Some(Outcome::Applied));
    }

    #[test]
    fn only_whole_replies_one_for_each_member_are_kept() {
        assert!(are_replies(b":1\r\n*2\r\n:1\r\n:2\r\n", 2) && are_replies(b"", 0));
        for (replies, members) in
            [(":1\r\n", 2), (":1\r\n:2\r\n:3\r\n", 2), (":1\r\n>1\r\n:5\r\n:2\r\n", 2), (":1\r\n$5\r\nab", 2)]
        {
            assert!(!are_replies(replies.as_bytes(), members), "{replies:?}");
        }
    }

    #[test]
    fn what_would_be_overtaken_is_not_sent_again() {
        let mut sent = Sent::new();
        let get = sent.table.by_name("get").expect("known");
        sent.slots.push(None, super::super::slot::Role::Plain, get, None);
        sent.admit(FINE).admit(NULL);
        assert_eq!(sent.slots.take_again(), None);
        assert_eq!(sent.outcome(), Some(Outcome::Aborted));
    }

    #[test]
    fn a_preflight_that_did_not_run_is_told_if_the_group_did() {
        for missing in [FINE.replace(":0", "-NOPERM no"), FINE.replacen("+OK", "-NOPERM no", 1)] {
            let mut sent = Sent::new();
            sent.admit(&missing).admit(APPLIED);
            assert_eq!((sent.text(), sent.outcome()), (":1\r\n:7\r\n".to_owned(), Some(Outcome::Unguarded)));
            assert!(sent.tells(Kind::Unguarded));
            assert!(sent.found.iter().any(|finding| matches!(finding, Finding::GuardLost)));
        }
    }

    #[test]
    fn a_refused_seal_keeps_the_group_from_running() {
        let refused = "+OK\r\n-NOPERM no\r\n+OK\r\n-NOPERM no\r\n+QUEUED\r\n+QUEUED\r\n-EXECABORT Transaction discarded\r\n";
        let mut sent = Sent::new();
        sent.admit(refused);
        assert!(sent.text().contains("a command that respguard adds was refused: NOPERM no"), "{}", sent.text());
        assert_eq!(sent.outcome(), Some(Outcome::Aborted));
        assert!(!sent.tells(Kind::Unguarded));
    }
}
