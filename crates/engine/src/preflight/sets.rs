//! Commands about sets.

use super::Fault;
use super::analysis::GroupAnalysis;
use super::syntax::{self, NOT_POSITIVE, SYNTAX};
use super::types::Types;

type Rule = Result<(), Fault>;

const SET: Types = Types::SET;

pub(super) fn read(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.typed(1, SET)
}

/// SPOP key [count], and ZPOPMIN
pub(super) fn pop(analysis: &mut GroupAnalysis<'_>, of: Types) -> Rule {
    match analysis.len() {
        2 => {}
        3 => drop(syntax::integer_from(analysis.arg(2)?, 0, NOT_POSITIVE)?),
        _ => return Err(Fault::new(SYNTAX)),
    }
    analysis.takes(1, of)
}

pub(super) fn srandmember(analysis: &mut GroupAnalysis<'_>) -> Rule {
    if analysis.len() > 3 {
        return Err(Fault::new(SYNTAX));
    }
    random(analysis, "")?;
    read(analysis)
}

/// `[count [option]]`, as what picks at random takes it.
pub(super) fn random(analysis: &GroupAnalysis<'_>, option: &str) -> Rule {
    if analysis.len() == 2 {
        return Ok(());
    }
    let count = analysis.integer(2)?;
    match analysis.len() {
        3 => {}
        4 if analysis.is(3, option) => {}
        _ => return Err(Fault::new(SYNTAX)),
    }
    // With values twice as many are answered.
    if count.unsigned_abs() < i64::MAX.unsigned_abs() / 2 { Ok(()) } else { Err(Fault::new("ERR value is out of range")) }
}

/// SMOVE source destination member
pub(super) fn smove(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.all_typed(1..3, SET)?;
    analysis.turn(1, SET, SET.or(Types::NONE))?;
    analysis.turn(2, Types::NONE, SET.or(Types::NONE))
}

/// SINTER key [key ..]
pub(super) fn all(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.all_typed(1..analysis.len(), SET)
}

/// SINTERSTORE destination key [key ..]
pub(super) fn store(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.all_typed(2..analysis.len(), SET)?;
    analysis.replaced(1, SET.or(Types::NONE))
}

/// SINTERCARD numkeys key [key ..] [LIMIT n]
pub(super) fn sintercard(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let end = card(analysis)?;
    analysis.all_typed(2..end, SET)
}

/// `numkeys key [key ..] [LIMIT n]`: the place behind the keys.
pub(super) fn card(analysis: &GroupAnalysis<'_>) -> Result<usize, Fault> {
    let count = syntax::integer_from(analysis.arg(1)?, 1, "ERR numkeys should be greater than 0")?;
    if usize::try_from(count).is_ok_and(|count| count > analysis.len() - 2) {
        return Err(Fault::new("ERR Number of keys can't be greater than number of args"));
    }
    let end = analysis.counted(1, SYNTAX)?;
    for at in (end..analysis.len()).step_by(2) {
        syntax::one_of(analysis.arg(at)?, &["LIMIT"])?;
        syntax::integer_from(analysis.arg(at + 1)?, 0, "ERR LIMIT can't be negative")?;
    }
    Ok(end)
}

pub(super) fn sscan(analysis: &mut GroupAnalysis<'_>) -> Rule {
    scan_options(analysis)?;
    read(analysis)
}

/// `key cursor [MATCH pattern] [COUNT n]`
pub(super) fn scan_options(analysis: &GroupAnalysis<'_>) -> Rule {
    syntax::cursor(analysis.arg(2)?)?;
    for at in (3..analysis.len()).step_by(2) {
        let value = analysis.arg(at + 1)?;
        match analysis.arg(at)? {
            word if syntax::is(word, "COUNT") => drop(syntax::integer_from(value, 1, SYNTAX)?),
            word if syntax::is(word, "MATCH") => {}
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    Ok(())
}
