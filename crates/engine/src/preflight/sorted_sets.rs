//! Commands about sorted sets, including geospatial ones.

use super::analysis::GroupAnalysis;
use super::syntax::{self, Float, NOT_A_FLOAT, SYNTAX};
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
pub(super) fn read(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.typed(1, ZSET)
}

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ..]
pub(super) fn zadd(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let (at, [nx, xx, gt, lt, _, incr]) = analysis.flags(2, ["NX", "XX", "GT", "LT", "CH", "INCR"]);
    let rest = analysis.len() - at;
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
    for score in (at..analysis.len()).step_by(2) {
        scored(analysis, score, incr)?;
    }
    made_unless(analysis, xx)
}

/// ZINCRBY key increment member
pub(super) fn zincrby(analysis: &mut GroupAnalysis<'_>) -> Rule {
    scored(analysis, 2, true)?;
    analysis.makes(1, ZSET)
}

fn scored(analysis: &GroupAnalysis<'_>, at: usize, added: bool) -> Rule {
    match syntax::number(analysis.arg(at)?, NOT_A_FLOAT)? {
        Float::Infinite if added => Err(Fault::Undecided("infinity may meet its opposite")),
        _ => Ok(()),
    }
}

fn made_unless(analysis: &mut GroupAnalysis<'_>, only_there: bool) -> Rule {
    if only_there { analysis.typed(1, ZSET) } else { analysis.makes(1, ZSET) }
}

/// ZREMRANGEBYSCORE key min max
pub(super) fn zremrangebyscore(analysis: &mut GroupAnalysis<'_>) -> Rule {
    score_range(analysis)?;
    analysis.takes(1, ZSET)
}

pub(super) fn zremrangebylex(analysis: &mut GroupAnalysis<'_>) -> Rule {
    lex_range(analysis)?;
    analysis.takes(1, ZSET)
}

pub(super) fn zremrangebyrank(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.integers(2..4)?;
    analysis.takes(1, ZSET)
}

/// ZCOUNT key min max
pub(super) fn zcount(analysis: &mut GroupAnalysis<'_>) -> Rule {
    score_range(analysis)?;
    read(analysis)
}

pub(super) fn zlexcount(analysis: &mut GroupAnalysis<'_>) -> Rule {
    lex_range(analysis)?;
    read(analysis)
}

fn score_range(analysis: &GroupAnalysis<'_>) -> Rule {
    syntax::score_bound(analysis.arg(2)?)?;
    syntax::score_bound(analysis.arg(3)?)
}

fn lex_range(analysis: &GroupAnalysis<'_>) -> Rule {
    syntax::lex_bound(analysis.arg(2)?)?;
    syntax::lex_bound(analysis.arg(3)?)
}

/// ZRANK key member [WITHSCORE]
pub(super) fn zrank(analysis: &mut GroupAnalysis<'_>) -> Rule {
    match analysis.len() {
        3 => read(analysis),
        _ => Err(Fault::Undecided("not every server knows WITHSCORE")),
    }
}

/// ZMPOP numkeys key [key ..] MIN | MAX [COUNT n]
pub(super) fn zmpop(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let end = lists::pops_from(analysis, &["MIN", "MAX"])?;
    (2..end).try_for_each(|at| analysis.takes(at, ZSET))
}

pub(super) fn zrandmember(analysis: &mut GroupAnalysis<'_>) -> Rule {
    sets::random(analysis, "WITHSCORES")?;
    read(analysis)
}

pub(super) fn zscan(analysis: &mut GroupAnalysis<'_>) -> Rule {
    sets::scan_options(analysis)?;
    read(analysis)
}

/// ZRANGE key min max [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
pub(super) fn zrange(analysis: &mut GroupAnalysis<'_>) -> Rule {
    range(analysis, 2, true)?;
    read(analysis)
}

/// ZRANGESTORE destination source min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]
pub(super) fn zrangestore(analysis: &mut GroupAnalysis<'_>) -> Rule {
    range(analysis, 3, false)?;
    analysis.typed(2, ZSET)?;
    analysis.replaced(1, ZSET.or(Types::NONE))
}

fn range(analysis: &GroupAnalysis<'_>, from: usize, scores: bool) -> Rule {
    let (mut by_score, mut by_lex, mut reversed) = (false, false, false);
    let (mut limit, mut with_scores, mut at) = (false, false, from + 2);
    while at < analysis.len() {
        match analysis.arg(at)? {
            word if syntax::is(word, "BYSCORE") => syntax::once(&mut by_score)?,
            word if syntax::is(word, "BYLEX") => syntax::once(&mut by_lex)?,
            word if syntax::is(word, "REV") => syntax::once(&mut reversed)?,
            word if syntax::is(word, "WITHSCORES") && scores => with_scores = true,
            word if syntax::is(word, "LIMIT") => {
                analysis.integers(at + 1..at + 3)?;
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
            (true, _) => syntax::score_bound(analysis.arg(bound)?)?,
            (_, true) => syntax::lex_bound(analysis.arg(bound)?)?,
            _ => analysis.integer(bound).map(drop)?,
        }
    }
    Ok(())
}

/// ZREVRANGE key start stop [WITHSCORES]
pub(super) fn zrevrange(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.integers(2..4)?;
    options(analysis, true, false)?;
    read(analysis)
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
pub(super) fn zrangebyscore(analysis: &mut GroupAnalysis<'_>) -> Rule {
    score_range(analysis)?;
    options(analysis, true, true)?;
    read(analysis)
}

/// ZRANGEBYLEX key min max [LIMIT offset count]
pub(super) fn zrangebylex(analysis: &mut GroupAnalysis<'_>) -> Rule {
    lex_range(analysis)?;
    options(analysis, false, true)?;
    read(analysis)
}

fn options(analysis: &GroupAnalysis<'_>, scores: bool, limit: bool) -> Rule {
    let mut at = 4;
    while at < analysis.len() {
        match analysis.arg(at)? {
            word if scores && syntax::is(word, "WITHSCORES") => at += 1,
            word if limit && syntax::is(word, "LIMIT") => {
                analysis.integers(at + 1..at + 3)?;
                at += 3;
            }
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    Ok(())
}

/// ZUNIONSTORE destination numkeys key [key ..] [WEIGHTS w ..] [AGGREGATE word]
pub(super) fn combine_store(analysis: &mut GroupAnalysis<'_>, weights: bool) -> Rule {
    combined(analysis, 2, weights, false)?;
    analysis.replaced(1, ZSET.or(Types::NONE))
}

/// `numkeys` stands at `from`.
pub(super) fn combined(analysis: &mut GroupAnalysis<'_>, from: usize, weights: bool, scores: bool) -> Rule {
    if syntax::integer(analysis.arg(from)?)? < 1 {
        return Err(Fault::new(NUMKEYS));
    }
    let end = analysis.counted(from, SYNTAX)?;
    let mut at = end;
    while at < analysis.len() {
        match analysis.arg(at)? {
            word if weights && syntax::is(word, "WEIGHTS") => {
                let keys = end - from - 1;
                (at + 1..=at + keys).try_for_each(|weight| syntax::number(analysis.arg(weight)?, WEIGHT).map(drop))?;
                at += keys + 1;
            }
            word if weights && syntax::is(word, "AGGREGATE") => {
                syntax::one_of(analysis.arg(at + 1)?, &["SUM", "MIN", "MAX"])?;
                at += 2;
            }
            word if scores && syntax::is(word, "WITHSCORES") => at += 1,
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    analysis.all_typed(from + 1..end, ZSET.or(Types::SET))
}

/// ZINTERCARD numkeys key [key ..] [LIMIT n]
pub(super) fn zintercard(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let end = sets::card(analysis)?;
    analysis.all_typed(2..end, ZSET.or(Types::SET))
}

/// GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ..]
pub(super) fn geoadd(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let (at, [nx, xx, _]) = analysis.flags(2, ["NX", "XX", "CH"]);
    let rest = analysis.len() - at;
    if (nx && xx) || rest == 0 || !rest.is_multiple_of(3) {
        return Err(Fault::new(SYNTAX));
    }
    for place in (at..analysis.len()).step_by(3) {
        let longitude = degrees(analysis.arg(place)?)?;
        let latitude = degrees(analysis.arg(place + 1)?)?;
        if longitude.abs() > LONGITUDE_MAX || latitude.abs() > LATITUDE_MAX {
            let text = format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}");
            return Err(Fault::Certain(text.into()));
        }
    }
    made_unless(analysis, xx)
}

fn degrees(text: &[u8]) -> Result<f64, Fault> {
    syntax::finite(text, NOT_A_FLOAT)?;
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Fault::new(NOT_A_FLOAT))
}

/// GEODIST key member member [unit]
pub(super) fn geodist(analysis: &mut GroupAnalysis<'_>) -> Rule {
    match analysis.len() {
        4 => {}
        5 => syntax::one_of(analysis.arg(4)?, &["m", "km", "ft", "mi"])
            .map_err(|_| Fault::new("ERR unsupported unit provided. please use M, KM, FT, MI"))?,
        _ => return Err(Fault::new(SYNTAX)),
    }
    read(analysis)
}
