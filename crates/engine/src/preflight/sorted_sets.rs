//! Commands about sorted sets, places on the globe among them.

use super::syntax::{self, Float, NOT_A_FLOAT, NOT_POSITIVE, SYNTAX};
use super::trial::Trial;
use super::types::Types;
use super::{Fault, lists, sets};

type Rule = Result<(), Fault>;

const ZSET: Types = Types::ZSET;
const WEIGHT: &str = "ERR weight value is not a float";
const NUMKEYS: &str = "ERR at least 1 input key is needed for this command";
const LIMIT_WITHOUT_RANGE: &str = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
const SCORES_WITH_LEX: &str = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";
const LONGITUDE_MAX: f64 = 180.0;
const LATITUDE_MAX: f64 = 85.05112878;

/// ZSCORE, ZRANK, ZCARD ..
pub(super) fn read(trial: &mut Trial<'_>) -> Rule {
    trial.typed(1, ZSET)
}

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ..]
pub(super) fn zadd(trial: &mut Trial<'_>) -> Rule {
    let (mut nx, mut xx, mut gt, mut lt, mut incr, mut at) = (false, false, false, false, false, 2);
    loop {
        match trial.arg(at)? {
            word if syntax::is(word, "NX") => nx = true,
            word if syntax::is(word, "XX") => xx = true,
            word if syntax::is(word, "GT") => gt = true,
            word if syntax::is(word, "LT") => lt = true,
            word if syntax::is(word, "CH") => {}
            word if syntax::is(word, "INCR") => incr = true,
            _ => break,
        }
        at += 1;
    }
    let rest = trial.len() - at;
    if rest == 0 || !rest.is_multiple_of(2) {
        return Err(Fault::new(SYNTAX));
    }
    if nx && xx {
        return Err(Fault::new("ERR XX and NX options at the same time are not compatible"));
    }
    if (gt && (nx || lt)) || (lt && nx) {
        return Err(Fault::new("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if incr && rest > 2 {
        return Err(Fault::new("ERR INCR option supports a single increment-element pair"));
    }
    for score in (at..trial.len()).step_by(2) {
        scored(trial, score, incr)?;
    }
    made_unless(trial, xx)
}

/// ZINCRBY key increment member
pub(super) fn zincrby(trial: &mut Trial<'_>) -> Rule {
    scored(trial, 2, true)?;
    trial.makes(1, ZSET)
}

fn scored(trial: &Trial<'_>, at: usize, added: bool) -> Rule {
    match syntax::number(trial.arg(at)?, NOT_A_FLOAT)? {
        Float::Infinite if added => Err(Fault::Undecided("infinity may meet its opposite")),
        _ => Ok(()),
    }
}

fn made_unless(trial: &mut Trial<'_>, only_there: bool) -> Rule {
    if only_there { trial.typed(1, ZSET) } else { trial.makes(1, ZSET) }
}

pub(super) fn zrem(trial: &mut Trial<'_>) -> Rule {
    trial.takes(1, ZSET)
}

/// ZREMRANGEBYSCORE key min max
pub(super) fn zremrangebyscore(trial: &mut Trial<'_>) -> Rule {
    score_range(trial)?;
    trial.takes(1, ZSET)
}

pub(super) fn zremrangebylex(trial: &mut Trial<'_>) -> Rule {
    lex_range(trial)?;
    trial.takes(1, ZSET)
}

pub(super) fn zremrangebyrank(trial: &mut Trial<'_>) -> Rule {
    trial.integer(2)?;
    trial.integer(3)?;
    trial.takes(1, ZSET)
}

/// ZCOUNT key min max
pub(super) fn zcount(trial: &mut Trial<'_>) -> Rule {
    score_range(trial)?;
    read(trial)
}

pub(super) fn zlexcount(trial: &mut Trial<'_>) -> Rule {
    lex_range(trial)?;
    read(trial)
}

fn score_range(trial: &Trial<'_>) -> Rule {
    syntax::score_bound(trial.arg(2)?)?;
    syntax::score_bound(trial.arg(3)?)
}

fn lex_range(trial: &Trial<'_>) -> Rule {
    syntax::lex_bound(trial.arg(2)?)?;
    syntax::lex_bound(trial.arg(3)?)
}

/// ZRANK key member [WITHSCORE]
pub(super) fn zrank(trial: &mut Trial<'_>) -> Rule {
    match trial.len() {
        3 => read(trial),
        _ => Err(Fault::Undecided("not every server knows WITHSCORE")),
    }
}

/// ZPOPMIN key [count]
pub(super) fn zpop(trial: &mut Trial<'_>) -> Rule {
    match trial.len() {
        2 => {}
        3 => {
            syntax::integer_from(trial.arg(2)?, 0, NOT_POSITIVE)?;
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    trial.takes(1, ZSET)
}

/// ZMPOP numkeys key [key ..] MIN | MAX [COUNT n]
pub(super) fn zmpop(trial: &mut Trial<'_>) -> Rule {
    let end = lists::pops_from(trial, &["MIN", "MAX"])?;
    (2..end).try_for_each(|at| trial.takes(at, ZSET))
}

pub(super) fn zrandmember(trial: &mut Trial<'_>) -> Rule {
    sets::random(trial, "WITHSCORES")?;
    read(trial)
}

pub(super) fn zscan(trial: &mut Trial<'_>) -> Rule {
    sets::scan_options(trial)?;
    read(trial)
}

/// ZRANGE key min max [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
pub(super) fn zrange(trial: &mut Trial<'_>) -> Rule {
    range(trial, 2, true)?;
    read(trial)
}

/// ZRANGESTORE destination source min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]
pub(super) fn zrangestore(trial: &mut Trial<'_>) -> Rule {
    range(trial, 3, false)?;
    trial.typed(2, ZSET)?;
    trial.replaced(1, ZSET.or(Types::NONE))
}

fn range(trial: &Trial<'_>, from: usize, scores: bool) -> Rule {
    let (mut by_score, mut by_lex, mut reversed) = (false, false, false);
    let (mut limit, mut with_scores, mut at) = (false, false, from + 2);
    while at < trial.len() {
        match trial.arg(at)? {
            word if syntax::is(word, "BYSCORE") => syntax::once(&mut by_score)?,
            word if syntax::is(word, "BYLEX") => syntax::once(&mut by_lex)?,
            word if syntax::is(word, "REV") => syntax::once(&mut reversed)?,
            word if syntax::is(word, "WITHSCORES") && scores => with_scores = true,
            word if syntax::is(word, "LIMIT") => {
                trial.integer(at + 1)?;
                trial.integer(at + 2)?;
                limit = true;
                at += 2;
            }
            _ => return Err(Fault::new(SYNTAX)),
        }
        at += 1;
    }
    if by_score && by_lex {
        return Err(Fault::new(SYNTAX));
    }
    if limit && !by_score && !by_lex {
        return Err(Fault::new(LIMIT_WITHOUT_RANGE));
    }
    if with_scores && by_lex {
        return Err(Fault::new(SCORES_WITH_LEX));
    }
    for bound in from..from + 2 {
        match (by_score, by_lex) {
            (true, _) => syntax::score_bound(trial.arg(bound)?)?,
            (_, true) => syntax::lex_bound(trial.arg(bound)?)?,
            _ => trial.integer(bound).map(|_| ())?,
        }
    }
    Ok(())
}

/// ZREVRANGE key start stop [WITHSCORES]
pub(super) fn zrevrange(trial: &mut Trial<'_>) -> Rule {
    trial.integer(2)?;
    trial.integer(3)?;
    options(trial, true, false)?;
    read(trial)
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
pub(super) fn zrangebyscore(trial: &mut Trial<'_>) -> Rule {
    score_range(trial)?;
    options(trial, true, true)?;
    read(trial)
}

/// ZRANGEBYLEX key min max [LIMIT offset count]
pub(super) fn zrangebylex(trial: &mut Trial<'_>) -> Rule {
    lex_range(trial)?;
    options(trial, false, true)?;
    read(trial)
}

fn options(trial: &Trial<'_>, scores: bool, limit: bool) -> Rule {
    let mut at = 4;
    while at < trial.len() {
        match trial.arg(at)? {
            word if scores && syntax::is(word, "WITHSCORES") => at += 1,
            word if limit && syntax::is(word, "LIMIT") => {
                trial.integer(at + 1)?;
                trial.integer(at + 2)?;
                at += 3;
            }
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    Ok(())
}

/// ZUNION numkeys key [key ..] [WEIGHTS w ..] [AGGREGATE word] [WITHSCORES]
pub(super) fn combine(trial: &mut Trial<'_>) -> Rule {
    combined(trial, 1, true, true).map(|_| ())
}

/// ZDIFF numkeys key [key ..] [WITHSCORES]
pub(super) fn zdiff(trial: &mut Trial<'_>) -> Rule {
    combined(trial, 1, false, true).map(|_| ())
}

/// ZUNIONSTORE destination numkeys key [key ..] [WEIGHTS w ..] [AGGREGATE word]
pub(super) fn combine_store(trial: &mut Trial<'_>) -> Rule {
    combined(trial, 2, true, false)?;
    trial.replaced(1, ZSET.or(Types::NONE))
}

/// ZDIFFSTORE destination numkeys key [key ..]
pub(super) fn zdiffstore(trial: &mut Trial<'_>) -> Rule {
    combined(trial, 2, false, false)?;
    trial.replaced(1, ZSET.or(Types::NONE))
}

/// `numkeys` stands at `from`.
fn combined(trial: &mut Trial<'_>, from: usize, weights: bool, scores: bool) -> Rule {
    if syntax::integer(trial.arg(from)?)? < 1 {
        return Err(Fault::new(NUMKEYS));
    }
    let end = trial.counted(from, SYNTAX)?;
    let mut at = end;
    while at < trial.len() {
        match trial.arg(at)? {
            word if weights && syntax::is(word, "WEIGHTS") => {
                let keys = end - from - 1;
                (at + 1..=at + keys).try_for_each(|weight| syntax::number(trial.arg(weight)?, WEIGHT).map(|_| ()))?;
                at += keys + 1;
            }
            word if weights && syntax::is(word, "AGGREGATE") => {
                syntax::one_of(trial.arg(at + 1)?, &["SUM", "MIN", "MAX"])?;
                at += 2;
            }
            word if scores && syntax::is(word, "WITHSCORES") => at += 1,
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    trial.all_typed(from + 1..end, ZSET.or(Types::SET))
}

/// ZINTERCARD numkeys key [key ..] [LIMIT n]
pub(super) fn zintercard(trial: &mut Trial<'_>) -> Rule {
    let end = sets::card(trial)?;
    trial.all_typed(2..end, ZSET.or(Types::SET))
}

/// GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ..]
pub(super) fn geoadd(trial: &mut Trial<'_>) -> Rule {
    let (mut nx, mut xx, mut at) = (false, false, 2);
    loop {
        match trial.arg(at)? {
            word if syntax::is(word, "NX") => nx = true,
            word if syntax::is(word, "XX") => xx = true,
            word if syntax::is(word, "CH") => {}
            _ => break,
        }
        at += 1;
    }
    if (nx && xx) || !(trial.len() - at).is_multiple_of(3) {
        return Err(Fault::new(SYNTAX));
    }
    for place in (at..trial.len()).step_by(3) {
        let longitude = degrees(trial.arg(place)?)?;
        let latitude = degrees(trial.arg(place + 1)?)?;
        if longitude.abs() > LONGITUDE_MAX || latitude.abs() > LATITUDE_MAX {
            let text = format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}");
            return Err(Fault::Certain(text.into()));
        }
    }
    made_unless(trial, xx)
}

fn degrees(text: &[u8]) -> Result<f64, Fault> {
    syntax::finite(text, NOT_A_FLOAT)?;
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Fault::new(NOT_A_FLOAT))
}

/// GEODIST key member member [unit]
pub(super) fn geodist(trial: &mut Trial<'_>) -> Rule {
    match trial.len() {
        4 => {}
        5 => syntax::one_of(trial.arg(4)?, &["m", "km", "ft", "mi"])
            .map_err(|_| Fault::new("ERR unsupported unit provided. please use M, KM, FT, MI"))?,
        _ => return Err(Fault::new(SYNTAX)),
    }
    read(trial)
}
