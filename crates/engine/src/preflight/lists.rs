//! Commands about lists.

use super::Fault;
use super::analysis::GroupAnalysis;
use super::fault::wrong_number;
use super::syntax::{self, NOT_POSITIVE, SYNTAX};
use super::types::Types;

type Rule = Result<(), Fault>;

const LIST: Types = Types::LIST;
const RANK_ZERO: &str = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list";

pub(super) fn read(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.typed(1, LIST)
}

/// LPUSH key element [element ..]
pub(super) fn push(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.makes(1, LIST)?;
    let elements = i64::try_from(analysis.len() - 2).ok();
    analysis.elements(1, elements)
}

/// LPOP key [count]
pub(super) fn pop(analysis: &mut GroupAnalysis<'_>, name: &str) -> Rule {
    let count = match analysis.len() {
        2 => 1,
        3 => syntax::integer_from(analysis.arg(2)?, 0, NOT_POSITIVE)?,
        // Its arity is open at the end, and this it says when it runs.
        _ => return Err(wrong_number(name)),
    };
    analysis.takes(1, LIST)?;
    analysis.elements(1, count.checked_neg())
}

/// LINDEX key index
pub(super) fn lindex(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.integer(2)?;
    read(analysis)
}

pub(super) fn lrange(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.integers(2..4)?;
    read(analysis)
}

/// LTRIM key start stop
pub(super) fn ltrim(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.integers(2..4)?;
    analysis.takes(1, LIST)?;
    analysis.elements(1, None)
}

/// LREM key count element
pub(super) fn lrem(analysis: &mut GroupAnalysis<'_>) -> Rule {
    if analysis.integer(2)? == i64::MIN {
        return Err(Fault::Undecided("not every server counts that far back"));
    }
    analysis.takes(1, LIST)?;
    analysis.elements(1, None)
}

/// LINSERT key BEFORE | AFTER pivot element
pub(super) fn linsert(analysis: &mut GroupAnalysis<'_>) -> Rule {
    syntax::one_of(analysis.arg(2)?, &["BEFORE", "AFTER"])?;
    read(analysis)
}

/// LSET key index element
pub(super) fn lset(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.indexed(1, analysis.integer(2)?)
}

/// LPOS key element [RANK n] [COUNT n] [MAXLEN n]
pub(super) fn lpos(analysis: &mut GroupAnalysis<'_>) -> Rule {
    for at in (3..analysis.len()).step_by(2) {
        let (word, operand) = (analysis.arg(at)?, analysis.arg(at + 1)?);
        if syntax::is(word, "RANK") {
            match syntax::integer(operand)? {
                0 => return Err(Fault::new(RANK_ZERO)),
                i64::MIN => return Err(Fault::new("ERR value is out of range, must be greater than -9223372036854775808")),
                _ => {}
            }
        } else if syntax::is(word, "COUNT") {
            syntax::integer_from(operand, 0, "ERR COUNT can't be negative")?;
        } else if syntax::is(word, "MAXLEN") {
            syntax::integer_from(operand, 0, "ERR MAXLEN can't be negative")?;
        } else {
            return Err(Fault::new(SYNTAX));
        }
    }
    read(analysis)
}

/// LMOVE source destination LEFT | RIGHT LEFT | RIGHT
pub(super) fn lmove(analysis: &mut GroupAnalysis<'_>) -> Rule {
    syntax::one_of(analysis.arg(3)?, &["LEFT", "RIGHT"])?;
    syntax::one_of(analysis.arg(4)?, &["LEFT", "RIGHT"])?;
    moved(analysis)
}

/// RPOPLPUSH source destination
pub(super) fn moved(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.all_typed(1..3, LIST)?;
    analysis.turn(1, LIST, LIST.or(Types::NONE))?;
    analysis.elements(1, Some(-1))?;
    // Where there is nothing to move, nothing is made.
    analysis.turn(2, Types::NONE, LIST.or(Types::NONE))
}

/// LMPOP numkeys key [key ..] LEFT | RIGHT [COUNT n]
pub(super) fn lmpop(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let end = pops_from(analysis, &["LEFT", "RIGHT"])?;
    for at in 2..end {
        analysis.takes(at, LIST)?;
        analysis.elements(at, None)?;
    }
    Ok(())
}

/// `numkeys key [key ..] word [COUNT n]`: the place behind the keys.
pub(super) fn pops_from(analysis: &GroupAnalysis<'_>, words: &[&str]) -> Result<usize, Fault> {
    let end = analysis.counted(1, "ERR numkeys should be greater than 0")?;
    syntax::one_of(analysis.arg(end)?, words)?;
    match analysis.len() - end {
        1 => {}
        3 if analysis.is(end + 1, "COUNT") => {
            syntax::integer_from(analysis.arg(end + 2)?, 1, "ERR count should be greater than 0")?;
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    Ok(end)
}
