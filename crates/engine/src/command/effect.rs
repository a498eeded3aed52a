//! What a request does to the time to live of its keys.

use super::integer::integer;
use super::keys::Access;
use super::set_options::{Condition, Lifetime, SetOptions};
use super::spec::Spec;
use super::ttl_column::{TtlColumn, TtlEffect, Unit};
use respguard_resp::request::Args;

/// Calls `visit` with the place of each key whose time to live the request decides, and how. In order: where one key
/// is named twice, the last call counts.
pub fn ttl_effects(spec: &Spec, args: Args<'_>, visit: &mut dyn FnMut(usize, TtlEffect)) {
    match spec.ttl {
        TtlColumn::None | TtlColumn::Keyless => {}
        TtlColumn::ElementMoves => {
            in_order(spec, args, [TtlEffect::Keep, TtlEffect::KeepOrCreate], visit);
        }
        TtlColumn::Rename => {
            in_order(spec, args, [TtlEffect::Delete, TtlEffect::Inherit], visit);
        }
        TtlColumn::Copy if has_option("DB", args, 3) => {}
        column => {
            let effect = effect(column, args);
            spec.for_each_key(args, &mut |place, access: Access| {
                if access.is_write() {
                    visit(place, effect);
                }
            });
        }
    }
}

fn in_order(spec: &Spec, args: Args<'_>, effects: [TtlEffect; 2], visit: &mut dyn FnMut(usize, TtlEffect)) {
    let mut effects = effects.into_iter();
    spec.for_each_key(args, &mut |place, _| {
        if let Some(effect) = effects.next() {
            visit(place, effect);
        }
    });
}

fn effect(column: TtlColumn, args: Args<'_>) -> TtlEffect {
    match column {
        TtlColumn::None | TtlColumn::Keyless => TtlEffect::Keep,
        TtlColumn::ElementMoves | TtlColumn::Rename => TtlEffect::Unknown,
        TtlColumn::Written(effect) => effect,
        TtlColumn::Set => by_set_options(args, 3),
        TtlColumn::TimeThenValue(unit) => from_now(args.get(2), unit, false),
        TtlColumn::GetEx => get_ex(args),
        TtlColumn::Expire(unit) => expire(args, unit),
        TtlColumn::ExpireAt(unit) => expire_at(args, unit),
        TtlColumn::MSetEx => m_set_ex(args),
        TtlColumn::IncrEx => incr_ex(args),
        TtlColumn::Restore => restore(args),
        TtlColumn::Copy => TtlEffect::Inherit,
        TtlColumn::Migrate if migrate_copies(args) => TtlEffect::Keep,
        TtlColumn::Migrate => TtlEffect::Delete,
        TtlColumn::SortedSetAdd => creates(!sorted_set_exists(args)),
        TtlColumn::StreamAdd => creates(!stream_exists(args)),
        TtlColumn::GroupCreate => creates(has_option("MKSTREAM", args, 5)),
        TtlColumn::DeleteIf if args.len() > 2 => TtlEffect::Keep,
        TtlColumn::DeleteIf => TtlEffect::Delete,
    }
}

fn creates(may: bool) -> TtlEffect {
    if may { TtlEffect::KeepOrCreate } else { TtlEffect::Keep }
}

/// A time from now at `text`. Redis refuses one that is not positive.
fn from_now(text: Option<&[u8]>, unit: Unit, conditional: bool) -> TtlEffect {
    TtlEffect::Set { milliseconds: text.and_then(|text| milliseconds(text, unit)).filter(|time| *time > 0), conditional }
}

fn at_moment(text: Option<&[u8]>, unit: Unit, conditional: bool) -> TtlEffect {
    TtlEffect::SetAt { milliseconds: text.and_then(|text| milliseconds(text, unit)), conditional }
}

/// Whether the request changes nothing but a time to live that is there: EXPIRE and kin with XX, and with GT, for which a key
/// without one lives for ever (<https://redis.io/docs/latest/commands/expire/>).
pub fn only_changes_ttl(spec: &Spec, args: Args<'_>) -> bool {
    matches!(spec.ttl, TtlColumn::Expire(_) | TtlColumn::ExpireAt(_)) && (has_option("XX", args, 3) || has_option("GT", args, 3))
}

fn milliseconds(text: &[u8], unit: Unit) -> Option<i64> {
    let time = integer(text)?;
    match unit {
        Unit::Seconds => time.checked_mul(1000),
        Unit::Milliseconds => Some(time),
    }
}

fn by_set_options(args: Args<'_>, from: usize) -> TtlEffect {
    let Some(options) = SetOptions::parse(&args, from) else {
        return TtlEffect::Unknown;
    };
    let condition = options.condition();
    let conditional = condition != Condition::Always;
    match options.lifetime() {
        Lifetime::Endless | Lifetime::Kept if condition == Condition::Absent => TtlEffect::Create,
        Lifetime::Endless => TtlEffect::Drop,
        Lifetime::Kept => creates(condition != Condition::Present),
        Lifetime::Seconds(place) => from_now(args.get(place), Unit::Seconds, conditional),
        Lifetime::Milliseconds(place) => from_now(args.get(place), Unit::Milliseconds, conditional),
        Lifetime::Until(place, unit) => at_moment(args.get(place), unit, conditional),
    }
}

/// MSETEX numkeys key value [key value ...] [options]
fn m_set_ex(args: Args<'_>) -> TtlEffect {
    match m_set_ex_options(args) {
        Some(options) => by_set_options(args, options),
        None => TtlEffect::Unknown,
    }
}

/// Where the options of MSETEX begin.
pub fn m_set_ex_options(args: Args<'_>) -> Option<usize> {
    let pairs = usize::try_from(args.get(1).and_then(integer)?).ok()?;
    pairs.checked_mul(2)?.checked_add(2)
}

/// INCREX key [BYINT n | BYFLOAT n] [LBOUND n] [UBOUND n] [SATURATE] [EX s | PX ms | EXAT s | PXAT ms | PERSIST] [ENX]: out of
/// bounds it changes nothing. Servers differ in the options beside the lifetime.
fn incr_ex(args: Args<'_>) -> TtlEffect {
    let conditional = ["ENX", "NX", "XX", "LBOUND", "UBOUND"].iter().any(|option| has_option(option, args, 2));
    match lifetime_option(args, 2) {
        Some((place, unit, false)) => from_now(args.get(place), unit, conditional),
        Some((place, unit, true)) => at_moment(args.get(place), unit, conditional),
        None if has_option("PERSIST", args, 2) => TtlEffect::Drop,
        None => TtlEffect::KeepOrCreate,
    }
}

/// The first of EX, PX, EXAT and PXAT from a word on: the place of its time, its unit, and whether it is a moment.
fn lifetime_option(args: Args<'_>, from: usize) -> Option<(usize, Unit, bool)> {
    let option = |at: usize| match args.get(at)?.to_ascii_uppercase().as_slice() {
        b"EX" => Some((at + 1, Unit::Seconds, false)),
        b"PX" => Some((at + 1, Unit::Milliseconds, false)),
        b"EXAT" => Some((at + 1, Unit::Seconds, true)),
        b"PXAT" => Some((at + 1, Unit::Milliseconds, true)),
        _ => None,
    };
    (from..args.len()).find_map(option)
}

/// The place of the word in which the request itself says how long its keys live, its unit, and whether it is a moment; none
/// where it says nothing of that, or not in a word that could be another. RESTORE carries the lifetime of a value that lived
/// elsewhere.
pub fn lifetime_of(spec: &Spec, args: Args<'_>) -> Option<(usize, Unit, bool)> {
    match spec.ttl {
        TtlColumn::Set => options_lifetime(args, 3),
        TtlColumn::MSetEx => options_lifetime(args, m_set_ex_options(args)?),
        TtlColumn::TimeThenValue(unit) | TtlColumn::Expire(unit) => Some((2, unit, false)),
        TtlColumn::ExpireAt(unit) => Some((2, unit, true)),
        TtlColumn::GetEx => lifetime_option(args, 2).filter(|(place, ..)| *place == 3),
        TtlColumn::IncrEx => lifetime_option(args, 2),
        _ => None,
    }
}

fn options_lifetime(args: Args<'_>, from: usize) -> Option<(usize, Unit, bool)> {
    match SetOptions::parse(&args, from)?.lifetime() {
        Lifetime::Seconds(place) => Some((place, Unit::Seconds, false)),
        Lifetime::Milliseconds(place) => Some((place, Unit::Milliseconds, false)),
        Lifetime::Until(place, unit) => Some((place, unit, true)),
        Lifetime::Endless | Lifetime::Kept => None,
    }
}

/// GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]
fn get_ex(args: Args<'_>) -> TtlEffect {
    let Some(option) = args.get(2) else {
        return TtlEffect::Keep;
    };
    let is = |token: &str| option.eq_ignore_ascii_case(token.as_bytes());
    match () {
        () if is("PERSIST") => TtlEffect::Persist,
        () if is("EX") => from_now(args.get(3), Unit::Seconds, false),
        () if is("PX") => from_now(args.get(3), Unit::Milliseconds, false),
        () if is("PXAT") => at_moment(args.get(3), Unit::Milliseconds, false),
        () => at_moment(args.get(3), Unit::Seconds, false),
    }
}

/// EXPIRE key time [NX | XX | GT | LT]
fn expire(args: Args<'_>, unit: Unit) -> TtlEffect {
    let conditional = args.len() > 3;
    let time = args.get(2).and_then(|text| milliseconds(text, unit));
    match time {
        Some(..=0) if !conditional => TtlEffect::Delete,
        milliseconds => TtlEffect::Set { milliseconds, conditional },
    }
}

/// EXPIREAT key time [NX | XX | GT | LT]: only a time that is past for any clock is known to delete.
fn expire_at(args: Args<'_>, unit: Unit) -> TtlEffect {
    let conditional = args.len() > 3;
    match args.get(2).and_then(integer) {
        Some(..=0) if !conditional => TtlEffect::Delete,
        _ => at_moment(args.get(2), unit, conditional),
    }
}

/// RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME s] [FREQ n]
fn restore(args: Args<'_>) -> TtlEffect {
    match args.get(2).and_then(integer) {
        Some(0) if has_option("REPLACE", args, 4) => TtlEffect::Drop,
        Some(0) => TtlEffect::Create,
        Some(time) if !has_option("ABSTTL", args, 4) => {
            TtlEffect::Set { milliseconds: Some(time).filter(|time| *time > 0), conditional: false }
        }
        _ => at_moment(args.get(2), Unit::Milliseconds, false),
    }
}

/// MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH p] [AUTH2 u p] [KEYS key ...]
fn migrate_copies(args: Args<'_>) -> bool {
    let mut i = 6;
    while let Some(word) = args.get(i) {
        let is = |token: &str| word.eq_ignore_ascii_case(token.as_bytes());
        i += match () {
            () if is("COPY") => return true,
            () if is("KEYS") => return false,
            () if is("AUTH2") => 3,
            () if is("AUTH") => 2,
            () => 1,
        };
    }
    false
}

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member ..: only what stands in front of the first score counts.
fn sorted_set_exists(args: Args<'_>) -> bool {
    let options = ["NX", "XX", "GT", "LT", "CH", "INCR"];
    let option = |i: usize| {
        let word = args.get(i)?;
        options.into_iter().find(|option| word.eq_ignore_ascii_case(option.as_bytes()))
    };
    (2..).map_while(option).any(|option| option == "XX")
}

/// XADD key [NOMKSTREAM] [MAXLEN | MINID [= | ~] threshold [LIMIT count]] id field value ..
fn stream_exists(args: Args<'_>) -> bool {
    let mut i = 2;
    while let Some(word) = args.get(i) {
        let is = |token: &str| word.eq_ignore_ascii_case(token.as_bytes());
        i += match () {
            () if is("NOMKSTREAM") => return true,
            () if is("MAXLEN") || is("MINID") => match args.get(i + 1) {
                Some(b"=" | b"~") => 3,
                _ => 2,
            },
            () if is("LIMIT") => 2,
            () => return false,
        };
    }
    false
}

fn has_option(option: &str, args: Args<'_>, from: usize) -> bool {
    args.from(from).iter().any(|word| word.eq_ignore_ascii_case(option.as_bytes()))
}
