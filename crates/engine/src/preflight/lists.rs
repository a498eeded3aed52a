//! Commands about lists.

use super::Fault;
use super::syntax::{self, NOT_POSITIVE, SYNTAX};
use super::trial::Trial;
use super::types::Types;

type Rule = Result<(), Fault>;

const LIST: Types = Types::LIST;
const RANK_ZERO: &str = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list";

pub(super) fn read(trial: &mut Trial<'_>) -> Rule {
    trial.typed(1, LIST)
}

/// LPUSH key element [element ..]
pub(super) fn push(trial: &mut Trial<'_>) -> Rule {
    trial.makes(1, LIST)?;
    let elements = i64::try_from(trial.len() - 2).ok();
    trial.elements(1, elements)
}

pub(super) fn lpop(trial: &mut Trial<'_>) -> Rule {
    pop(trial, "lpop")
}

pub(super) fn rpop(trial: &mut Trial<'_>) -> Rule {
    pop(trial, "rpop")
}

/// LPOP key [count]
fn pop(trial: &mut Trial<'_>, name: &str) -> Rule {
    let count = match trial.len() {
        2 => 1,
        3 => syntax::integer_from(trial.arg(2)?, 0, NOT_POSITIVE)?,
        // Its arity is open at the end, and this it says when it runs.
        _ => return Err(super::wrong_number(name)),
    };
    trial.takes(1, LIST)?;
    trial.elements(1, count.checked_neg())
}

/// LINDEX key index
pub(super) fn lindex(trial: &mut Trial<'_>) -> Rule {
    trial.integer(2)?;
    read(trial)
}

pub(super) fn lrange(trial: &mut Trial<'_>) -> Rule {
    trial.integer(2)?;
    trial.integer(3)?;
    read(trial)
}

/// LTRIM key start stop
pub(super) fn ltrim(trial: &mut Trial<'_>) -> Rule {
    trial.integer(2)?;
    trial.integer(3)?;
    trial.takes(1, LIST)?;
    trial.elements(1, None)
}

/// LREM key count element
pub(super) fn lrem(trial: &mut Trial<'_>) -> Rule {
    if trial.integer(2)? == i64::MIN {
        return Err(Fault::Undecided("not every server counts that far back"));
    }
    trial.takes(1, LIST)?;
    trial.elements(1, None)
}

/// LINSERT key BEFORE | AFTER pivot element
pub(super) fn linsert(trial: &mut Trial<'_>) -> Rule {
    syntax::one_of(trial.arg(2)?, &["BEFORE", "AFTER"])?;
    read(trial)
}

/// LSET key index element
pub(super) fn lset(trial: &mut Trial<'_>) -> Rule {
    let index = trial.integer(2)?;
    trial.indexed(1, index)
}

/// LPOS key element [RANK n] [COUNT n] [MAXLEN n]
pub(super) fn lpos(trial: &mut Trial<'_>) -> Rule {
    for at in (3..trial.len()).step_by(2) {
        let (word, operand) = (trial.arg(at)?, trial.arg(at + 1)?);
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
    read(trial)
}

/// LMOVE source destination LEFT | RIGHT LEFT | RIGHT
pub(super) fn lmove(trial: &mut Trial<'_>) -> Rule {
    syntax::one_of(trial.arg(3)?, &["LEFT", "RIGHT"])?;
    syntax::one_of(trial.arg(4)?, &["LEFT", "RIGHT"])?;
    moved(trial)
}

/// RPOPLPUSH source destination
pub(super) fn moved(trial: &mut Trial<'_>) -> Rule {
    trial.all_typed(1..3, LIST)?;
    trial.turn(1, LIST, LIST.or(Types::NONE))?;
    trial.elements(1, Some(-1))?;
    // Where there is nothing to move, nothing is made.
    trial.turn(2, Types::NONE, LIST.or(Types::NONE))
}

/// LMPOP numkeys key [key ..] LEFT | RIGHT [COUNT n]
pub(super) fn lmpop(trial: &mut Trial<'_>) -> Rule {
    let end = pops_from(trial, &["LEFT", "RIGHT"])?;
    for at in 2..end {
        trial.takes(at, LIST)?;
        trial.elements(at, None)?;
    }
    Ok(())
}

/// `numkeys key [key ..] word [COUNT n]`: the place behind the keys.
pub(super) fn pops_from(trial: &Trial<'_>, words: &[&str]) -> Result<usize, Fault> {
    let end = trial.counted(1, "ERR numkeys should be greater than 0")?;
    syntax::one_of(trial.arg(end)?, words)?;
    match trial.len() - end {
        1 => {}
        3 if trial.is(end + 1, "COUNT") => {
            syntax::integer_from(trial.arg(end + 2)?, 1, "ERR count should be greater than 0")?;
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    Ok(end)
}
