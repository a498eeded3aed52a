//! Commands about strings, bits and HyperLogLogs.

use super::Fault;
use super::analysis::{GroupAnalysis, STRING_BYTES_MAX};
use super::fault::wrong_number;
use super::syntax::{self, Float, SYNTAX};
use super::types::Types;

type Rule = Result<(), Fault>;

const BIT_OFFSET: &str = "ERR bit offset is not an integer or out of range";
const BIT_VALUE: &str = "ERR bit is not an integer or out of range";
const BIT_ARGUMENT: &str = "ERR The bit argument must be 1 or 0.";
const BITFIELD_TYPE: &str = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
const BITOP_NOT: &str = "ERR BITOP NOT must be called with a single source key.";
const OFFSET: &str = "ERR offset is out of range";
const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
const INFINITE: &str = "ERR increment would produce NaN or Infinity";
const DECR_OVERFLOW: &str = "ERR decrement would overflow";

/// GET, STRLEN
pub(super) fn read(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.typed(1, Types::STRING)
}

/// GETRANGE key start end
pub(super) fn getrange(analysis: &mut GroupAnalysis<'_>) -> Rule {
    analysis.integers(2..4)?;
    read(analysis)
}

pub(super) fn getdel(analysis: &mut GroupAnalysis<'_>) -> Rule {
    read(analysis)?;
    analysis.replaced(1, Types::NONE)
}

/// GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]
pub(super) fn getex(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let mut gone = false;
    match analysis.len() {
        2 => {}
        3 if analysis.is(2, "PERSIST") => {}
        4 => {
            let seconds = analysis.is(2, "EX") || analysis.is(2, "EXAT");
            syntax::one_of(analysis.arg(2)?, &["EX", "PX", "EXAT", "PXAT"])?;
            syntax::expiry(analysis.arg(3)?, seconds, "getex")?;
            gone = analysis.is(2, "EXAT") || analysis.is(2, "PXAT");
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    read(analysis)?;
    if gone { analysis.perhaps_gone(1) } else { Ok(()) }
}

pub(super) fn getset(analysis: &mut GroupAnalysis<'_>) -> Rule {
    read(analysis)?;
    let text = analysis.arg(2)?;
    analysis.written(1, text)
}

/// SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
pub(super) fn set(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let (mut nx, mut xx, mut get, mut keeps, mut time) = (false, false, false, false, None);
    let mut at = 3;
    while at < analysis.len() {
        match analysis.arg(at)? {
            word if syntax::is(word, "NX") && !xx => nx = true,
            word if syntax::is(word, "XX") && !nx => xx = true,
            word if syntax::is(word, "GET") => get = true,
            word if syntax::is(word, "KEEPTTL") && time.is_none() => keeps = true,
            word if !keeps && time.is_none() && at + 1 < analysis.len() => {
                syntax::one_of(word, &["EX", "PX", "EXAT", "PXAT"])?;
                time = Some(at);
                at += 1;
            }
            _ => return Err(Fault::new(SYNTAX)),
        }
        at += 1;
    }
    let mut absolute = false;
    if let Some(at) = time {
        let seconds = analysis.is(at, "EX") || analysis.is(at, "EXAT");
        absolute = analysis.is(at, "EXAT") || analysis.is(at, "PXAT");
        syntax::expiry(analysis.arg(at + 1)?, seconds, "set")?;
    }
    if get {
        read(analysis)?;
    }
    let text = analysis.arg(2)?;
    match (nx, xx) {
        (false, false) => analysis.written(1, text)?,
        _ => analysis.perhaps_written(1, text, nx)?,
    }
    if absolute { analysis.perhaps_gone(1) } else { Ok(()) }
}

pub(super) fn timed(analysis: &mut GroupAnalysis<'_>, seconds: bool, command: &str) -> Rule {
    syntax::expiry(analysis.arg(2)?, seconds, command)?;
    let text = analysis.arg(3)?;
    analysis.written(1, text)
}

/// MSET key value [key value ..]
pub(super) fn mset(analysis: &mut GroupAnalysis<'_>) -> Rule {
    pairs(analysis, "mset")?;
    for at in (1..analysis.len()).step_by(2) {
        analysis.written(at, analysis.arg(at + 1)?)?;
    }
    Ok(())
}

/// MSETNX writes all or nothing.
pub(super) fn msetnx(analysis: &mut GroupAnalysis<'_>) -> Rule {
    pairs(analysis, "msetnx")?;
    for at in (1..analysis.len()).step_by(2) {
        analysis.perhaps_replaced(analysis.arg(at)?, Types::STRING, true);
    }
    Ok(())
}

fn pairs(analysis: &GroupAnalysis<'_>, command: &str) -> Rule {
    if analysis.len() % 2 == 1 { Ok(()) } else { Err(wrong_number(command)) }
}

pub(super) fn append(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let bytes = analysis.arg(2)?.len() as u64;
    analysis.makes(1, Types::STRING)?;
    analysis.grows(1, bytes)?;
    analysis.scrambled(1)
}

/// SETRANGE key offset value
pub(super) fn setrange(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let offset = syntax::integer(analysis.arg(2)?)?;
    let bytes = analysis.arg(3)?.len() as u64;
    let offset = u64::try_from(offset).map_err(|_| Fault::new(OFFSET))?;
    let end = offset.checked_add(bytes).filter(|end| *end <= STRING_BYTES_MAX).ok_or(Fault::new(TOO_LONG))?;
    analysis.typed(1, Types::STRING)?;
    if bytes > 0 {
        analysis.turn(1, Types::NONE, Types::STRING)?;
        analysis.reaches(1, end)?;
        analysis.scrambled(1)?;
    }
    Ok(())
}

fn bit_offset(text: &[u8]) -> Result<u64, Fault> {
    let offset = syntax::integer_from(text, 0, BIT_OFFSET)?.unsigned_abs();
    if offset / 8 < STRING_BYTES_MAX { Ok(offset) } else { Err(Fault::new(BIT_OFFSET)) }
}

/// SETBIT key offset bit
pub(super) fn setbit(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let offset = bit_offset(analysis.arg(2)?)?;
    if !matches!(analysis.arg(3)?, b"0" | b"1") {
        return Err(Fault::new(BIT_VALUE));
    }
    analysis.makes(1, Types::STRING)?;
    analysis.reaches(1, offset / 8 + 1)?;
    analysis.scrambled(1)
}

pub(super) fn getbit(analysis: &mut GroupAnalysis<'_>) -> Rule {
    bit_offset(analysis.arg(2)?)?;
    read(analysis)
}

/// BITCOUNT key [start end [BYTE | BIT]]
pub(super) fn bitcount(analysis: &mut GroupAnalysis<'_>) -> Rule {
    match analysis.len() {
        2 => {}
        4 | 5 => {
            analysis.integers(2..4)?;
            if analysis.len() == 5 {
                syntax::one_of(analysis.arg(4)?, &["BYTE", "BIT"])?;
            }
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    read(analysis)
}

/// BITPOS key bit [start [end [BYTE | BIT]]]
pub(super) fn bitpos(analysis: &mut GroupAnalysis<'_>) -> Rule {
    if !matches!(syntax::integer(analysis.arg(2)?)?, 0 | 1) {
        return Err(Fault::new(BIT_ARGUMENT));
    }
    match analysis.len() {
        3 => {}
        4..=6 => {
            analysis.integers(3..analysis.len().min(5))?;
            if analysis.len() == 6 {
                syntax::one_of(analysis.arg(5)?, &["BYTE", "BIT"])?;
            }
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    read(analysis)
}

/// BITOP operation destkey key [key ..]
pub(super) fn bitop(analysis: &mut GroupAnalysis<'_>) -> Rule {
    syntax::one_of(analysis.arg(1)?, &["AND", "OR", "XOR", "NOT"])?;
    if analysis.is(1, "NOT") && analysis.len() != 4 {
        return Err(Fault::new(BITOP_NOT));
    }
    analysis.all_typed(3..analysis.len(), Types::STRING)?;
    analysis.replaced(2, Types::STRING.or(Types::NONE))
}

/// BITFIELD key [GET type offset | OVERFLOW word | SET type offset value | INCRBY type offset number] ..
pub(super) fn bitfield(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let (mut at, mut reach) = (2, None);
    while at < analysis.len() {
        let word = analysis.arg(at)?;
        let words = if syntax::is(word, "OVERFLOW") {
            syntax::one_of(analysis.arg(at + 1)?, &["WRAP", "SAT", "FAIL"])
                .map_err(|_| Fault::new("ERR Invalid OVERFLOW type specified"))?;
            2
        } else {
            syntax::one_of(word, &["GET", "SET", "INCRBY"])?;
            let bits = bitfield_type(analysis.arg(at + 1)?)?;
            let end = bitfield_end(analysis.arg(at + 2)?, bits)?;
            if syntax::is(word, "GET") {
                3
            } else {
                analysis.integer(at + 3)?;
                reach = reach.max(Some(end));
                4
            }
        };
        at += words;
    }
    analysis.typed(1, Types::STRING)?;
    if let Some(end) = reach {
        analysis.turn(1, Types::NONE, Types::STRING)?;
        analysis.reaches(1, end / 8 + 1)?;
        analysis.scrambled(1)?;
    }
    Ok(())
}

/// BITFIELD_RO key [GET type offset] ..
pub(super) fn bitfield_ro(analysis: &mut GroupAnalysis<'_>) -> Rule {
    for at in (2..analysis.len()).step_by(3) {
        if !analysis.is(at, "GET") {
            return Err(Fault::new("ERR BITFIELD_RO only supports the GET subcommand"));
        }
        let bits = bitfield_type(analysis.arg(at + 1)?)?;
        bitfield_end(analysis.arg(at + 2)?, bits)?;
    }
    read(analysis)
}

fn bitfield_type(text: &[u8]) -> Result<u64, Fault> {
    let (most, digits) = match text {
        [b'i', digits @ ..] => (64, digits),
        [b'u', digits @ ..] => (63, digits),
        _ => return Err(Fault::new(BITFIELD_TYPE)),
    };
    syntax::half(digits).filter(|bits| (1..=most).contains(bits)).ok_or(Fault::new(BITFIELD_TYPE))
}

/// Behind the last bit that is touched.
fn bitfield_end(text: &[u8], bits: u64) -> Result<u64, Fault> {
    let (text, scale) = text.strip_prefix(b"#").map_or((text, 1), |text| (text, bits));
    let offset = syntax::integer_from(text, 0, BIT_OFFSET)?.unsigned_abs();
    let end = offset.checked_mul(scale).and_then(|offset| offset.checked_add(bits));
    end.filter(|end| end / 8 < STRING_BYTES_MAX).ok_or(Fault::new(BIT_OFFSET))
}

pub(super) fn decrby(analysis: &mut GroupAnalysis<'_>) -> Rule {
    let number = analysis.integer(2)?;
    if number == i64::MIN {
        return Err(Fault::new(DECR_OVERFLOW));
    }
    analysis.counts(1, Some(-number))
}

pub(super) fn incrbyfloat(analysis: &mut GroupAnalysis<'_>) -> Rule {
    if syntax::number(analysis.arg(2)?, syntax::NOT_A_FLOAT)? == Float::Infinite {
        return Err(Fault::new(INFINITE));
    }
    analysis.counts(1, None)
}

pub(super) fn pfcount(analysis: &mut GroupAnalysis<'_>) -> Rule {
    (1..analysis.len()).try_for_each(|at| analysis.distinct(at, false))
}

pub(super) fn pfmerge(analysis: &mut GroupAnalysis<'_>) -> Rule {
    (2..analysis.len()).try_for_each(|at| analysis.distinct(at, false))?;
    analysis.distinct(1, true)
}
