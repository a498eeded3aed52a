//! Commands about strings, bits and HyperLogLogs.

use super::Fault;
use super::syntax::{self, Float, SYNTAX};
use super::trial::{STRING_BYTES_MAX, Trial};
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
pub(super) fn read(trial: &mut Trial<'_>) -> Rule {
    trial.typed(1, Types::STRING)
}

/// GETRANGE key start end
pub(super) fn getrange(trial: &mut Trial<'_>) -> Rule {
    trial.integer(2)?;
    trial.integer(3)?;
    read(trial)
}

pub(super) fn getdel(trial: &mut Trial<'_>) -> Rule {
    read(trial)?;
    trial.replaced(1, Types::NONE)
}

/// GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]
pub(super) fn getex(trial: &mut Trial<'_>) -> Rule {
    let mut gone = false;
    match trial.len() {
        2 => {}
        3 if trial.is(2, "PERSIST") => {}
        4 => {
            let seconds = trial.is(2, "EX") || trial.is(2, "EXAT");
            syntax::one_of(trial.arg(2)?, &["EX", "PX", "EXAT", "PXAT"])?;
            syntax::expiry(trial.arg(3)?, seconds, "getex")?;
            gone = trial.is(2, "EXAT") || trial.is(2, "PXAT");
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    read(trial)?;
    if gone { trial.perhaps_gone(1) } else { Ok(()) }
}

pub(super) fn getset(trial: &mut Trial<'_>) -> Rule {
    read(trial)?;
    let text = trial.arg(2)?;
    trial.written(1, text)
}

/// SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
pub(super) fn set(trial: &mut Trial<'_>) -> Rule {
    let (mut nx, mut xx, mut get, mut keeps, mut time) = (false, false, false, false, None);
    let mut at = 3;
    while at < trial.len() {
        match trial.arg(at)? {
            word if syntax::is(word, "NX") && !xx => nx = true,
            word if syntax::is(word, "XX") && !nx => xx = true,
            word if syntax::is(word, "GET") => get = true,
            word if syntax::is(word, "KEEPTTL") && time.is_none() => keeps = true,
            word if !keeps && time.is_none() && at + 1 < trial.len() => {
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
        let seconds = trial.is(at, "EX") || trial.is(at, "EXAT");
        absolute = trial.is(at, "EXAT") || trial.is(at, "PXAT");
        syntax::expiry(trial.arg(at + 1)?, seconds, "set")?;
    }
    if get {
        read(trial)?;
    }
    let text = trial.arg(2)?;
    match (nx, xx) {
        (false, false) => trial.written(1, text)?,
        _ => trial.perhaps_written(1, text, nx)?,
    }
    if absolute { trial.perhaps_gone(1) } else { Ok(()) }
}

pub(super) fn setnx(trial: &mut Trial<'_>) -> Rule {
    let text = trial.arg(2)?;
    trial.perhaps_written(1, text, true)
}

pub(super) fn setex(trial: &mut Trial<'_>) -> Rule {
    timed(trial, true, "setex")
}

pub(super) fn psetex(trial: &mut Trial<'_>) -> Rule {
    timed(trial, false, "psetex")
}

fn timed(trial: &mut Trial<'_>, seconds: bool, command: &str) -> Rule {
    syntax::expiry(trial.arg(2)?, seconds, command)?;
    let text = trial.arg(3)?;
    trial.written(1, text)
}

/// MSET key value [key value ..]
pub(super) fn mset(trial: &mut Trial<'_>) -> Rule {
    pairs(trial, "mset")?;
    for at in (1..trial.len()).step_by(2) {
        let text = trial.arg(at + 1)?;
        trial.written(at, text)?;
    }
    Ok(())
}

/// MSETNX writes all or nothing.
pub(super) fn msetnx(trial: &mut Trial<'_>) -> Rule {
    pairs(trial, "msetnx")?;
    for at in (1..trial.len()).step_by(2) {
        let key = trial.arg(at)?;
        trial.perhaps_replaced(key, Types::STRING, true);
    }
    Ok(())
}

fn pairs(trial: &Trial<'_>, command: &str) -> Rule {
    if trial.len() % 2 == 1 {
        return Ok(());
    }
    Err(Fault::Certain(format!("ERR wrong number of arguments for '{command}' command").into()))
}

pub(super) fn append(trial: &mut Trial<'_>) -> Rule {
    let bytes = trial.arg(2)?.len() as u64;
    trial.makes(1, Types::STRING)?;
    trial.grows(1, bytes)?;
    trial.scrambled(1)
}

/// SETRANGE key offset value
pub(super) fn setrange(trial: &mut Trial<'_>) -> Rule {
    let offset = syntax::integer(trial.arg(2)?)?;
    let bytes = trial.arg(3)?.len() as u64;
    let offset = u64::try_from(offset).map_err(|_| Fault::new(OFFSET))?;
    let end = offset.checked_add(bytes).filter(|end| *end <= STRING_BYTES_MAX).ok_or(Fault::new(TOO_LONG))?;
    trial.typed(1, Types::STRING)?;
    if bytes > 0 {
        trial.turn(1, Types::NONE, Types::STRING)?;
        trial.reaches(1, end)?;
        trial.scrambled(1)?;
    }
    Ok(())
}

fn bit_offset(text: &[u8]) -> Result<u64, Fault> {
    let offset = syntax::integer_from(text, 0, BIT_OFFSET)?.unsigned_abs();
    if offset / 8 < STRING_BYTES_MAX { Ok(offset) } else { Err(Fault::new(BIT_OFFSET)) }
}

/// SETBIT key offset bit
pub(super) fn setbit(trial: &mut Trial<'_>) -> Rule {
    let offset = bit_offset(trial.arg(2)?)?;
    if !matches!(trial.arg(3)?, b"0" | b"1") {
        return Err(Fault::new(BIT_VALUE));
    }
    trial.makes(1, Types::STRING)?;
    trial.reaches(1, offset / 8 + 1)?;
    trial.scrambled(1)
}

pub(super) fn getbit(trial: &mut Trial<'_>) -> Rule {
    bit_offset(trial.arg(2)?)?;
    read(trial)
}

/// BITCOUNT key [start end [BYTE | BIT]]
pub(super) fn bitcount(trial: &mut Trial<'_>) -> Rule {
    match trial.len() {
        2 => {}
        4 | 5 => {
            trial.integer(2)?;
            trial.integer(3)?;
            if trial.len() == 5 {
                syntax::one_of(trial.arg(4)?, &["BYTE", "BIT"])?;
            }
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    read(trial)
}

/// BITPOS key bit [start [end [BYTE | BIT]]]
pub(super) fn bitpos(trial: &mut Trial<'_>) -> Rule {
    if !matches!(syntax::integer(trial.arg(2)?)?, 0 | 1) {
        return Err(Fault::new(BIT_ARGUMENT));
    }
    match trial.len() {
        3 => {}
        4..=6 => {
            (3..trial.len().min(5)).try_for_each(|at| trial.integer(at).map(|_| ()))?;
            if trial.len() == 6 {
                syntax::one_of(trial.arg(5)?, &["BYTE", "BIT"])?;
            }
        }
        _ => return Err(Fault::new(SYNTAX)),
    }
    read(trial)
}

/// BITOP operation destkey key [key ..]
pub(super) fn bitop(trial: &mut Trial<'_>) -> Rule {
    syntax::one_of(trial.arg(1)?, &["AND", "OR", "XOR", "NOT"])?;
    if trial.is(1, "NOT") && trial.len() != 4 {
        return Err(Fault::new(BITOP_NOT));
    }
    trial.all_typed(3..trial.len(), Types::STRING)?;
    trial.replaced(2, Types::STRING.or(Types::NONE))
}

/// BITFIELD key [GET type offset | OVERFLOW word | SET type offset value | INCRBY type offset number] ..
pub(super) fn bitfield(trial: &mut Trial<'_>) -> Rule {
    let (mut at, mut reach) = (2, None);
    while at < trial.len() {
        let word = trial.arg(at)?;
        let words = if syntax::is(word, "OVERFLOW") {
            syntax::one_of(trial.arg(at + 1)?, &["WRAP", "SAT", "FAIL"])
                .map_err(|_| Fault::new("ERR Invalid OVERFLOW type specified"))?;
            2
        } else {
            syntax::one_of(word, &["GET", "SET", "INCRBY"])?;
            let bits = bitfield_type(trial.arg(at + 1)?)?;
            let end = bitfield_end(trial.arg(at + 2)?, bits)?;
            if syntax::is(word, "GET") {
                3
            } else {
                trial.integer(at + 3)?;
                reach = reach.max(Some(end));
                4
            }
        };
        at += words;
    }
    trial.typed(1, Types::STRING)?;
    if let Some(end) = reach {
        trial.turn(1, Types::NONE, Types::STRING)?;
        trial.reaches(1, end / 8 + 1)?;
        trial.scrambled(1)?;
    }
    Ok(())
}

/// BITFIELD_RO key [GET type offset] ..
pub(super) fn bitfield_ro(trial: &mut Trial<'_>) -> Rule {
    for at in (2..trial.len()).step_by(3) {
        if !trial.is(at, "GET") {
            return Err(Fault::new("ERR BITFIELD_RO only supports the GET subcommand"));
        }
        let bits = bitfield_type(trial.arg(at + 1)?)?;
        bitfield_end(trial.arg(at + 2)?, bits)?;
    }
    read(trial)
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

pub(super) fn incr(trial: &mut Trial<'_>) -> Rule {
    trial.counts(1, Some(1))
}

pub(super) fn decr(trial: &mut Trial<'_>) -> Rule {
    trial.counts(1, Some(-1))
}

pub(super) fn incrby(trial: &mut Trial<'_>) -> Rule {
    let number = trial.integer(2)?;
    trial.counts(1, Some(number))
}

pub(super) fn decrby(trial: &mut Trial<'_>) -> Rule {
    let number = trial.integer(2)?;
    if number == i64::MIN {
        return Err(Fault::new(DECR_OVERFLOW));
    }
    trial.counts(1, Some(-number))
}

pub(super) fn incrbyfloat(trial: &mut Trial<'_>) -> Rule {
    if syntax::number(trial.arg(2)?, syntax::NOT_A_FLOAT)? == Float::Infinite {
        return Err(Fault::new(INFINITE));
    }
    trial.counts(1, None)
}

pub(super) fn pfadd(trial: &mut Trial<'_>) -> Rule {
    trial.distinct(1, true)
}

pub(super) fn pfcount(trial: &mut Trial<'_>) -> Rule {
    (1..trial.len()).try_for_each(|at| trial.distinct(at, false))
}

pub(super) fn pfmerge(trial: &mut Trial<'_>) -> Rule {
    (2..trial.len()).try_for_each(|at| trial.distinct(at, false))?;
    trial.distinct(1, true)
}
