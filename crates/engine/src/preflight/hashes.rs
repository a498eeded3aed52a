//! Commands about hashes.

use super::analysis::GroupAnalysis;
use super::fault::wrong_number;
use super::syntax::{self, Float};
use super::types::Types;
use super::{Fault, sets};

type Rule = Result<(), Fault>;

const NOT_A_FLOAT: &str = "ERR value is not a valid float";
const INFINITE: &str = "ERR value is NaN or Infinity";

/// HGET, HMGET, HGETALL, HLEN ..
pub(super) fn read(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.typed(1, Types::HASH)
}

/// HSET key field value [field value ..]
pub(super) fn set(analysis: &mut GroupAnalysis<'_>, command: &str) -> Rule {
    if !analysis.len().is_multiple_of(2) {
        return Err(wrong_number(command));
    }
    analysis.makes(1, Types::HASH)?;
    for at in (2..analysis.len()).step_by(2) {
        let (field, value) = (analysis.arg(at)?, analysis.arg(at + 1)?);
        analysis.field(1, field, Some(value), false)?;
    }
    Ok(())
}

pub(super) fn hsetnx(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.makes(1, Types::HASH)?;
    let (field, value) = (analysis.arg(2)?, analysis.arg(3)?);
    analysis.field(1, field, Some(value), true)
}

pub(super) fn hdel(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.takes(1, Types::HASH)?;
    for at in 2..analysis.len() {
        let field = analysis.arg(at)?;
        analysis.field(1, field, None, false)?;
    }
    Ok(())
}

pub(super) fn hincrby(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.field_counts(1, analysis.arg(2)?, Some(analysis.integer(3)?))
}

pub(super) fn hincrbyfloat(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let field = analysis.arg(2)?;
    if syntax::number(analysis.arg(3)?, NOT_A_FLOAT)? == Float::Infinite {
        return Err(Fault::new(INFINITE));
    }
    analysis.field_counts(1, field, None)
}

/// HRANDFIELD key [count [WITHVALUES]]
pub(super) fn hrandfield(analysis: &mut GroupAnalysis<'_>) -> Rule {
    sets::random(analysis, "WITHVALUES")?;
    read(analysis)
}

pub(super) fn hscan(analysis: &mut GroupAnalysis<'_>) -> Rule {
    sets::scan_options(analysis)?;
    read(analysis)
}
