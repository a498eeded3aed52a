//! Commands that take a key of any type, or none.

use super::Fault;
use super::syntax::{self, SYNTAX};
use super::trial::{NO_SUCH_KEY, Trial};
use super::types::Types;

type Rule = Result<(), Fault>;

const NX_WITH_OTHERS: &str = "ERR NX and XX, GT or LT options at the same time are not compatible";
const GT_WITH_LT: &str = "ERR GT and LT options at the same time are not compatible";
const SAME_OBJECTS: &str = "ERR source and destination objects are the same";

/// Commands that never fail while they run.
#[expect(clippy::unnecessary_wraps, reason = "every row has this shape")]
pub(super) fn harmless(_: &mut Trial<'_>) -> Rule {
    Ok(())
}

/// DEL key [key ..]
pub(super) fn del(trial: &mut Trial<'_>) -> Rule {
    (1..trial.len()).try_for_each(|at| trial.replaced(at, Types::NONE))
}

pub(super) fn expire(trial: &mut Trial<'_>) -> Rule {
    expires(trial, true, false, "expire")
}

pub(super) fn pexpire(trial: &mut Trial<'_>) -> Rule {
    expires(trial, false, false, "pexpire")
}

pub(super) fn expireat(trial: &mut Trial<'_>) -> Rule {
    expires(trial, true, true, "expireat")
}

pub(super) fn pexpireat(trial: &mut Trial<'_>) -> Rule {
    expires(trial, false, true, "pexpireat")
}

/// EXPIRE key time [NX | XX | GT | LT]
fn expires(trial: &mut Trial<'_>, seconds: bool, absolute: bool, command: &str) -> Rule {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for at in 3..trial.len() {
        match trial.arg(at)? {
            word if syntax::is(word, "NX") => nx = true,
            word if syntax::is(word, "XX") => xx = true,
            word if syntax::is(word, "GT") => gt = true,
            word if syntax::is(word, "LT") => lt = true,
            word => return Err(Fault::Certain(format!("ERR Unsupported option {}", word.escape_ascii()).into())),
        }
    }
    if nx && (xx || gt || lt) {
        return Err(Fault::new(NX_WITH_OTHERS));
    }
    if gt && lt {
        return Err(Fault::new(GT_WITH_LT));
    }
    let time = syntax::deadline(trial.arg(2)?, seconds, command)?;
    // Whether a moment has passed is for the server's clock to say.
    if absolute || time <= 0 { trial.perhaps_gone(1) } else { Ok(()) }
}

/// RENAME key newkey
pub(super) fn rename(trial: &mut Trial<'_>) -> Rule {
    let (from, to) = (trial.arg(1)?, trial.arg(2)?);
    trial.require(from, Types::ALL.without(Types::NONE), NO_SUCH_KEY)?;
    trial.renamed(from, to);
    Ok(())
}

/// RENAMENX key newkey
pub(super) fn renamenx(trial: &mut Trial<'_>) -> Rule {
    let (from, to) = (trial.arg(1)?, trial.arg(2)?);
    trial.require(from, Types::ALL.without(Types::NONE), NO_SUCH_KEY)?;
    if from != to {
        let types = trial.types(from);
        trial.perhaps_replaced(to, types, true);
        trial.perhaps_gone(1)?;
    }
    Ok(())
}

/// COPY source destination [REPLACE]
pub(super) fn copy(trial: &mut Trial<'_>) -> Rule {
    let mut replaces = false;
    for at in 3..trial.len() {
        match trial.arg(at)? {
            word if syntax::is(word, "REPLACE") => replaces = true,
            word if syntax::is(word, "DB") => return Err(Fault::Undecided("it copies to another db")),
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    let (from, to) = (trial.arg(1)?, trial.arg(2)?);
    if from == to {
        return Err(Fault::new(SAME_OBJECTS));
    }
    // Nobody can tell beforehand whether a module lets its type be copied.
    trial.require(from, Types::ALL.without(Types::OTHER), "ERR respguard: a module's type may not be copied")?;
    let types = trial.types(from).without(Types::NONE);
    trial.perhaps_replaced(to, types, !replaces);
    Ok(())
}

/// MEMORY USAGE key [SAMPLES n]
pub(super) fn memory_usage(trial: &mut Trial<'_>) -> Rule {
    for at in (3..trial.len()).step_by(2) {
        syntax::one_of(trial.arg(at)?, &["SAMPLES"])?;
        if trial.integer(at + 1)? < 0 {
            return Err(Fault::new(SYNTAX));
        }
    }
    Ok(())
}
