//! Commands about streams and their consumer groups.

use super::strings::count;
use super::syntax::{self, BAD_ID, NOT_AN_INTEGER, SYNTAX, StreamId};
use super::trial::{NO_SUCH_KEY, Trial};
use super::types::Types;
use super::{Asker, Fault};

type Rule = Result<(), Fault>;

const STREAM: Types = Types::STREAM;
const ZERO_ID: &str = "ERR The ID specified in XADD must be greater than 0-0";
const KEY_FOR_GROUP: &str = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.";
const UNBALANCED: &str = "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.";

/// XLEN key
pub(super) fn read(trial: &mut Trial<'_>) -> Rule {
    trial.typed(1, STREAM)
}

/// XADD key [NOMKSTREAM] [MAXLEN | MINID [= | ~] threshold [LIMIT n]] * | id field value [field value ..]
pub(super) fn xadd(trial: &mut Trial<'_>) -> Rule {
    let (mut at, mut makes) = (2, true);
    loop {
        match trial.arg(at)? {
            word if syntax::is(word, "NOMKSTREAM") => {
                makes = false;
                at += 1;
            }
            word if syntax::is(word, "MAXLEN") || syntax::is(word, "MINID") => at = trimming(trial, at)?,
            _ => break,
        }
    }
    let fields = trial.len() - at - 1;
    if fields == 0 || !fields.is_multiple_of(2) {
        return Err(Fault::new("ERR wrong number of arguments for 'xadd' command"));
    }
    let id = match trial.arg(at)? {
        b"*" => None,
        text => Some(new_id(text)?),
    };
    if makes {
        trial.makes(1, STREAM)?
    } else {
        trial.typed(1, STREAM)?
    }
    trial.gives(1, id)
}

/// The id, and whether the stream's next one is just that: `5-*` leaves the sequence to the server.
fn new_id(text: &[u8]) -> Result<(StreamId, bool), Fault> {
    if let Some(milliseconds) = text.strip_suffix(b"-*") {
        let milliseconds = syntax::half(milliseconds).ok_or(Fault::new(BAD_ID))?;
        return Ok((StreamId { milliseconds, sequence: u64::MAX }, false));
    }
    let id = syntax::stream_id(text, 0)?;
    if id == (StreamId { milliseconds: 0, sequence: 0 }) { Err(Fault::new(ZERO_ID)) } else { Ok((id, true)) }
}

/// `MAXLEN | MINID [= | ~] threshold [LIMIT n]`: the place behind it.
fn trimming(trial: &Trial<'_>, at: usize) -> Result<usize, Fault> {
    let by_id = trial.is(at, "MINID");
    let about = trial.arg(at + 1)? == b"~";
    let mut next = if about || trial.arg(at + 1)? == b"=" { at + 2 } else { at + 1 };
    if by_id {
        syntax::stream_id(trial.arg(next)?, 0)?;
    } else {
        syntax::integer_from(trial.arg(next)?, 0, "ERR The MAXLEN argument must be >= 0.")?;
    }
    next += 1;
    if trial.is(next, "LIMIT") {
        syntax::integer_from(trial.arg(next + 1)?, 0, "ERR The LIMIT argument must be >= 0.")?;
        if !about {
            return Err(Fault::new("ERR syntax error, LIMIT cannot be used without the special ~ option"));
        }
        next += 2;
    }
    Ok(next)
}

/// XTRIM key MAXLEN | MINID [= | ~] threshold [LIMIT n]
pub(super) fn xtrim(trial: &mut Trial<'_>) -> Rule {
    syntax::one_of(trial.arg(2)?, &["MAXLEN", "MINID"])?;
    if trimming(trial, 2)? != trial.len() {
        return Err(Fault::new(SYNTAX));
    }
    read(trial)
}

/// XDEL key id [id ..]
pub(super) fn xdel(trial: &mut Trial<'_>) -> Rule {
    ids(trial, 2)?;
    read(trial)
}

fn ids(trial: &Trial<'_>, from: usize) -> Rule {
    (from..trial.len()).try_for_each(|at| syntax::stream_id(trial.arg(at)?, 0).map(|_| ()))
}

/// XRANGE key start end [COUNT n]
pub(super) fn xrange(trial: &mut Trial<'_>) -> Rule {
    syntax::stream_bound(trial.arg(2)?)?;
    syntax::stream_bound(trial.arg(3)?)?;
    match trial.len() {
        4 => {}
        6 if trial.is(4, "COUNT") => {
            trial.integer(5)?;
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    read(trial)
}

/// XREAD [COUNT n] STREAMS key [key ..] id [id ..]
pub(super) fn xread(trial: &mut Trial<'_>) -> Rule {
    let (first, keys) = streams(trial, 1, false)?;
    for at in first..first + keys {
        match trial.arg(at + keys)? {
            b"$" => {}
            id => syntax::stream_id(id, 0).map(|_| ())?,
        }
        trial.typed(at, STREAM)?;
    }
    Ok(())
}

/// XREADGROUP GROUP group consumer [COUNT n] [NOACK] STREAMS key [key ..] id [id ..]
pub(super) fn xreadgroup(trial: &mut Trial<'_>) -> Rule {
    syntax::one_of(trial.arg(1)?, &["GROUP"])?;
    let group = trial.arg(2)?;
    let (first, keys) = streams(trial, 4, true)?;
    for at in first..first + keys {
        match trial.arg(at + keys)? {
            b">" => {}
            id => syntax::stream_id(id, 0).map(|_| ())?,
        }
        grouped(trial, at, group, Asker::Read)?;
    }
    Ok(())
}

/// Options from `at` on, then STREAMS: the place of the first key, and how many there are.
fn streams(trial: &Trial<'_>, mut at: usize, noack: bool) -> Result<(usize, usize), Fault> {
    loop {
        match trial.arg(at)? {
            word if syntax::is(word, "COUNT") => {
                trial.integer(at + 1)?;
                at += 2;
            }
            word if noack && syntax::is(word, "NOACK") => at += 1,
            word if syntax::is(word, "STREAMS") => break,
            // Within a transaction nothing blocks; the command table keeps BLOCK out of groups.
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    let rest = trial.len() - at - 1;
    if rest == 0 || !rest.is_multiple_of(2) {
        return Err(Fault::new(UNBALANCED));
    }
    Ok((at + 1, rest / 2))
}

/// The key is a stream with this consumer group.
fn grouped<'a>(trial: &mut Trial<'a>, at: usize, group: &'a [u8], asker: Asker) -> Rule {
    trial.typed(at, STREAM)?;
    trial.consumed(at, group, Some(asker))
}

/// XACK key group id [id ..]: without the group it answers 0.
pub(super) fn xack(trial: &mut Trial<'_>) -> Rule {
    ids(trial, 3)?;
    read(trial)
}

/// XPENDING key group [[IDLE ms] start end count [consumer]]
pub(super) fn xpending(trial: &mut Trial<'_>) -> Rule {
    if trial.len() > 3 {
        let from = if trial.is(3, "IDLE") {
            trial.integer(4)?;
            5
        } else {
            3
        };
        if !(3..=4).contains(&(trial.len().saturating_sub(from))) {
            return Err(Fault::new(SYNTAX));
        }
        trial.integer(from + 2)?;
        syntax::stream_bound(trial.arg(from)?)?;
        syntax::stream_bound(trial.arg(from + 1)?)?;
    }
    let group = trial.arg(2)?;
    grouped(trial, 1, group, Asker::Pending)
}

/// XCLAIM key group consumer min-idle id [id ..] [IDLE ms] [TIME ms] [RETRYCOUNT n] [FORCE] [JUSTID] [LASTID id]
pub(super) fn xclaim(trial: &mut Trial<'_>) -> Rule {
    trial.integer(4).map_err(|_| Fault::new("ERR Invalid min-idle-time argument for XCLAIM"))?;
    let mut at = 5;
    while trial.arg(at).is_ok_and(|text| syntax::stream_id(text, 0).is_ok()) {
        at += 1;
    }
    if at == 5 {
        return Err(Fault::new(BAD_ID));
    }
    while at < trial.len() {
        match trial.arg(at)? {
            word if syntax::is(word, "FORCE") || syntax::is(word, "JUSTID") => at += 1,
            word if ["IDLE", "TIME", "RETRYCOUNT"].iter().any(|option| syntax::is(word, option)) => {
                trial.integer(at + 1)?;
                at += 2;
            }
            word if syntax::is(word, "LASTID") => {
                syntax::stream_id(trial.arg(at + 1)?, 0)?;
                at += 2;
            }
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    let group = trial.arg(2)?;
    grouped(trial, 1, group, Asker::Pending)
}

/// XAUTOCLAIM key group consumer min-idle start [COUNT n] [JUSTID]
pub(super) fn xautoclaim(trial: &mut Trial<'_>) -> Rule {
    trial.integer(4).map_err(|_| Fault::new("ERR Invalid min-idle-time argument for XAUTOCLAIM"))?;
    syntax::stream_bound(trial.arg(5)?)?;
    let mut at = 6;
    while at < trial.len() {
        match trial.arg(at)? {
            word if syntax::is(word, "JUSTID") => at += 1,
            word if syntax::is(word, "COUNT") => {
                count(trial.arg(at + 1)?)?;
                // So many attempts are made for each that is wanted.
                if trial.integer(at + 1)? > i64::from(u32::MAX) {
                    return Err(Fault::new("ERR COUNT must be > 0"));
                }
                at += 2;
            }
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    let group = trial.arg(2)?;
    grouped(trial, 1, group, Asker::Pending)
}

/// XGROUP CREATE key group id | $ [MKSTREAM] [ENTRIESREAD n]
pub(super) fn create(trial: &mut Trial<'_>) -> Rule {
    starting_id(trial, 4)?;
    let (mut at, mut makes) = (5, false);
    while at < trial.len() {
        match trial.arg(at)? {
            word if syntax::is(word, "MKSTREAM") => {
                makes = true;
                at += 1;
            }
            word if syntax::is(word, "ENTRIESREAD") => at = entries_read(trial, at)?,
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    let group = trial.arg(3)?;
    if makes {
        trial.makes(2, STREAM)?
    } else {
        existing(trial)?
    }
    trial.consumed(2, group, None)?;
    trial.note_group(2, group, true)
}

/// XGROUP SETID key group id | $ [ENTRIESREAD n]
pub(super) fn setid(trial: &mut Trial<'_>) -> Rule {
    starting_id(trial, 4)?;
    match trial.len() {
        5 => {}
        7 if trial.is(5, "ENTRIESREAD") => {
            entries_read(trial, 5)?;
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    with_group(trial)
}

/// XGROUP DESTROY key group
pub(super) fn destroy(trial: &mut Trial<'_>) -> Rule {
    existing(trial)?;
    let group = trial.arg(3)?;
    trial.note_group(2, group, false)
}

/// XGROUP CREATECONSUMER key group consumer
pub(super) fn with_group(trial: &mut Trial<'_>) -> Rule {
    existing(trial)?;
    let group = trial.arg(3)?;
    trial.consumed(2, group, Some(Asker::Group))
}

fn existing(trial: &mut Trial<'_>) -> Rule {
    trial.typed(2, STREAM)?;
    let key = trial.arg(2)?;
    if trial.types(key).has(Types::NONE) {
        trial.require(key, STREAM, KEY_FOR_GROUP)?;
    }
    Ok(())
}

fn starting_id(trial: &Trial<'_>, at: usize) -> Rule {
    match trial.arg(at)? {
        b"$" => Ok(()),
        id => syntax::stream_id(id, 0).map(|_| ()),
    }
}

fn entries_read(trial: &Trial<'_>, at: usize) -> Result<usize, Fault> {
    syntax::integer_from(trial.arg(at + 1)?, 0, NOT_AN_INTEGER)?;
    Ok(at + 2)
}

/// XINFO STREAM key
pub(super) fn info_stream(trial: &mut Trial<'_>) -> Rule {
    if trial.len() != 3 {
        return Err(Fault::Undecided("FULL has forms of its own"));
    }
    info_groups(trial)
}

/// XINFO GROUPS key
pub(super) fn info_groups(trial: &mut Trial<'_>) -> Rule {
    trial.typed(2, STREAM)?;
    let key = trial.arg(2)?;
    trial.require(key, STREAM, NO_SUCH_KEY)
}

/// XINFO CONSUMERS key group
pub(super) fn info_consumers(trial: &mut Trial<'_>) -> Rule {
    info_groups(trial)?;
    let group = trial.arg(3)?;
    trial.consumed(2, group, Some(Asker::Group))
}
