//! What one key contains in the course of a group, as far as other members depend on it.

use smallvec::SmallVec;

use super::key_aliases::KeyAliases;
use super::syntax::StreamId;
use super::types::{TypeHistory, Types};
use super::values::Value;

/// What one key holds.
#[derive(Debug)]
pub(super) struct KeyState<'a> {
    /// The key whose content this was before the group; `None`: it came to be within it.
    pub(super) origin: Option<&'a [u8]>,
    pub(super) history: TypeHistory,
    /// Of a string.
    pub(super) value: Value<'a>,
    /// Bytes that the members have appended to a string since `reach`, and up to where they have written it before.
    pub(super) appended: u64,
    /// `None`: nobody knows.
    pub(super) reach: Option<u64>,
    /// Elements that a list has at least, compared with before; `None`: nobody knows.
    pub(super) elements: Option<i64>,
    /// Fields of a hash that members have touched, and what the others are.
    fields: Option<Box<Fields<'a>>>,
    other_fields: Value<'a>,
    pub(super) last_id: LastId,
    /// Consumer groups that members have made or destroyed, and what is known of the others.
    groups: Option<Box<KeyAliases<&'a [u8]>>>,
    other_groups: Others,
}

/// Fields of a hash, and what each holds.
#[derive(Debug, Default)]
struct Fields<'a> {
    places: KeyAliases<&'a [u8]>,
    values: SmallVec<[Value<'a>; 4]>,
}

/// Consumer groups that no member has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    AsBefore,
    Gone,
    Unknown,
}

/// The highest id that a stream has given.
#[derive(Clone, Copy, Debug)]
pub(super) enum LastId {
    AsBefore,
    Known(StreamId),
    /// Not above this one: nobody knows which.
    AtMost(StreamId),
    /// The server's clock, or anything.
    Given,
}

/// What the name of a consumer group that is there leads to.
const THERE: usize = 1;

impl<'a> KeyState<'a> {
    pub(super) fn new(key: &'a [u8]) -> KeyState<'a> {
        KeyState {
            origin: Some(key),
            history: TypeHistory::new(),
            value: Value::START,
            appended: 0,
            reach: Some(0),
            elements: Some(0),
            fields: None,
            other_fields: Value::START,
            last_id: LastId::AsBefore,
            groups: None,
            other_groups: Others::AsBefore,
        }
    }

    /// Something that came to be within the group.
    pub(super) fn made(types: Types) -> KeyState<'a> {
        let mut key_state = KeyState { origin: None, history: TypeHistory::made(types), ..KeyState::new(b"") };
        if types == Types::NONE {
            key_state.value = Value::ABSENT;
            key_state.other_fields = Value::ABSENT;
            key_state.last_id = LastId::Known(StreamId { milliseconds: 0, sequence: 0 });
            key_state.other_groups = Others::Gone;
        } else {
            key_state.forget();
        }
        key_state
    }

    /// The value, or what its absence counts as.
    pub(super) fn value_now(&self) -> Value<'a> {
        if self.history.types().has(Types::STRING) { self.value } else { Value::ABSENT }
    }

    /// Its content is not followed any more.
    pub(super) fn forget(&mut self) {
        self.value = Value::Unknown;
        self.reach = None;
        self.elements = None;
        self.fields = None;
        self.other_fields = Value::Unknown;
        self.last_id = LastId::Given;
        self.groups = None;
        self.other_groups = Others::Unknown;
    }

    /// It may have been deleted. What is absent counts as 0, which the values allow for.
    pub(super) fn perhaps_gone(&mut self) {
        for one in Types::ALL.each() {
            self.history.turn(one, one.or(Types::NONE));
        }
        self.elements = None;
        self.groups = None;
        self.other_groups = Others::Unknown;
    }

    pub(super) fn field_mut(&mut self, field: &'a [u8]) -> &mut Value<'a> {
        let Fields { places, values } = &mut **self.fields.get_or_insert_default();
        let place = places.get(field).unwrap_or_else(|| {
            values.push(self.other_fields);
            places.set(field, values.len() - 1);
            values.len() - 1
        });
        &mut values[place]
    }

    /// Whether it has this consumer group, as far as members have told; else what is known of those that none has named.
    pub(super) fn group(&self, name: &'a [u8]) -> Result<bool, Others> {
        match self.groups.as_ref().and_then(|groups| groups.get(name)) {
            Some(there) => Ok(there == THERE),
            None if self.other_groups == Others::Gone => Ok(false),
            None => Err(self.other_groups),
        }
    }

    pub(super) fn note_group(&mut self, name: &'a [u8], there: bool) {
        self.groups.get_or_insert_default().set(name, if there { THERE } else { 1 - THERE });
    }
}
