//! What is fuzzed: each target takes any bytes and panics where a promise is broken.
//!
//! Plain functions, for libFuzzer (`cargo fuzz run replies`) as for `tests/fuzzing.rs`, which runs them without it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use respguard::net::rest::call::{Call, Rules, Shape};
use respguard::net::rest::commands::Rights;
use respguard::net::rest::json::{self, Arguments};
use respguard::net::rest::replies::{Format, Replies};
use respguard::net::rest::scripts::Scripts;
use respguard::net::rest::text::Encoding;
use respguard_engine::command::{CommandId, Table};
use respguard_engine::link::owed::{Owed, ReplyTo};
use respguard_engine::packed::{self, Method};
use respguard_engine::pipeline::batch::{Batch, Tail};
use respguard_engine::pipeline::finding::Fault;
use respguard_engine::pipeline::group::WrappedGroup;
use respguard_engine::pipeline::reading::{ClientSide, Context, Part};
use respguard_engine::pipeline::sequencer::Sequencer;
use respguard_engine::pipeline::slot::Role;
use respguard_engine::policy::pattern::{Names, Pattern};
use respguard_engine::policy::rule::{Written, WrittenGroup, WrittenMember};
use respguard_engine::policy::{Member, Policy, compile};
use respguard_engine::session::Session;
use respguard_resp::request::{Limits, RequestParser};
use respguard_resp::scan::{ReplyScanner, ScanLimits, elements};
use respguard_resp::value;

/// A target.
pub type Target = fn(&[u8]);

/// Every target under the name of its corpus.
pub const TARGETS: [(&str, Target); 6] =
    [("replies", replies), ("requests", requests), ("patterns", patterns), ("slots", slots), ("rest", rest), ("packed", packed)];

/// Frames end where they end, however the bytes come in. The first byte says in which pieces.
pub fn replies(bytes: &[u8]) {
    let Some((&size, stream)) = bytes.split_first() else { return };
    let whole = frame_ends(stream, stream.len().max(1));
    assert_eq!(whole, frame_ends(stream, usize::from(size).max(1)), "the pieces make no difference");
    let plain = ReplyScanner::new(ScanLimits::default()).scan_plain(stream, u32::from(size));
    let last = plain.frames.checked_sub(1).map(|last| whole.0[last as usize]);
    assert_eq!(plain.bytes, last.unwrap_or(0), "frames taken together are those taken one by one");
    let mut start = 0;
    for end in whole.0 {
        let frame = &stream[start..end];
        let scanned = ReplyScanner::new(ScanLimits::default()).scan(frame).expect("a frame is a frame by itself");
        assert!(scanned.end && scanned.bytes == frame.len());
        assert!(elements(frame).map(<[u8]>::len).sum::<usize>() < frame.len());
        if value::is_error(frame) {
            assert!(value::error_text(frame).len() < frame.len());
        }
        let kinds = [value::integer(frame).is_some(), value::bulk(frame).is_some(), value::simple(frame).is_some()];
        assert!(kinds.into_iter().filter(|is| *is).count() <= 1);
        start = end;
    }
}

/// Where frames end, and whether the stream breaks behind them.
fn frame_ends(stream: &[u8], size: usize) -> (Vec<usize>, bool) {
    let mut scanner = ReplyScanner::new(ScanLimits::default());
    let (mut ends, mut at) = (Vec::new(), 0);
    while at < stream.len() {
        let piece = &stream[at..stream.len().min(at + size)];
        let Ok(scanned) = scanner.scan(piece) else { return (ends, true) };
        assert!(scanned.bytes > 0 && scanned.bytes <= piece.len(), "it goes on");
        at += scanned.bytes;
        if scanned.end {
            ends.push(at);
        }
    }
    (ends, false)
}

/// Requests are the same requests, however the bytes come in. The first byte says in which pieces.
pub fn requests(bytes: &[u8]) {
    let Some((&size, stream)) = bytes.split_first() else { return };
    let once = read(stream, stream.len().max(1));
    assert_eq!(once, read(stream, usize::from(size).max(1)), "the pieces make no difference");
}

/// Whatever is stored is read as it is, or as what was written, or is an error; it never takes more room than may be. What is
/// written comes back. The first byte says how it is compressed, the second how long values may be.
pub fn packed(bytes: &[u8]) {
    let [method, max, stored @ ..] = bytes else { return };
    let max = u64::from(*max) * 64;
    match packed::unpack(stored, max) {
        Ok(None) => assert!(!packed::is_packed(stored)),
        Ok(Some(value)) => {
            assert!(packed::is_packed(stored) && packed::promised(stored, max) == value.len() as u64);
            assert!(
                value.len() as u64 <= max || value.len() + packed::HEADER_BYTES == stored.len(),
                "only what is there is longer"
            );
        }
        Err(_) => assert!(packed::is_packed(stored)),
    }
    let method = [None, Some(Method::Lz4), Some(Method::Zstd(1)), Some(Method::Zstd(9))][usize::from(method % 4)];
    let written = packed::pack(stored, method);
    let kept = written.as_deref().unwrap_or(stored);
    let read = packed::unpack(kept, u64::MAX).expect("what was written can be read");
    assert_eq!(read.as_deref().unwrap_or(kept), stored);
}

/// A body of the REST front is malformed at one of its bytes, or becomes requests that are read back as they were; its answer is
/// JSON, or RESP2, whatever the replies and wherever they end. The first byte says which, the last line are the replies.
pub fn rest(bytes: &[u8]) {
    let Some((&way, rest)) = bytes.split_first() else { return };
    let split = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (body, replies) = (&rest[..split], rest.get(split + 1..).unwrap_or_default());
    let shape = [Shape::One, Shape::Pipeline, Shape::Transaction][usize::from(way % 3)];
    let format = [Format::Json(Encoding::Text), Format::Json(Encoding::Base64), Format::Resp2][usize::from(way / 3 % 3)];
    let Some(call) = called(shape, body) else { return };
    let (commands, broken) = read(&call.request, call.request.len().max(1));
    assert!(broken.is_none() && commands.len() <= call.slots.len() + 2);
    answered(format, call, replies, usize::from(way / 9).max(1));
}

/// The commands of a body, unless it is malformed.
fn called(shape: Shape, body: &[u8]) -> Option<Call> {
    let (scripts, mut arguments, mut call) = (Scripts::default(), Arguments::default(), Call::new(shape, body.len()));
    let rights = Rights { read_only: false, longest_wait: std::time::Duration::from_secs(1) };
    let rules = Rules { table: table(), scripts: &scripts, rights };
    let read = match shape {
        Shape::One => json::command(body, &mut arguments).map(|()| call.add(arguments.args(), rules)),
        _ => json::commands(body, &mut |args| call.add(args, rules)),
    };
    if let Err(error) = read {
        assert!(error.at <= body.len() && error.text(body).starts_with("ERR "));
        return None;
    }
    call.finish();
    Some(call)
}

/// Takes the replies in pieces; what they lack is an error for each.
fn answered(format: Format, call: Call, replies: &[u8], size: usize) {
    let (shape, places) = (call.shape, call.slots.len());
    let mut answer = Replies::new(format, shape, call.slots);
    for piece in replies.chunks(size) {
        if answer.is_done() || answer.feed(piece).is_err() {
            break;
        }
    }
    assert!(answer.fail("ERR lost"), "nothing was given out");
    let written = answer.take();
    match (format, shape) {
        (Format::Resp2, _) => {}
        (_, Shape::One) => assert!(str::from_utf8(&written).is_ok_and(|text| text.starts_with('{') && text.ends_with('}'))),
        _ if is_shallow(&written) => {
            let read: Vec<serde_json::Value> = serde_json::from_slice(&written).expect("JSON");
            assert_eq!(read.len(), places);
        }
        _ => {}
    }
}

/// Other readers take no arrays that are deeper.
fn is_shallow(text: &[u8]) -> bool {
    text.iter().filter(|byte| **byte == b'[').count() < 100
}

/// The arguments of all whole requests, and what is wrong behind them.
fn read(stream: &[u8], size: usize) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let (table, mut batch, mut parser) = (table(), Batch::default(), RequestParser::new(Limits::default()));
    let (mut found, mut from, mut to) = (Vec::new(), 0, 0);
    while to < stream.len() {
        to = stream.len().min(to + size);
        loop {
            let tail = batch.parse(&mut parser, table, &stream[from..to], usize::MAX);
            for at in 0..batch.len() {
                let args = batch.args(&stream[from..to], at);
                assert!(table.lookup(args) == batch.id(at));
                assert!(batch.wire(at..at + 1).end <= batch.whole_bytes());
                found.push(args.iter().map(<[u8]>::to_vec).collect());
            }
            from += batch.consume(batch.len());
            match tail {
                Tail::Error(error) => return (found, Some(format!("{error:?}"))),
                Tail::More => {}
                Tail::Clean | Tail::Partial | Tail::Large => break,
            }
        }
    }
    (found, None)
}

/// Patterns compile or are refused, and match what a slow and simple matcher matches.
///
/// The lines are a key pattern, a key, and the templates of a group; the rest are requests to follow it in.
pub fn patterns(bytes: &[u8]) {
    let lines: Vec<&[u8]> = bytes.splitn(5, |byte| *byte == b'\n').collect();
    let [pattern, key, rest @ ..] = &lines[..] else { return };
    let Ok(pattern) = str::from_utf8(pattern) else { return };
    if let Ok(compiled) = Pattern::parse(pattern, &mut Names::default())
        && !compiled.has_captures()
    {
        assert_eq!(compiled.matches_key(key), matches(&glob(pattern), key), "{pattern:?} {:?}", key.escape_ascii().to_string());
        assert!(!compiled.matches_key(key) || key.starts_with(compiled.prefix()));
    }
    let [first, second, requests] = rest else { return };
    let (Ok(first), Ok(second)) = (str::from_utf8(first), str::from_utf8(second)) else { return };
    let member = |template: &str| WrittenMember { template: template.to_owned(), ..WrittenMember::default() };
    let commands = Some(vec![member(first), member(second)]);
    let group = WrittenGroup { name: "g".into(), commands, ..WrittenGroup::default() };
    if let Ok(policy) = compile(&Written { groups: vec![group], ..Written::default() }, table()) {
        let (mut batch, mut parser) = (Batch::default(), RequestParser::new(Limits::default()));
        batch.parse(&mut parser, table(), requests, usize::MAX);
        policy.recognise(table(), &mut |at| {
            (at < batch.len()).then(|| Member { id: batch.id(at), args: batch.args(requests, at) })
        });
    }
}

/// The literal bytes of a pattern; `None` is any run.
fn glob(pattern: &str) -> Vec<Option<u8>> {
    let text = pattern.replace("{{", "{").replace("}}", "}");
    text.bytes().map(|byte| (byte != b'*').then_some(byte)).collect()
}

fn matches(glob: &[Option<u8>], key: &[u8]) -> bool {
    // Which lengths of the key the pattern so far can be.
    let mut lengths = vec![false; key.len() + 1];
    lengths[0] = true;
    for token in glob {
        match token {
            None => (1..=key.len()).for_each(|at| lengths[at] |= lengths[at - 1]),
            Some(byte) => {
                for at in (1..=key.len()).rev() {
                    lengths[at] = lengths[at - 1] && key[at - 1] == *byte;
                }
                lengths[0] = false;
            }
        }
    }
    lengths[key.len()]
}

/// What one request is owed: its frames, and what its client reads if they all come.
struct Due {
    to: Owed,
    frames: VecDeque<Vec<u8>>,
    reads: Vec<Vec<u8>>,
    /// Its client reads this many errors or replies if not.
    replies: usize,
}

/// One reply for each request, in order, whatever comes: the bytes are a script of requests, replies and faults.
pub fn slots(bytes: &[u8]) {
    let mut script = bytes.iter().copied();
    let (mut slots, mut session, mut out, mut found) = (Sequencer::default(), Session::default(), Vec::new(), Vec::new());
    let context = Context { table: table(), client_id: 1 };
    let get = table().by_name("get").expect("known");
    let (mut owed, mut expected): (VecDeque<Due>, Vec<Option<Vec<u8>>>) = (VecDeque::new(), Vec::new());
    // Answers of the proxy's own stand between what is owed.
    let mut order: VecDeque<Result<Vec<u8>, ()>> = VecDeque::new();
    let mut number = 0;
    while let Some(step) = script.next() {
        number += 1;
        let mut client = ClientSide { session: &mut session, out: &mut out, found: &mut found, context };
        let reply = |part: u32| format!("$9\r\n{number:06}-{part:02}\r\n").into_bytes();
        match step % 8 {
            0 | 1 => {
                let to = Owed::each(slots.push(None, Role::Plain, get, None), 1);
                owed.push_back(Due { to, frames: [reply(0)].into(), reads: vec![reply(0)], replies: 1 });
                order.push_back(Err(()));
            }
            2 | 3 => {
                let wrapped = WrappedGroup::new(0, Arc::clone(&policy().groups()[0]), vec![get, get]);
                let frames = wrapped.frames();
                let to = Owed::request(slots.push_group(None, wrapped), frames);
                owed.push_back(group(to, step / 8, reply(1), reply(2)));
                order.push_back(Err(()));
            }
            4 => {
                let to = Owed::each(slots.push(None, Role::Discard, CommandId::UNKNOWN, None), 1);
                owed.push_back(Due { to, frames: [reply(0)].into(), reads: Vec::new(), replies: 0 });
                order.push_back(Err(()));
            }
            5 => {
                slots.answer(None, reply(3), client.out);
                order.push_back(Ok(reply(3)));
            }
            6 if takes_plain(&mut slots, &owed, step / 8) > 0 => {
                // Several come in together.
                let plain = takes_plain(&mut slots, &owed, step / 8);
                let mut replies = Vec::new();
                for _ in 0..plain {
                    let head = owed.pop_front().expect("each place is owed a reply");
                    replies.extend(head.frames.into_iter().flatten());
                    settle(&mut order, head.reads.into_iter().map(Some), &mut expected);
                }
                slots.admit_plain(&replies, plain, &mut client);
            }
            6 => {
                // One more frame comes in, in pieces.
                let Some(frame) = owed.front_mut().and_then(|head| head.frames.pop_front()) else { continue };
                let size = usize::from(script.next().unwrap_or(0)).max(1);
                let (mut scanner, mut at) = (ReplyScanner::new(ScanLimits::default()), 0);
                while at < frame.len() {
                    let piece = &frame[at..frame.len().min(at + size)];
                    let scanned = scanner.scan(piece).expect("a frame");
                    let part = Part { first: at == 0, last: scanned.end, top: scanner.top() };
                    let to = owed.front().expect("there is one").to.next();
                    slots.admit(to, &piece[..scanned.bytes], part, &mut client);
                    at += scanned.bytes;
                }
                owed.front_mut().expect("there is one").to.came(0);
                if owed.front().is_some_and(|head| head.frames.is_empty()) {
                    let head = owed.pop_front().expect("there is one");
                    settle(&mut order, head.reads.into_iter().map(Some), &mut expected);
                }
            }
            _ => {
                // What is left of a request will not come.
                let Some(head) = owed.pop_front() else { continue };
                let fault = [Fault::Timeout, Fault::Lost, Fault::Unavailable][usize::from(step / 8) % 3];
                let frames = u32::try_from(head.frames.len()).expect("few");
                slots.fault(head.to, fault, &mut client);
                settle(&mut order, std::iter::repeat_n(None, head.replies), &mut expected);
                if fault == Fault::Timeout {
                    slots.settle_late(frames);
                }
            }
        }
    }
    release(&mut order, &mut expected);
    check(&out, &expected);
    assert_eq!(slots.is_drained(), owed.is_empty());
    assert_eq!(slots.is_empty(), order.is_empty());
}

fn takes_plain(slots: &mut Sequencer, owed: &VecDeque<Due>, most: u8) -> u32 {
    let plain = owed.iter().take_while(|due| due.frames.len() == 1 && matches!(due.to, Owed::Each { .. })).count();
    match owed.front().map(|due| due.to) {
        Some(Owed::Each { first: ReplyTo::Request(first), .. }) => slots.takes_plain(first, u32::from(most).min(plain as u32)),
        _ => 0,
    }
}

/// The head of what is owed has got its replies, and with it what stands behind it.
fn settle(
    order: &mut VecDeque<Result<Vec<u8>, ()>>,
    replies: impl Iterator<Item = Option<Vec<u8>>>,
    expected: &mut Vec<Option<Vec<u8>>>,
) {
    release(order, expected);
    assert_eq!(order.pop_front(), Some(Err(())), "the head is owed something");
    expected.extend(replies);
    release(order, expected);
}

/// Answers of the proxy's own leave as soon as nothing is owed before them.
fn release(order: &mut VecDeque<Result<Vec<u8>, ()>>, expected: &mut Vec<Option<Vec<u8>>>) {
    while let Some(Ok(_)) = order.front() {
        let Some(Ok(own)) = order.pop_front() else { return };
        expected.push(Some(own));
    }
}

/// The answers to `MULTI`, two members and `EXEC`, in one of the ways that a server has.
fn group(to: Owed, way: u8, first: Vec<u8>, second: Vec<u8>) -> Due {
    let queued = || b"+QUEUED\r\n".to_vec();
    let ok = b"+OK\r\n".to_vec();
    match way % 4 {
        0 | 1 => {
            let exec = [b"*2\r\n".to_vec(), first.clone(), second.clone()].concat();
            Due { to, frames: [ok, queued(), queued(), exec].into(), reads: vec![first, second], replies: 2 }
        }
        2 => {
            let refused = b"-ERR refused\r\n".to_vec();
            let exec = b"-EXECABORT Transaction discarded\r\n".to_vec();
            let abort = b"-EXECABORT Transaction discarded because of previous errors. respguard: group g was not applied: \
                member 1 of 2 (GET) answered ERR refused\r\n";
            Due { to, frames: [ok, refused.clone(), queued(), exec].into(), reads: vec![refused, abort.to_vec()], replies: 2 }
        }
        _ => {
            let denied = || b"-NOPERM no\r\n".to_vec();
            let frames = [denied(), first.clone(), second.clone(), denied()].into();
            Due { to, frames, reads: vec![first, second], replies: 2 }
        }
    }
}

fn check(out: &[u8], expected: &[Option<Vec<u8>>]) {
    let (ends, broken) = frame_ends(out, out.len().max(1));
    assert!(!broken);
    // Members that ran without their transaction have left already, before their group is done.
    assert!(ends.len() >= expected.len(), "{} replies for {} requests", ends.len(), expected.len());
    let mut start = 0;
    for (end, wanted) in ends.iter().zip(expected) {
        let frame = &out[start..*end];
        if let Some(wanted) = wanted {
            assert_eq!(frame.escape_ascii().to_string(), wanted.escape_ascii().to_string());
        }
        start = *end;
    }
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::builtin)
}

fn policy() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let group = WrittenGroup { name: "g".into(), keys: Some(vec!["k*".into()]), ..WrittenGroup::default() };
        compile(&Written { groups: vec![group], ..Written::default() }, table()).expect("good rules")
    })
}
