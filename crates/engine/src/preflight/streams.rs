//! Commands about streams and their consumer groups.

use super::analysis::{GroupAnalysis, NO_SUCH_KEY};
use super::syntax::{self, BAD_ID, SYNTAX, StreamId};
use super::types::Types;
use super::{Asker, Fault};

type Rule = Result<(), Fault>;

const STREAM: Types = Types::STREAM;
/// XGROUP CREATE key group id MKSTREAM ENTRIESREAD n
const CREATE_WORDS_MAX: usize = 8;
const ZERO_ID: &str = "ERR The ID specified in XADD must be greater than 0-0";
const KEY_FOR_GROUP: &str = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.";
const BOTH_STRATEGIES: &str = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
const LIMIT_WITHOUT_STRATEGY: &str = "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy";
const LIMIT_WITHOUT_ABOUT: &str = "ERR syntax error, LIMIT cannot be used without the special ~ option";
const CREATE_TOO_LONG: &str = "ERR unknown subcommand or wrong number of arguments for 'CREATE'. Try XGROUP HELP.";
const GROUP_MISSING: &str = "ERR Missing GROUP option for XREADGROUP";
const UNBALANCED_GROUP: &str = "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified.";
const UNBALANCED: &str = "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.";

/// XLEN key
pub(super) fn read(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.typed(1, STREAM)
}

/// XADD key [NOMKSTREAM] [MAXLEN | MINID [= | ~] threshold [LIMIT n]] * | id field value [field value ..]
pub(super) fn xadd(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let trimmed = trimming(analysis, 2, true)?;
    let fields = analysis.len().saturating_sub(trimmed.end + 1);
    let id = match analysis.arg(trimmed.end)? {
        b"*" => None,
        text => Some(new_id(text)?),
    };
    if fields == 0 || !fields.is_multiple_of(2) {
        return Err(Fault::new("ERR wrong number of arguments for 'xadd' command"));
    }
    if trimmed.makes {
        analysis.makes(1, STREAM)?
    } else {
        analysis.typed(1, STREAM)?
    }
    analysis.gives(1, id)
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

/// The options of XADD and XTRIM.
struct Trimming {
    /// The place of the first word that is none of them.
    end: usize,
    /// Whether there is one of MAXLEN and MINID.
    named: bool,
    /// Whether the stream is made where there is none.
    makes: bool,
}

/// `[NOMKSTREAM] [MAXLEN | MINID [= | ~] threshold] [LIMIT n]`, in any order. Of MAXLEN and MINID there may be one.
fn trimming(analysis: &GroupAnalysis<'_>, from: usize, adds: bool) -> Result<Trimming, Fault> {
    let (mut at, mut makes) = (from, true);
    let (mut named, mut about, mut limited) = (false, false, false);
    while let Ok(word) = analysis.arg(at) {
        let by_id = syntax::is(word, "MINID");
        if adds && word == b"*" {
            break;
        } else if by_id || syntax::is(word, "MAXLEN") {
            if std::mem::replace(&mut named, true) {
                return Err(Fault::new(BOTH_STRATEGIES));
            }
            let sign = analysis.arg(at + 1)?;
            about = sign == b"~";
            at += if about || sign == b"=" { 2 } else { 1 };
            let threshold = analysis.arg(at)?;
            if by_id {
                syntax::stream_id(threshold, 0)?;
            } else if syntax::integer(threshold)? < 0 {
                return Err(Fault::new("ERR The MAXLEN argument must be >= 0."));
            }
        } else if syntax::is(word, "LIMIT") {
            at += 1;
            limited = true;
            if analysis.integer(at)? < 0 {
                return Err(Fault::new("ERR The LIMIT argument must be >= 0."));
            }
        } else if adds && syntax::is(word, "NOMKSTREAM") {
            makes = false;
        } else {
            break;
        }
        at += 1;
    }
    match (limited, about) {
        (true, false) if !named => Err(Fault::new(LIMIT_WITHOUT_STRATEGY)),
        (true, false) => Err(Fault::new(LIMIT_WITHOUT_ABOUT)),
        _ => Ok(Trimming { end: at, named, makes }),
    }
}

/// XTRIM key MAXLEN | MINID [= | ~] threshold [LIMIT n]
pub(super) fn xtrim(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let trimmed = trimming(analysis, 2, false)?;
    if trimmed.end != analysis.len() || !trimmed.named {
        return Err(Fault::new(SYNTAX));
    }
    read(analysis)
}

/// XDEL key id [id ..]
pub(super) fn xdel(analysis: &mut GroupAnalysis<'_>) -> Rule {
    ids(analysis, 2)?;
    read(analysis)
}

fn ids(analysis: &GroupAnalysis<'_>, from: usize) -> Rule {
    (from..analysis.len()).try_for_each(|at| syntax::stream_id(analysis.arg(at)?, 0).map(drop))
}

/// XRANGE key start end [COUNT n]
pub(super) fn xrange(analysis: &mut GroupAnalysis<'_>) -> Rule {
    syntax::stream_bound(analysis.arg(2)?)?;
    syntax::stream_bound(analysis.arg(3)?)?;
    match analysis.len() {
        4 => {}
        6 if analysis.is(4, "COUNT") => {
            analysis.integer(5)?;
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    read(analysis)
}

/// XREAD [COUNT n] STREAMS key [key ..] id [id ..]
pub(super) fn xread(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let streams = streams(analysis, false)?;
    for at in streams.keys.clone() {
        match analysis.arg(at + streams.keys.len())? {
            b"$" => {}
            id => syntax::stream_id(id, 0).map(drop)?,
        }
        analysis.typed(at, STREAM)?;
    }
    Ok(())
}

/// XREADGROUP GROUP group consumer [COUNT n] [NOACK] STREAMS key [key ..] id [id ..], the options in any order.
pub(super) fn xreadgroup(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let streams = streams(analysis, true)?;
    let Some(group) = streams.group else { return Err(Fault::new(GROUP_MISSING)) };
    for at in streams.keys.clone() {
        match analysis.arg(at + streams.keys.len())? {
            b">" => {}
            id => syntax::stream_id(id, 0).map(drop)?,
        }
        grouped(analysis, at, group, Asker::Read)?;
    }
    Ok(())
}

/// What the options of XREAD and XREADGROUP say.
struct Streams<'a> {
    group: Option<&'a [u8]>,
    /// The places of the keys, behind each of which an id stands as many places further.
    keys: std::ops::Range<usize>,
}

fn streams<'a>(analysis: &GroupAnalysis<'a>, grouped: bool) -> Result<Streams<'a>, Fault> {
    let (mut at, mut group) = (1, None);
    loop {
        match analysis.arg(at)? {
            word if syntax::is(word, "COUNT") => {
                analysis.integer(at + 1)?;
                at += 2;
            }
            word if grouped && syntax::is(word, "GROUP") => {
                group = Some(analysis.arg(at + 1)?);
                analysis.arg(at + 2)?;
                at += 3;
            }
            word if grouped && syntax::is(word, "NOACK") => at += 1,
            word if syntax::is(word, "STREAMS") => break,
            // Within a transaction nothing blocks; the command table keeps BLOCK out of groups.
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    let rest = analysis.len() - at - 1;
    if rest == 0 || !rest.is_multiple_of(2) {
        return Err(Fault::new(if grouped { UNBALANCED_GROUP } else { UNBALANCED }));
    }
    Ok(Streams { group, keys: at + 1..at + 1 + rest / 2 })
}

/// The key is a stream with this consumer group.
fn grouped<'a>(analysis: &mut GroupAnalysis<'a>, at: usize, group: &'a [u8], asker: Asker) -> Rule {
    analysis.typed(at, STREAM)?;
    analysis.consumed(at, group, Some(asker))
}

/// XACK key group id [id ..]: without the group it answers 0.
pub(super) fn xack(analysis: &mut GroupAnalysis<'_>) -> Rule {
    ids(analysis, 3)?;
    read(analysis)
}

/// XPENDING key group [[IDLE ms] start end count [consumer]]
pub(super) fn xpending(analysis: &mut GroupAnalysis<'_>) -> Rule {
    if analysis.len() > 3 {
        let from = if analysis.is(3, "IDLE") {
            analysis.integer(4)?;
            5
        } else {
            3
        };
        if !(3..=4).contains(&(analysis.len().saturating_sub(from))) {
            return Err(Fault::new(SYNTAX));
        }
        analysis.integer(from + 2)?;
        syntax::stream_bound(analysis.arg(from)?)?;
        syntax::stream_bound(analysis.arg(from + 1)?)?;
    }
    let group = analysis.arg(2)?;
    grouped(analysis, 1, group, Asker::Pending)
}

/// XCLAIM key group consumer min-idle id [id ..] [IDLE ms] [TIME ms] [RETRYCOUNT n] [FORCE] [JUSTID] [LASTID id]
pub(super) fn xclaim(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.integer(4).map_err(|_| Fault::new("ERR Invalid min-idle-time argument for XCLAIM"))?;
    let mut at = 5;
    while analysis.arg(at).is_ok_and(|text| syntax::stream_id(text, 0).is_ok()) {
        at += 1;
    }
    if at == 5 {
        return Err(Fault::new(BAD_ID));
    }
    while at < analysis.len() {
        match analysis.arg(at)? {
            word if syntax::is(word, "FORCE") || syntax::is(word, "JUSTID") => at += 1,
            word if at + 1 < analysis.len() && syntax::is(word, "LASTID") => {
                syntax::stream_id(analysis.arg(at + 1)?, 0)?;
                at += 2;
            }
            word => match ["IDLE", "TIME", "RETRYCOUNT"].into_iter().find(|option| syntax::is(word, option)) {
                Some(option) if at + 1 < analysis.len() => {
                    let fault = |_| Fault::Certain(format!("ERR Invalid {option} option argument for XCLAIM").into());
                    analysis.integer(at + 1).map_err(fault)?;
                    at += 2;
                }
                _ => {
                    let option = word.escape_ascii();
                    return Err(Fault::Certain(format!("ERR Unrecognized XCLAIM option '{option}'").into()));
                }
            },
        }
    }
    let group = analysis.arg(2)?;
    grouped(analysis, 1, group, Asker::Pending)
}

/// XAUTOCLAIM key group consumer min-idle start [COUNT n] [JUSTID]
pub(super) fn xautoclaim(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.integer(4).map_err(|_| Fault::new("ERR Invalid min-idle-time argument for XAUTOCLAIM"))?;
    syntax::stream_bound(analysis.arg(5)?)?;
    let mut at = 6;
    while at < analysis.len() {
        match analysis.arg(at)? {
            word if syntax::is(word, "JUSTID") => at += 1,
            word if at + 1 < analysis.len() && syntax::is(word, "COUNT") => {
                // So many attempts are made for each that is wanted: Redis has an end far above this one.
                let fits = analysis.integer(at + 1).is_ok_and(|count| (1..=i64::from(u32::MAX)).contains(&count));
                if !fits {
                    return Err(Fault::new("ERR COUNT must be > 0"));
                }
                at += 2;
            }
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    let group = analysis.arg(2)?;
    grouped(analysis, 1, group, Asker::Pending)
}

/// XGROUP CREATE key group id | $ [MKSTREAM] [ENTRIESREAD n]
pub(super) fn create(analysis: &mut GroupAnalysis<'_>) -> Rule {
    starting_id(analysis, 4)?;
    // So many words are what the longest form has: Redis counts them and not the options.
    if analysis.len() > CREATE_WORDS_MAX {
        return Err(Fault::new(CREATE_TOO_LONG));
    }
    let (mut at, mut makes) = (5, false);
    while at < analysis.len() {
        match analysis.arg(at)? {
            word if syntax::is(word, "MKSTREAM") => {
                makes = true;
                at += 1;
            }
            word if syntax::is(word, "ENTRIESREAD") => at = entries_read(analysis, at)?,
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    let group = analysis.arg(3)?;
    if makes {
        analysis.makes(2, STREAM)?
    } else {
        existing(analysis)?
    }
    analysis.consumed(2, group, None)?;
    analysis.note_group(2, group, true)
}

/// XGROUP SETID key group id | $ [ENTRIESREAD n]
pub(super) fn setid(analysis: &mut GroupAnalysis<'_>) -> Rule {
    starting_id(analysis, 4)?;
    match analysis.len() {
        5 => {}
        7 if analysis.is(5, "ENTRIESREAD") => {
            entries_read(analysis, 5)?;
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    with_group(analysis)
}

/// XGROUP DESTROY key group
pub(super) fn destroy(analysis: &mut GroupAnalysis<'_>) -> Rule {
    existing(analysis)?;
    let group = analysis.arg(3)?;
    analysis.note_group(2, group, false)
}

/// XGROUP CREATECONSUMER key group consumer
pub(super) fn with_group(analysis: &mut GroupAnalysis<'_>) -> Rule {
    existing(analysis)?;
    analysis.consumed(2, analysis.arg(3)?, Some(Asker::Group))
}

fn existing(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.typed(2, STREAM)?;
    let key = analysis.arg(2)?;
    if analysis.types(key).has(Types::NONE) {
        analysis.require(key, STREAM, KEY_FOR_GROUP)?;
    }
    Ok(())
}

fn starting_id(analysis: &GroupAnalysis<'_>, at: usize) -> Rule {
    match analysis.arg(at)? {
        b"$" => Ok(()),
        id => syntax::stream_id(id, 0).map(drop),
    }
}

fn entries_read(analysis: &GroupAnalysis<'_>, at: usize) -> Result<usize, Fault> {
    match analysis.integer(at + 1)? {
        // -1 says that it is not known.
        -1.. => Ok(at + 2),
        _ => Err(Fault::new("ERR value for ENTRIESREAD must be positive or -1")),
    }
}

/// XINFO STREAM key
pub(super) fn info_stream(analysis: &mut GroupAnalysis<'_>) -> Rule {
    if analysis.len() != 3 {
        return Err(Fault::Undecided("FULL has forms of its own"));
    }
    info_groups(analysis)
}

/// XINFO GROUPS key
pub(super) fn info_groups(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.typed(2, STREAM)?;
    let key = analysis.arg(2)?;
    analysis.require(key, STREAM, NO_SUCH_KEY)
}

/// XINFO CONSUMERS key group
pub(super) fn info_consumers(analysis: &mut GroupAnalysis<'_>) -> Rule {
    info_groups(analysis)?;
    analysis.consumed(2, analysis.arg(3)?, Some(Asker::Group))
}
