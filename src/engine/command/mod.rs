//! The command table: a stand-in with the few commands that the policy's tests name.

use crate::engine::resp::request::Args;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CommandId(pub(super) u16);
impl CommandId {
    pub const UNKNOWN: CommandId = CommandId(0);
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    Write,
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyList {
    Complete,
    Unknown,
}
#[derive(Clone, Debug)]
pub enum Keys {
    Specs(Box<[u8]>),
    Unknown,
}
#[derive(Clone, Copy, Debug)]
pub enum Ungroupable {
    Blocking,
    Unknown,
    Connection,
}
impl std::fmt::Display for Ungroupable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
pub struct Spec {
    name: &'static str,
    pub arity: i16,
    pub keys: Keys,
    kind: u8,
}
impl Spec {
    pub fn name(&self) -> &str {
        self.name
    }
    pub fn arity_fits(&self, args: Args<'_>) -> bool {
        if self.arity > 0 {
            args.len() == self.arity as usize
        } else {
            args.len() >= self.arity.unsigned_abs() as usize
        }
    }
    pub fn groupable(&self) -> Result<(), Ungroupable> {
        match self.kind {
            b'b' => Err(Ungroupable::Blocking),
            b'u' => Err(Ungroupable::Unknown),
            b'c' => Err(Ungroupable::Connection),
            _ => Ok(()),
        }
    }
    pub fn is_blocking(&self, _: Args<'_>) -> bool {
        self.kind == b'b'
    }
    pub fn for_each_key(&self, args: Args<'_>, visit: &mut dyn FnMut(usize, Access)) -> KeyList {
        match self.kind {
            b'k' => visit(1, Access::Write),
            b'm' => {
                for i in 1..args.len() {
                    visit(i, Access::Write)
                }
            }
            _ => {}
        }
        KeyList::Complete
    }
}
pub struct Table {
    specs: Vec<Spec>,
}
impl Table {
    pub fn builtin() -> Table {
        let row = |name, arity, kind: u8| Spec {
            name,
            arity,
            kind,
            keys: if matches!(kind, b'k' | b'm') {
                Keys::Specs(Box::new([1]))
            } else {
                Keys::Specs(Box::default())
            },
        };
        Table {
            specs: vec![
                row("unknown", -1, b'u'),
                row("set", -3, b'k'),
                row("setex", 4, b'k'),
                row("get", 2, b'k'),
                row("sadd", -3, b'k'),
                row("expire", -3, b'k'),
                row("smembers", 2, b'k'),
                row("incr", 2, b'k'),
                row("incrby", 3, b'k'),
                row("del", -2, b'm'),
                row("hset", -4, b'k'),
                row("ping", -1, b'n'),
                row("blpop", -3, b'b'),
                row("subscribe", -2, b'c'),
                row("zadd", -4, b'k'),
                row("zremrangebyscore", 4, b'k'),
                row("xgroup|create", -5, b'k'),
            ],
        }
    }
    pub fn len(&self) -> usize {
        self.specs.len()
    }
    pub fn by_name(&self, name: &str) -> Option<CommandId> {
        self.specs
            .iter()
            .position(|s| s.name.eq_ignore_ascii_case(name))
            .map(|i| CommandId(i as u16))
    }
    pub fn lookup(&self, args: Args<'_>) -> CommandId {
        let name = String::from_utf8_lossy(args.get(0).unwrap_or_default()).into_owned();
        let sub = format!(
            "{name}|{}",
            String::from_utf8_lossy(args.get(1).unwrap_or_default())
        );
        self.by_name(&name)
            .or_else(|| self.by_name(&sub))
            .unwrap_or(CommandId::UNKNOWN)
    }
    pub fn spec(&self, id: CommandId) -> &Spec {
        &self.specs[id.index()]
    }
}
pub struct Canonical<'a> {
    pub id: CommandId,
    words: Vec<&'a [u8]>,
}
impl<'a> Canonical<'a> {
    pub fn get(&self, i: usize) -> Option<&'a [u8]> {
        self.words.get(i).copied()
    }
    pub fn len(&self) -> usize {
        self.words.len()
    }
}
pub fn canonical<'a>(table: &Table, id: CommandId, args: Args<'a>) -> Canonical<'a> {
    let g = |i| args.get(i).unwrap_or_default();
    match (table.spec(id).name, args.len()) {
        ("setex", 4) => Canonical {
            id: CommandId(1),
            words: vec![g(1), g(3), b"EX", g(2)],
        },
        ("incr", 2) => Canonical {
            id: CommandId(8),
            words: vec![g(1), b"1"],
        },
        _ => Canonical {
            id,
            words: args.iter().skip(1).collect(),
        },
    }
}
