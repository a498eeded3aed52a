//! Walks the content of keys: the members, fields and items of many keys in parallel, one page of each at a time.

use bytes::Bytes;

use super::answers::{Page, refused};
use super::checks::Audit;
use super::stop::Stop;
use respguard_engine::policy::relation::{Topology, Walk};
use respguard_engine::policy::rule::PlaceKind;
use respguard_resp::scan::elements;
use respguard_resp::{encode, value};

/// Elements that one page asks for.
const PAGE: usize = 100;

/// A key, and how far it is walked.
struct Owner {
    key: Bytes,
    type_: Type,
    cursor: Vec<u8>,
    /// Of a list.
    next: usize,
}

impl Owner {
    fn begin(&mut self) {
        (self.cursor, self.next) = (b"0".to_vec(), 0);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Set,
    SortedSet,
    Hash,
    List,
}

/// The keys whose walk has not come to its end.
pub(super) struct Owners<'w> {
    owners: Vec<Owner>,
    glob: Vec<u8>,
    number: usize,
    walk: &'w Walk<'w>,
    /// Whether HSCAN may leave values out, which it can from Redis 7.4 on.
    without_values: bool,
}

impl Owners<'_> {
    pub(super) async fn walk(audit: &mut Audit<'_>, number: usize, walk: &Walk<'_>, keys: Vec<Bytes>) -> Result<(), Stop> {
        if keys.is_empty() {
            return Ok(());
        }
        audit.run.throttle(keys.len() as f64).await?;
        let types = types(audit, walk, &keys).await?;
        let owners = keys.into_iter().zip(types);
        let owners = owners.filter_map(|(key, type_)| Some(Owner { key, type_: type_?, cursor: b"0".to_vec(), next: 0 }));
        let glob = walk.element.map(|element| element.glob()).unwrap_or_default();
        let mut owners = Owners { owners: owners.collect(), glob, number, walk, without_values: true };
        while !owners.owners.is_empty() && !audit.is_enough() {
            owners.page(audit).await?;
        }
        Ok(())
    }

    /// Takes one page of each.
    async fn page(&mut self, audit: &mut Audit<'_>) -> Result<(), Stop> {
        debug_assert!(self.walk.kind != PlaceKind::Key);
        let generation = audit.run.servers.generation();
        let mut requests = Vec::new();
        self.owners.iter().for_each(|owner| self.request(owner, &mut requests));
        let replies = audit.run.read(&requests, self.owners.len()).await?;
        if generation != audit.run.servers.generation() {
            match audit.run.servers.topology() {
                // The cursors are another server's, and so is the walk that these keys are a part of.
                Topology::OneServer => self.owners.clear(),
                // Perhaps those of other keys.
                Topology::Cluster => self.owners.iter_mut().for_each(Owner::begin),
            }
            return Ok(());
        }
        if self.without_values && self.owners.iter().zip(&replies).any(|(owner, reply)| cannot_leave_out(owner, reply)) {
            self.without_values = false;
            return Ok(());
        }
        let mut left = Vec::new();
        for (mut owner, reply) in std::mem::take(&mut self.owners).into_iter().zip(&replies) {
            refused(reply)?;
            if value::is_error(reply) {
                // It has another type by now.
                continue;
            }
            let found = self.read(&mut owner, reply)?;
            audit.take_elements(self.number, &owner.key, &found).await?;
            if owner.cursor != b"0" {
                left.push(owner);
            }
        }
        self.owners = left;
        Ok(())
    }

    fn request(&self, owner: &Owner, out: &mut Vec<u8>) {
        let (key, cursor, glob) = (&*owner.key, &*owner.cursor, &*self.glob);
        let count = PAGE.to_string();
        let mut words: Vec<&[u8]> = match owner.type_ {
            Type::Set => vec![b"SSCAN", key, cursor, b"MATCH", glob, b"COUNT", count.as_bytes()],
            Type::SortedSet => vec![b"ZSCAN", key, cursor, b"MATCH", glob, b"COUNT", count.as_bytes()],
            Type::Hash => vec![b"HSCAN", key, cursor, b"MATCH", glob, b"COUNT", count.as_bytes()],
            Type::List => {
                let (first, last) = (owner.next.to_string(), (owner.next + PAGE - 1).to_string());
                return encode::request(out, &[b"LRANGE", key, first.as_bytes(), last.as_bytes()]);
            }
        };
        if owner.type_ == Type::Hash && self.without_values {
            words.push(b"NOVALUES");
        }
        encode::request(out, &words);
    }

    fn read(&self, owner: &mut Owner, reply: &Bytes) -> Result<Vec<Bytes>, Stop> {
        if owner.type_ == Type::List {
            let found: Vec<Bytes> = elements(reply).filter_map(value::bulk).map(|item| reply.slice_ref(item)).collect();
            owner.next += found.len();
            owner.cursor = if found.len() < PAGE { b"0".to_vec() } else { b"1".to_vec() };
            return Ok(found);
        }
        let page = Page::read(reply)?;
        owner.cursor = page.cursor;
        let has_values = owner.type_ == Type::SortedSet || owner.type_ == Type::Hash && !self.without_values;
        Ok(page.found.into_iter().step_by(if has_values { 2 } else { 1 }).collect())
    }
}

fn cannot_leave_out(owner: &Owner, reply: &[u8]) -> bool {
    let error = value::error_text(reply);
    owner.type_ == Type::Hash && error.starts_with(b"ERR ")
}

/// Which are walked, and how.
async fn types(audit: &mut Audit<'_>, walk: &Walk<'_>, keys: &[Bytes]) -> Result<Vec<Option<Type>>, Stop> {
    match walk.kind {
        PlaceKind::Field => return Ok(vec![Some(Type::Hash); keys.len()]),
        PlaceKind::Item => return Ok(vec![Some(Type::List); keys.len()]),
        _ => {}
    }
    let mut requests = Vec::new();
    keys.iter().for_each(|key| encode::request(&mut requests, &[b"TYPE", key]));
    let replies = audit.run.read(&requests, keys.len()).await?;
    let read = replies.iter().map(|reply| {
        refused(reply)?;
        Ok(match value::simple(reply) {
            Some(b"set") => Some(Type::Set),
            Some(b"zset") => Some(Type::SortedSet),
            _ => None,
        })
    });
    read.collect()
}
