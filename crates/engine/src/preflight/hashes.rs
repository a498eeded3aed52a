//! Commands about hashes.

use super::syntax::{self, Float};
use super::trial::Trial;
use super::types::Types;
use super::{Fault, sets};

type Rule = Result<(), Fault>;

const NOT_A_FLOAT: &str = "ERR value is not a valid float";
const INFINITE: &str = "ERR value is NaN or Infinity";

/// HGET, HMGET, HGETALL, HLEN ..
pub(super) fn read(trial: &mut Trial<'_>) -> Rule {
    trial.typed(1, Types::HASH)
}

pub(super) fn hset(trial: &mut Trial<'_>) -> Rule {
    set(trial, "hset")
}

pub(super) fn hmset(trial: &mut Trial<'_>) -> Rule {
    set(trial, "hmset")
}

/// HSET key field value [field value ..]
fn set(trial: &mut Trial<'_>, command: &str) -> Rule {
    if !trial.len().is_multiple_of(2) {
        return Err(Fault::Certain(format!("ERR wrong number of arguments for '{command}' command").into()));
    }
    trial.makes(1, Types::HASH)?;
    for at in (2..trial.len()).step_by(2) {
        let (field, value) = (trial.arg(at)?, trial.arg(at + 1)?);
        trial.field(1, field, Some(value), false)?;
    }
    Ok(())
}

pub(super) fn hsetnx(trial: &mut Trial<'_>) -> Rule {
    trial.makes(1, Types::HASH)?;
    let (field, value) = (trial.arg(2)?, trial.arg(3)?);
    trial.field(1, field, Some(value), true)
}

pub(super) fn hdel(trial: &mut Trial<'_>) -> Rule {
    trial.takes(1, Types::HASH)?;
    for at in 2..trial.len() {
        let field = trial.arg(at)?;
        trial.field(1, field, None, false)?;
    }
    Ok(())
}

pub(super) fn hincrby(trial: &mut Trial<'_>) -> Rule {
    let (field, number) = (trial.arg(2)?, trial.integer(3)?);
    trial.field_counts(1, field, Some(number))
}

pub(super) fn hincrbyfloat(trial: &mut Trial<'_>) -> Rule {
    let field = trial.arg(2)?;
    if syntax::number(trial.arg(3)?, NOT_A_FLOAT)? == Float::Infinite {
        return Err(Fault::new(INFINITE));
    }
    trial.field_counts(1, field, None)
}

/// HRANDFIELD key [count [WITHVALUES]]
pub(super) fn hrandfield(trial: &mut Trial<'_>) -> Rule {
    sets::random(trial, "WITHVALUES")?;
    read(trial)
}

pub(super) fn hscan(trial: &mut Trial<'_>) -> Rule {
    sets::scan_options(trial)?;
    read(trial)
}
