//! Commands about sets.

use super::Fault;
use super::syntax::{self, NOT_POSITIVE, SYNTAX};
use super::trial::Trial;
use super::types::Types;

type Rule = Result<(), Fault>;

const SET: Types = Types::SET;

pub(super) fn read(trial: &mut Trial<'_>) -> Rule {
    trial.typed(1, SET)
}

pub(super) fn sadd(trial: &mut Trial<'_>) -> Rule {
    trial.makes(1, SET)
}

pub(super) fn srem(trial: &mut Trial<'_>) -> Rule {
    trial.takes(1, SET)
}

/// SPOP key [count]
pub(super) fn spop(trial: &mut Trial<'_>) -> Rule {
    match trial.len() {
        2 => {}
        3 => {
            syntax::integer_from(trial.arg(2)?, 0, NOT_POSITIVE)?;
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    trial.takes(1, SET)
}

pub(super) fn srandmember(trial: &mut Trial<'_>) -> Rule {
    if trial.len() > 3 {
        return Err(Fault::new(SYNTAX));
    }
    random(trial, "")?;
    read(trial)
}

/// `[count [option]]`, as what picks at random takes it.
pub(super) fn random(trial: &Trial<'_>, option: &str) -> Rule {
    if trial.len() == 2 {
        return Ok(());
    }
    let count = trial.integer(2)?;
    match trial.len() {
        3 => {}
        4 if trial.is(3, option) => {}
        _ => return Err(Fault::new(SYNTAX)),
    }
    // With values twice as many are answered.
    if count.unsigned_abs() < i64::MAX.unsigned_abs() / 2 { Ok(()) } else { Err(Fault::new("ERR value is out of range")) }
}

/// SMOVE source destination member
pub(super) fn smove(trial: &mut Trial<'_>) -> Rule {
    trial.all_typed(1..3, SET)?;
    trial.turn(1, SET, SET.or(Types::NONE))?;
    trial.turn(2, Types::NONE, SET.or(Types::NONE))
}

/// SINTER key [key ..]
pub(super) fn all(trial: &mut Trial<'_>) -> Rule {
    trial.all_typed(1..trial.len(), SET)
}

/// SINTERSTORE destination key [key ..]
pub(super) fn store(trial: &mut Trial<'_>) -> Rule {
    trial.all_typed(2..trial.len(), SET)?;
    trial.replaced(1, SET.or(Types::NONE))
}

/// SINTERCARD numkeys key [key ..] [LIMIT n]
pub(super) fn sintercard(trial: &mut Trial<'_>) -> Rule {
    let end = card(trial)?;
    trial.all_typed(2..end, SET)
}

/// `numkeys key [key ..] [LIMIT n]`: the place behind the keys.
pub(super) fn card(trial: &Trial<'_>) -> Result<usize, Fault> {
    let count = syntax::integer_from(trial.arg(1)?, 1, "ERR numkeys should be greater than 0")?;
    if usize::try_from(count).is_ok_and(|count| count > trial.len() - 2) {
        return Err(Fault::new("ERR Number of keys can't be greater than number of args"));
    }
    let end = trial.counted(1, SYNTAX)?;
    for at in (end..trial.len()).step_by(2) {
        syntax::one_of(trial.arg(at)?, &["LIMIT"])?;
        syntax::integer_from(trial.arg(at + 1)?, 0, "ERR LIMIT can't be negative")?;
    }
    Ok(end)
}

pub(super) fn sscan(trial: &mut Trial<'_>) -> Rule {
    scan_options(trial)?;
    read(trial)
}

/// `key cursor [MATCH pattern] [COUNT n]`
pub(super) fn scan_options(trial: &Trial<'_>) -> Rule {
    syntax::cursor(trial.arg(2)?)?;
    for at in (3..trial.len()).step_by(2) {
        let value = trial.arg(at + 1)?;
        match trial.arg(at)? {
            word if syntax::is(word, "COUNT") => {
                let count = syntax::integer(value)?;
                if count < 1 {
                    return Err(Fault::new(SYNTAX));
                }
            }
            word if syntax::is(word, "MATCH") => {}
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    Ok(())
}
