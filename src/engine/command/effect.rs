//! What a request does to the time to live of its keys.

use super::canonical::{Lifetime, SetOptions};
use super::integer::integer;
use super::keys::Access;
use super::spec::Spec;
use crate::engine::resp::request::Args;

/// What happens to the time to live of one key, if the command succeeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TtlEffect {
    /// The key expires.
    Set {
        /// From now; `None` when the time is absolute or cannot be read. Not positive only together with
        /// `conditional`: then the key is deleted if the condition holds.
        milliseconds: Option<i64>,
        /// Whether an option can make the command succeed without doing this.
        conditional: bool,
    },
    /// An existing time to live is dropped, a new key has none.
    Drop,
    /// An existing time to live is kept, a new key has none.
    KeepOrCreate,
    /// An existing time to live is kept, no key is created. The key may become empty, and so be gone.
    Keep,
    /// An existing time to live is dropped, no key is created.
    Persist,
    /// The key is gone.
    Delete,
    /// The key gets the time to live, or the lack of one, of the key that was renamed or copied.
    Inherit,
    /// Anything may happen: a script or a module wrote it.
    Unknown,
}

/// The unit of a written time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

/// How a command's arguments tell what happens to the time to live of its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TtlColumn {
    /// No key's time to live changes.
    None,
    /// It writes, but names no keys.
    Keyless,
    /// The same for every key written.
    Written(TtlEffect),
    /// By the options of SET.
    Set,
    /// By the time in front of the value: SETEX, PSETEX.
    TimeThenValue(Unit),
    /// By the options of GETEX.
    GetEx,
    /// From now, with conditions: EXPIRE, PEXPIRE.
    Expire(Unit),
    /// At a time, with conditions: EXPIREAT, PEXPIREAT.
    ExpireAt,
    /// By the options of MSETEX, alike for all keys.
    MSetEx,
    /// By the time and the options of RESTORE.
    Restore,
    /// An element goes from the first key to the second.
    ElementMoves,
    /// The value goes from the first key to the second.
    Rename,
    /// The value is copied from the first key to the second, in this database or another.
    Copy,
    /// Deleted here unless COPY is said.
    Migrate,
    /// Created unless this option is said.
    CreatesUnless(&'static str),
    /// Created only if this option is said.
    CreatesIf(&'static str),
    /// Deleted, unless by a condition: DELEX.
    DeleteIf,
}

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
        TtlColumn::Copy if said("DB", args, 3).is_some() => {}
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

fn in_order(
    spec: &Spec,
    args: Args<'_>,
    effects: [TtlEffect; 2],
    visit: &mut dyn FnMut(usize, TtlEffect),
) {
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
        TtlColumn::Set => set(args),
        TtlColumn::TimeThenValue(unit) => relative(args.get(2), unit, false),
        TtlColumn::GetEx => get_ex(args),
        TtlColumn::Expire(unit) => expire(args, unit),
        TtlColumn::ExpireAt => expire_at(args),
        TtlColumn::MSetEx => m_set_ex(args),
        TtlColumn::Restore => restore(args),
        TtlColumn::Copy => TtlEffect::Inherit,
        TtlColumn::Migrate => match migrate_option(args) {
            true => TtlEffect::Keep,
            false => TtlEffect::Delete,
        },
        TtlColumn::CreatesUnless(option) => match said(option, args, 2) {
            Some(_) => TtlEffect::Keep,
            None => TtlEffect::KeepOrCreate,
        },
        TtlColumn::CreatesIf(option) => match said(option, args, 5) {
            Some(_) => TtlEffect::KeepOrCreate,
            None => TtlEffect::Keep,
        },
        TtlColumn::DeleteIf if args.len() > 2 => TtlEffect::Keep,
        TtlColumn::DeleteIf => TtlEffect::Delete,
    }
}
