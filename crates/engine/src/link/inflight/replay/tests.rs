//! Checks which requests are kept for a retry, and which of them are sent.

use super::super::Owner;
use super::*;
use crate::link::owed::Seq;

const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";

struct Line {
    inflight: Inflight<char>,
    bytes: Vec<u8>,
    now: Instant,
    told: Vec<(char, u32, Cut)>,
    loss: Loss,
    starts_over: bool,
}

impl Line {
    fn new() -> Line {
        let (inflight, bytes, told) = Default::default();
        Line { inflight, bytes, now: Instant::now(), told, loss: Loss::Unknown, starts_over: true }
    }

    fn send(&mut self, who: char, request: &[u8], count: u32) -> &mut Line {
        let bytes = request.repeat(count as usize);
        let deadline = Some(self.now + Duration::from_secs(1));
        self.inflight.push(who, Owed::each(Seq::default(), count), bytes.len(), self.now, deadline);
        if request == GET {
            self.inflight.mark_reads();
        }
        self.bytes.extend(bytes);
        self
    }

    /// Loses the connection after so many bytes; what is sent on the next.
    fn lose(&mut self, written: usize, may: Replay) -> Vec<u8> {
        let start = self.inflight.queued() - self.bytes.len() as u64;
        let sent = Sent { bytes: &self.bytes, start, written: start + written as u64 };
        let (told, now) = (&mut self.told, self.now);
        let ask = Ask { identity: |who: &char| *who as usize, may_replay: |_| may, start_over: |_: &char, _| self.starts_over };
        let tell = |who: &char, owed: Owed, cut| told.push((*who, owed.frames(), cut));
        self.bytes = self.inflight.lose_all_but_reads(sent, (now, self.loss), ask, tell);
        self.bytes.clone()
    }
}

#[test]
fn reads_go_out_once_more_before_what_was_not_sent() {
    let mut line = Line::new();
    line.send('a', GET, 2).send('b', SET, 1).send('c', GET, 1).send('a', SET, 1);
    let written = 3 * GET.len() + SET.len();
    assert_eq!(line.lose(written, Replay::Allowed), [GET, GET, GET, SET].concat());
    assert_eq!(line.told, [('b', 1, Cut::BeforeReply)]);
    for who in ['a', 'a', 'c', 'a'] {
        assert!(matches!(line.inflight.owner(), Owner::Recipient(&owner, _) if owner == who));
        line.inflight.finish_head(0);
    }
    assert!(line.inflight.is_empty());
}

#[test]
fn a_request_that_is_a_line_goes_out_once_more_too_and_a_blank_line_is_none() {
    let mut line = Line::new();
    let typed = b"GET k\r\n  \r\nGET k\n";
    let deadline = Some(line.now + Duration::from_secs(1));
    line.inflight.push('a', Owed::each(Seq::default(), 2), typed.len(), line.now, deadline);
    line.inflight.mark_reads();
    line.bytes.extend(typed);
    line.inflight.finish_head(0);
    assert_eq!(line.lose(typed.len(), Replay::Allowed), b"GET k\n");
    assert!(line.told.is_empty());
}

#[test]
fn a_read_is_not_moved_behind_a_later_write_of_its_client() {
    let mut line = Line::new();
    line.send('a', GET, 1).send('a', SET, 1).send('a', GET, 1);
    assert_eq!(line.lose(2 * GET.len() + SET.len(), Replay::Allowed), GET, "the one behind it");
    assert_eq!(line.told, [('a', 1, Cut::BeforeReply), ('a', 1, Cut::BeforeReply)]);
}

#[test]
fn only_what_has_no_reply_goes_out_once_more() {
    let mut line = Line::new();
    line.send('a', GET, 3);
    line.inflight.finish_head(0);
    assert_eq!(line.lose(3 * GET.len(), Replay::Allowed), GET.repeat(2));
    line.inflight.finish_head(0);
    assert_eq!(line.lose(2 * GET.len(), Replay::Allowed), GET);
    assert_eq!(line.lose(GET.len(), Replay::Allowed), b"", "twice is enough");
    assert_eq!(line.told, [('a', 1, Cut::BeforeReply)]);
}

#[test]
fn reads_of_those_who_are_owed_nothing_else_go_elsewhere_and_what_was_not_written_is_gone() {
    let mut line = Line::new();
    line.send('a', GET, 1).send('b', GET, 2).send('c', GET, 1).send('b', SET, 1).send('d', GET, 1).send('e', GET, 1);
    line.inflight.start_head();
    let written = 4 * GET.len() as u64;
    let movable = |line: &mut Line, most| {
        let sent = Sent { bytes: &line.bytes, start: 0, written };
        line.inflight.move_reads((sent, most), line.now, |who| *who as usize, |_| true, || '-')
    };
    let moved = movable(&mut line, 2);
    let places: Vec<_> = moved.iter().map(|moved| (moved.recipient, moved.is_unsent, moved.bytes.clone())).collect();
    let (get, set) = (GET.len(), SET.len());
    assert_eq!(places, [('d', true, 4 * get + set..5 * get + set), ('e', true, 5 * get + set..6 * get + set)]);
    line.bytes.truncate(4 * get + set);
    assert_eq!(line.inflight.queued(), (4 * get + set) as u64);
    let moved = movable(&mut line, 9);
    assert_eq!(moved.iter().map(|moved| (moved.recipient, moved.is_unsent)).collect::<Vec<_>>(), [('c', false)]);
    line.send('f', SET, 1);
    let owners: Vec<char> = std::iter::from_fn(|| {
        let who = match line.inflight.owner() {
            Owner::Recipient(who, _) | Owner::Late(who) => Some(*who),
            Owner::Nobody => None,
        };
        line.inflight.finish_head(0);
        who
    })
    .collect();
    assert_eq!(owners, ['a', 'b', 'b', '-', 'b', 'f'], "the order of the rest stays");
}

#[test]
fn a_reply_that_has_begun_cannot_be_asked_for_again() {
    let mut line = Line::new();
    line.send('a', GET, 1).send('b', GET, 1);
    line.inflight.start_head();
    assert_eq!(line.lose(2 * GET.len(), Replay::Allowed), GET);
    assert_eq!(line.told, [('a', 1, Cut::InsideReply)]);
}

#[test]
fn what_may_not_or_cannot_be_repeated_is_told() {
    let mut line = Line::new();
    line.send('a', GET, 1);
    assert_eq!(line.lose(GET.len(), Replay::Refused), b"");
    line.send('b', GET, 1);
    line.now += Duration::from_secs(1);
    assert_eq!(line.lose(GET.len(), Replay::Allowed), b"", "its deadline has passed");
    let told: Vec<char> = line.told.iter().map(|told| told.0).collect();
    assert_eq!(told, ['a', 'b']);
}

#[test]
fn what_a_server_has_refused_that_is_no_primary_goes_out_once_more_with_all_behind_it() {
    let mut line = Line::new();
    line.loss = Loss::NoPrimary;
    for (who, request) in [('a', SET), ('b', GET), ('a', SET)] {
        line.send(who, request, 2);
        line.inflight.mark_single();
    }
    line.inflight.finish_head(0);
    assert!(line.inflight.head_may_repeat());
    let all = [SET, GET, GET, SET, SET].concat();
    for _ in 0..5 {
        assert_eq!(line.lose(line.bytes.len(), Replay::Allowed), all, "as often as it takes");
    }
    line.loss = Loss::Unknown;
    assert_eq!(line.lose(all.len(), Replay::Allowed), b"");
    assert_eq!(line.told.len(), 3);
}

#[test]
fn a_group_that_was_refused_goes_out_whole_if_it_can_start_over() {
    for starts_over in [true, false] {
        let mut line = Line::new();
        (line.loss, line.starts_over) = (Loss::NoPrimary, starts_over);
        let deadline = Some(line.now + Duration::from_secs(1));
        let group = [SET, SET, SET].concat();
        line.inflight.push('a', Owed::request(Seq::default(), 3), group.len(), line.now, deadline);
        line.bytes.extend(&group);
        line.inflight.finish_head(0);
        assert!(line.inflight.head_may_repeat());
        let again = line.lose(group.len(), Replay::Allowed);
        match starts_over {
            true => assert_eq!((again, line.inflight.entries[0].owed.frames()), (group, 3)),
            false => assert_eq!((again, &line.told[..]), (Vec::new(), &[('a', 2, Cut::BeforeReply)][..])),
        }
    }
}

#[test]
fn half_a_read_that_was_written_goes_out_whole() {
    let mut line = Line::new();
    line.send('a', GET, 1).send('b', GET, 1);
    assert_eq!(line.lose(GET.len() + 1, Replay::Allowed), GET.repeat(2));
    assert_eq!(line.told, []);
}

#[test]
fn what_waits_for_its_turn_has_its_whole_time_then_but_no_more_than_twice_that() {
    let (mut line, longest) = (Line::new(), Duration::from_secs(1));
    line.send('a', SET, 1).send('b', SET, 1);
    let (read_at, written) = (line.now, SET.len() as u64);
    let mut told_after = |seconds: f32| {
        let now = read_at + longest.mul_f32(seconds);
        line.inflight.postpone_unsent(written, now, longest);
        let mut told = Vec::new();
        line.inflight.expire(now, char::eq, |who, _| told.push(*who));
        told
    };
    assert_eq!(told_after(0.9), []);
    assert_eq!(told_after(1.5), ['a'], "the other one has only begun to wait");
    assert_eq!(told_after(1.9), []);
    assert_eq!(told_after(2.0), ['b'], "the first one may never be answered");
}
