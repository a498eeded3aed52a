//! Commands that take a key of any type, or none.

use super::Fault;
use super::analysis::{GroupAnalysis, NO_SUCH_KEY};
use super::syntax::{self, SYNTAX};
use super::types::Types;

type Rule = Result<(), Fault>;

const NX_WITH_OTHERS: &str = "ERR NX and XX, GT or LT options at the same time are not compatible";
const GT_WITH_LT: &str = "ERR GT and LT options at the same time are not compatible";
const SAME_OBJECTS: &str = "ERR source and destination objects are the same";

/// Commands that never fail while they run.
#[expect(clippy::unnecessary_wraps, reason = "every row has this shape")]
pub(super) fn cannot_fail(_: &mut GroupAnalysis<'_>) -> Rule {
    Ok(())
}

/// DEL key [key ..]
pub(super) fn del(analysis: &mut GroupAnalysis<'_>) -> Rule {
    (1..analysis.len()).try_for_each(|at| analysis.replaced(at, Types::NONE))
}

/// EXPIRE key time [NX | XX | GT | LT]
pub(super) fn expires(analysis: &mut GroupAnalysis<'_>, seconds: bool, absolute: bool, command: &str) -> Rule {
    let (known, [nx, xx, gt, lt]) = analysis.flags(3, ["NX", "XX", "GT", "LT"]);
    if let Ok(word) = analysis.arg(known) {
        return Err(Fault::Certain(format!("ERR Unsupported option {}", word.escape_ascii()).into()));
    }
    if nx && (xx || gt || lt) {
        return Err(Fault::new(NX_WITH_OTHERS));
    }
    if gt && lt {
        return Err(Fault::new(GT_WITH_LT));
    }
    let time = syntax::deadline(analysis.arg(2)?, seconds, command)?;
    // Whether a moment has passed is for the server's clock to say.
    if absolute || time <= 0 { analysis.perhaps_gone(1) } else { Ok(()) }
}

/// RENAME key newkey
pub(super) fn rename(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let (from, to) = (analysis.arg(1)?, analysis.arg(2)?);
    analysis.require(from, Types::ALL.without(Types::NONE), NO_SUCH_KEY)?;
    analysis.renamed(from, to);
    Ok(())
}

/// RENAMENX key newkey
pub(super) fn renamenx(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let (from, to) = (analysis.arg(1)?, analysis.arg(2)?);
    analysis.require(from, Types::ALL.without(Types::NONE), NO_SUCH_KEY)?;
    if from != to {
        let types = analysis.types(from);
        analysis.perhaps_replaced(to, types, true);
        analysis.perhaps_gone(1)?;
    }
    Ok(())
}

/// COPY source destination [REPLACE]
pub(super) fn copy(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let mut replaces = false;
    for at in 3..analysis.len() {
        match analysis.arg(at)? {
            word if syntax::is(word, "REPLACE") => replaces = true,
            word if syntax::is(word, "DB") => return Err(Fault::Undecided("it copies to another db")),
            _ => return Err(Fault::new(SYNTAX)),
        }
    }
    let (from, to) = (analysis.arg(1)?, analysis.arg(2)?);
    if from == to {
        return Err(Fault::new(SAME_OBJECTS));
    }
    // Nobody can tell beforehand whether a module lets its type be copied.
    analysis.require(from, Types::ALL.without(Types::OTHER), "ERR respguard: a module's type may not be copied")?;
    let types = analysis.types(from).without(Types::NONE);
    analysis.perhaps_replaced(to, types, !replaces);
    Ok(())
}

/// MEMORY USAGE key [SAMPLES n]
pub(super) fn memory_usage(analysis: &mut GroupAnalysis<'_>) -> Rule {
    for at in (3..analysis.len()).step_by(2) {
        syntax::one_of(analysis.arg(at)?, &["SAMPLES"])?;
        if analysis.integer(at + 1)? < 0 {
            return Err(Fault::new(SYNTAX));
        }
    }
    Ok(())
}
