//! The questions about a group whose connection to its node was lost: both are asked at once, at the node that serves its slot by
//! then.

use super::core::{Core, State};
use super::entry::{Atomic, Kind, Shows};
use super::intake::Request;
use super::scripts::Needs;
use super::transaction::{EXEC, MULTI};
use respguard_engine::command::Table;
use respguard_engine::route::place::Slots;
use respguard_resp::request::{Args, Limits, Parsed, RequestParser};

/// Frames that answer it: one to each question.
const FRAMES: u32 = 2;

/// Takes a CLIENT KILL of one lost connection with the EXISTS of a marker behind it; how many bytes both have.
pub(super) fn take(
    core: &Core,
    state: &mut State,
    table: &Table,
    request: &Request<'_>,
    rest: &[u8],
    start: u64,
    bytes: usize,
) -> Option<usize> {
    let is_option = |place: usize, name: &[u8]| request.args.get(place) == Some(name);
    if request.spec.name() != "client|kill" || request.args.len() != 6 || !is_option(2, b"ID") || !is_option(4, b"ADDR") {
        return None;
    }
    let (mut spans, mut arena) = (Vec::new(), Vec::new());
    let mut parser = RequestParser::new(Limits::default());
    let Parsed::Request { bytes: behind, inline: false } = parser.parse(&rest[bytes..], &mut spans, &mut arena, usize::MAX)
    else {
        return None;
    };
    let second = Request::read(core, table, Args::new(&rest[bytes..bytes + behind], &spans));
    let Slots::One { slot, .. } = second.slots else { return None };
    let prefix = core.nodes.context.policy().guard_prefix.clone();
    let is_marker = second.args.get(1).is_some_and(|key| key.starts_with(prefix.as_bytes()));
    if second.spec.name() != "exists" || second.args.len() != 2 || !is_marker {
        return None;
    }
    let all = bytes + behind;
    let mut entry = core.entry(&second, start..start + all as u64);
    entry.slot = Some(slot);
    entry.frames = FRAMES;
    entry.is_read = true;
    entry.kind = Kind::Atomic(Box::new(Atomic {
        request: Some([MULTI, &rest[..all], EXEC].concat()),
        frames: FRAMES + 2,
        outer: vec![MULTI.len()],
        shows: Shows::Each,
        own: None,
        is_asked: false,
        needs: Needs::default(),
        ends: Vec::new(),
        passes: false,
        orphan: None,
    }));
    state.put(entry);
    Some(all)
}
