//! Checks the queue of one connection: who gets which reply, and when.

use super::super::owed::Seq;
use super::*;
use std::time::Duration;

fn at(ms: u64) -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_millis(ms)
}

/// Who is told that what was read at `ms` or before is given up, and which bytes are cut out for that.
fn give_up(inflight: &mut Inflight<char>, ms: u64) -> (Vec<char>, Vec<(u64, u64)>) {
    let mut told = Vec::new();
    let cuts = inflight.abandon_read_before(at(ms), char::eq, |who, _, _| told.push(*who));
    (told, cuts.into_iter().map(|cut| (cut.start, cut.end)).collect())
}

fn push(inflight: &mut Inflight<char>, who: char, frames: u32, bytes: usize, ms: u64) {
    inflight.push(who, Owed::each(Seq::default(), frames), bytes, at(ms), Some(at(ms + 100)));
}

/// Whether the next frame is this recipient's, which still waits for it.
fn owns(inflight: &Inflight<char>, who: char) -> bool {
    matches!(inflight.owner(), Owner::Recipient(&owner, _) if owner == who)
}

fn head_requests(inflight: &Inflight<char>) -> u32 {
    inflight.head_requests().map_or(0, |(_, requests)| requests)
}

#[test]
fn replies_belong_to_the_recipients_in_the_order_of_their_requests() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 2, 10, 0);
    push(&mut inflight, 'b', 1, 10, 0);
    for who in ['a', 'a', 'b'] {
        assert!(owns(&inflight, who));
        inflight.finish_head(0);
    }
    assert_eq!(inflight.owner(), Owner::Nobody);
}

#[test]
fn frames_in_a_row_are_those_of_one_recipient_that_still_waits() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 3, 10, 0);
    push(&mut inflight, 'b', 2, 10, 50);
    inflight.finish_frames(2);
    assert_eq!(head_requests(&inflight), 1);
    inflight.start_head();
    assert_eq!(head_requests(&inflight), 0, "it was begun");
    inflight.finish_head(0);
    assert!(owns(&inflight, 'b'));
    assert_eq!(head_requests(&inflight), 2);
    inflight.expire(at(200), char::eq, |_, _| ());
    assert_eq!(head_requests(&inflight), 0, "nobody waits for it");
}

#[test]
fn a_late_reply_is_swallowed_and_the_next_one_is_not() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 1, 10, 0);
    push(&mut inflight, 'b', 1, 10, 50);
    let mut told = Vec::new();
    inflight.expire(at(99), char::eq, |who, owed| told.push((*who, owed.frames())));
    assert!(told.is_empty(), "the deadline has not passed");
    inflight.expire(at(100), char::eq, |who, owed| told.push((*who, owed.frames())));
    inflight.expire(at(101), char::eq, |who, owed| told.push((*who, owed.frames())));
    assert_eq!(told, [('a', 1)], "told once");
    assert_eq!(inflight.owner(), Owner::Late(&'a'));
    inflight.finish_head(0);
    assert!(owns(&inflight, 'b'));
}

#[test]
fn what_follows_a_blocking_command_has_its_own_time() {
    let mut inflight = Inflight::default();
    inflight.push('a', Owed::each(Seq::default(), 1), 10, at(0), None);
    push(&mut inflight, 'a', 1, 10, 0);
    inflight.finish_head(0);
    inflight.restart_head(at(5000));
    inflight.expire(at(5099), char::eq, |_, _| panic!("its time has only begun"));
    assert!(!inflight.head_blocks(), "it has no more time than others");
    let mut told = 0;
    inflight.expire(at(5100), char::eq, |_, _| told += 1);
    assert_eq!(told, 1);
}

#[test]
fn an_earlier_deadline_behind_a_later_one_is_kept() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 1, 10, 50);
    inflight.push('b', Owed::each(Seq::default(), 1), 10, at(0), Some(at(100)));
    push(&mut inflight, 'c', 1, 10, 60);
    let mut told = Vec::new();
    inflight.expire(at(100), char::eq, |who, owed| told.push((*who, owed.frames())));
    assert_eq!(told, [('b', 1)]);
}

#[test]
fn an_earlier_deadline_behind_a_later_one_of_the_same_recipient_waits_for_that() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 1, 10, 50);
    inflight.push('a', Owed::each(Seq::default(), 1), 10, at(0), Some(at(100)));
    inflight.expire(at(149), char::eq, |_, _| panic!("its replies come in order"));
    let mut told = 0;
    inflight.expire(at(150), char::eq, |_, _| told += 1);
    assert_eq!(told, 2);
}

#[test]
fn a_reply_that_has_begun_does_not_expire() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 1, 10, 0);
    inflight.start_head();
    inflight.expire(at(1000), char::eq, |_, _| panic!("nobody waits too long"));
    assert!(owns(&inflight, 'a'));
}

#[test]
fn behind_a_reply_that_has_begun_only_others_are_told() {
    let mut inflight = Inflight::default();
    for who in ['a', 'a', 'b'] {
        push(&mut inflight, who, 1, 10, 0);
    }
    inflight.start_head();
    let mut told = Vec::new();
    inflight.expire(at(1000), char::eq, |who, owed| told.push((*who, owed.frames())));
    assert_eq!(told, [('b', 1)]);
    inflight.finish_head(0);
    inflight.expire(at(1000), char::eq, |who, owed| told.push((*who, owed.frames())));
    assert_eq!(told, [('b', 1), ('a', 1)]);
}

#[test]
fn loss_tells_what_was_written_and_keeps_what_was_not() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 1, 10, 0);
    push(&mut inflight, 'b', 2, 10, 0);
    push(&mut inflight, 'c', 1, 10, 0);
    let mut told = Vec::new();
    let rest = inflight.lose(11, |who, owed, cut| told.push((*who, owed.frames(), cut)));
    assert_eq!(told, [('a', 1, Cut::BeforeReply), ('b', 2, Cut::BeforeReply)]);
    assert_eq!(rest, 20, "one byte of b was written, none of c");
    assert!(owns(&inflight, 'c'));
}

#[test]
fn loss_at_an_edge_keeps_the_request_behind_it() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 1, 10, 0);
    push(&mut inflight, 'b', 1, 10, 0);
    inflight.start_head();
    let mut told = Vec::new();
    let rest = inflight.lose(10, |who, _, cut| told.push((*who, cut)));
    assert_eq!((told, rest), (vec![('a', Cut::InsideReply)], 10));
}

#[test]
fn what_waits_unsent_is_given_up_by_age() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 1, 10, 0);
    push(&mut inflight, 'b', 1, 10, 50);
    let mut told = Vec::new();
    let cuts = inflight.abandon_read_before(at(49), char::eq, |who, owed, cut| told.push((*who, owed.frames(), cut)));
    assert_eq!(told, [('a', 1, Cut::BeforeReply)]);
    assert_eq!(cuts.first(), Some(&(0..10)));
}

#[test]
fn what_is_older_goes_before_what_waits() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 1, 10, 50);
    inflight.push_first('b', Owed::each(Seq::default(), 1), 4, (at(0), Some(at(100))), 0);
    assert_eq!(give_up(&mut inflight, 49), (vec!['b'], vec![(0, 4)]));
    assert_eq!(inflight.queued(), 14);
}

#[test]
fn what_has_waited_too_long_is_given_up_behind_what_was_put_before_it() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 1, 10, 0);
    push(&mut inflight, 'b', 1, 10, 60);
    push(&mut inflight, 'c', 1, 10, 60);
    inflight.push_first('d', Owed::each(Seq::default(), 2), 4, (at(50), Some(at(150))), 0);
    assert_eq!(give_up(&mut inflight, 0), (vec!['a'], vec![(4, 14)]), "what was put first is younger");
    assert_eq!(inflight.first_start(), Some(10), "its bytes move up to those that stay behind it");
    let mut told = Vec::new();
    inflight.lose(14, |who, _, _| told.push(*who));
    assert_eq!((told, inflight.first_start()), (vec!['d'], Some(14)));
}

#[test]
fn what_was_queued_late_about_an_earlier_request_is_given_up_in_its_own_time() {
    let mut inflight = Inflight::default();
    for (who, ms) in [('a', 50), ('b', 0), ('c', 10), ('d', 60), ('e', 5)] {
        push(&mut inflight, who, 1, 10, ms);
    }
    assert_eq!(give_up(&mut inflight, 20), (vec!['b', 'c', 'e'], vec![(10, 30), (40, 50)]));
    assert_eq!(give_up(&mut inflight, 50), (vec!['a'], vec![(0, 40)]));
    assert_eq!((inflight.first_start(), inflight.queued()), (Some(40), 50));
}

#[test]
fn what_has_waited_too_long_stays_behind_what_its_recipient_still_waits_for() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 1, 10, 50);
    push(&mut inflight, 'a', 1, 10, 0);
    assert_eq!(give_up(&mut inflight, 49), (vec![], vec![]), "its replies come in order");
    assert_eq!(give_up(&mut inflight, 50), (vec!['a', 'a'], vec![(0, 20)]));
}

#[test]
fn bytes_that_are_owed_no_reply_are_not_given_up() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 0, 10, 0);
    assert_eq!(give_up(&mut inflight, 49), (vec![], vec![]));
}

#[test]
fn a_request_may_turn_out_to_be_owed_more_frames() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 1, 10, 0);
    inflight.finish_head(2);
    inflight.finish_head(0);
    assert!(!inflight.is_empty());
    inflight.finish_head(0);
    assert!(inflight.is_empty());
}

#[test]
fn one_piece_under_way_is_told_from_several() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 1, 10, 0);
    inflight.push_too('a', Owed::each(Seq::default(), 1), at(0), None);
    push(&mut inflight, 'b', 1, 10, 0);
    assert_eq!((inflight.owed_alone(0), inflight.owed_alone(10), inflight.owed_alone(11)), (None, Some(&'a'), None));
}

#[test]
fn pieces_at_the_front_end_where_the_next_one_begins() {
    let mut inflight = Inflight::default();
    assert_eq!(inflight.end_of_first(1), 0);
    push(&mut inflight, 'a', 1, 10, 0);
    inflight.push_too('a', Owed::each(Seq::default(), 1), at(0), None);
    push(&mut inflight, 'b', 1, 10, 0);
    push(&mut inflight, 'c', 1, 10, 0);
    // What shares the fate of the first is no piece of its own.
    assert_eq!([1, 2, 3, 4, 9].map(|pieces| inflight.end_of_first(pieces)), [10, 10, 20, 30, 30]);
}

#[test]
fn so_many_replies_are_owed_for_the_pieces_at_the_front() {
    let mut inflight = Inflight::default();
    assert_eq!(inflight.end_of_replies(1), 0);
    push(&mut inflight, 'a', 3, 10, 0);
    inflight.push_too('a', Owed::each(Seq::default(), 1), at(0), None);
    push(&mut inflight, 'b', 2, 10, 0);
    push(&mut inflight, 'c', 1, 10, 0);
    // The first piece goes out in any case, with what shares its fate.
    assert_eq!([1, 5, 6, 7].map(|replies| inflight.end_of_replies(replies)), [10, 10, 20, 30]);
    inflight.finish_head(0);
    assert_eq!([4, 5, 6].map(|replies| inflight.end_of_replies(replies)), [10, 20, 30]);
}

#[test]
fn what_is_given_up_at_the_head_is_whole_requests() {
    let mut inflight = Inflight::default();
    push(&mut inflight, 'a', 2, 10, 0);
    inflight.push('b', Owed::request(Seq::default(), 3), 10, at(0), None);
    push(&mut inflight, 'c', 1, 10, 0);
    let mut told = Vec::new();
    let mut give_up =
        |inflight: &mut Inflight<char>, frames| inflight.give_up_head(frames, |who, owed, _| told.push((*who, owed.frames())));
    assert!(give_up(&mut inflight, 1) && owns(&inflight, 'a'));
    assert!(give_up(&mut inflight, 1) && owns(&inflight, 'b'));
    assert!(!give_up(&mut inflight, 2), "the third would be taken for that of another");
    assert!(give_up(&mut inflight, 3) && owns(&inflight, 'c'));
    assert_eq!(told, [('a', 1), ('a', 1), ('b', 3)]);
}
