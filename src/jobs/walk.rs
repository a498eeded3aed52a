//! Walks the keyspace with SCAN: of one server, or of each node of a cluster, even while slots move.

use std::time::Instant;

use bytes::Bytes;

use super::answers::{Page, refused};
use super::checks::{Audit, NAME_BYTES_MAX};
use super::owners::Owners;
use super::run::{AWAY_MAX, PAUSE};
use super::stop::Stop;
use crate::net::address::Address;
use respguard_engine::policy::relation::{Topology, Walk};
use respguard_engine::policy::rule::PlaceKind;
use respguard_engine::route::node_slots::{self, NodeSlots};
use respguard_engine::route::slots::{SlotSet, key_slot};
use respguard_resp::encode;

/// Keys that SCAN passes over count for so much of one that is looked at.
const PASSED_SHARE: f64 = 0.1;

/// A node, and those of its slots whose keys are wanted.
struct Part<'a> {
    node: &'a Address,
    slots: &'a SlotSet,
}

/// All keys of the pattern.
pub(super) async fn walk_all(audit: &mut Audit<'_>, number: usize, walk: &Walk<'_>) -> Result<(), Stop> {
    if audit.run.servers.topology() == Topology::Cluster {
        return walk_cluster(audit, number, walk).await;
    }
    let before = audit.report.walked;
    while !pages(audit, number, walk, None).await? {
        // Another server's cursors mean nothing: the walk begins again, and what was told is not told twice.
        audit.report.walked = before;
    }
    Ok(())
}

/// Each slot at the node that serves it from the beginning of the node's walk to its end; a slot that moves meanwhile is
/// walked again where it has gone.
async fn walk_cluster(audit: &mut Audit<'_>, number: usize, walk: &Walk<'_>) -> Result<(), Stop> {
    let mut left = SlotSet::all();
    let mut stands_since = Instant::now();
    while let Some(slot) = left.first().filter(|_| !audit.is_enough()) {
        let mut done = SlotSet::default();
        if let Some(node) = audit.run.servers.owner(slot) {
            done = walk_node(audit, number, walk, &node, &left).await?;
        }
        // Each node knows what it serves, also where the others have not heard of it.
        for node in audit.run.servers.primaries() {
            if done.is_empty() {
                done = walk_node(audit, number, walk, &node, &left).await?;
            }
        }
        left = left.without(&done);
        if !done.is_empty() {
            stands_since = Instant::now();
        } else if stands_since.elapsed() >= AWAY_MAX {
            return Err(Stop::Failed(format!("slot {slot} could not be walked: no node serves it, or it keeps moving")));
        } else {
            audit.run.servers.doubt();
            audit.run.sleep(PAUSE).await?;
        }
    }
    Ok(())
}

/// The slots that are done.
async fn walk_node(
    audit: &mut Audit<'_>,
    number: usize,
    walk: &Walk<'_>,
    node: &Address,
    left: &SlotSet,
) -> Result<SlotSet, Stop> {
    let walked = audit.report.walked;
    let Some(before) = node_slots(audit, node).await? else { return Ok(SlotSet::default()) };
    let own = before.served.within(left);
    if own.is_empty() {
        return Ok(own);
    }
    if !pages(audit, number, walk, Some(Part { node, slots: &own })).await? {
        audit.report.walked = walked;
        return Ok(SlotSet::default());
    }
    let Some(after) = node_slots(audit, node).await? else { return Ok(SlotSet::default()) };
    let leaving = before.all_leaving().with(&after.all_leaving());
    let mut done = own.within(&after.served).without(&leaving);
    // A key of a slot that is leaving was met here, or stands there by now.
    for ((host, port), slots) in &after.leaving {
        let host = match node {
            Address::Tcp { host: own, .. } if host.is_empty() => own,
            _ => host,
        };
        let (target, slots) = (Address::Tcp { host: host.clone(), port: *port }, slots.within(&own));
        if !slots.is_empty() && pages(audit, number, walk, Some(Part { node: &target, slots: &slots })).await? {
            done = done.with(&slots);
        }
    }
    Ok(done)
}

/// What the node says of its slots; `None` where it is not there.
async fn node_slots(audit: &mut Audit<'_>, node: &Address) -> Result<Option<NodeSlots>, Stop> {
    let Some(replies) = audit.run.read_at(node, node_slots::QUESTION, 1).await? else { return Ok(None) };
    refused(&replies[0])?;
    let slots = NodeSlots::read(&replies[0]);
    slots.map(Some).ok_or_else(|| Stop::Failed("a node's answer to CLUSTER NODES cannot be read".to_owned()))
}

/// True when it came to its end; false when the server was another one half way, or the node is gone.
async fn pages(audit: &mut Audit<'_>, number: usize, walk: &Walk<'_>, part: Option<Part<'_>>) -> Result<bool, Stop> {
    let batch = audit.run.pace.batch();
    let (glob, passed) = (walk.key.glob(), batch * 10);
    let count = passed.to_string();
    let mut cursor = b"0".to_vec();
    let mut generation = None;
    let mut passed_over = 0;
    loop {
        audit.run.throttle(passed as f64 * PASSED_SHARE).await?;
        let mut words: Vec<&[u8]> = vec![b"SCAN", &cursor, b"MATCH", &glob, b"COUNT", count.as_bytes()];
        if let Some(name) = walk.type_name() {
            words.extend([&b"TYPE"[..], name.as_bytes()]);
        }
        let request = encode::requests(&[&words]);
        let (replies, answering) = match &part {
            None => (audit.run.read(&request, 1).await?, audit.run.servers.generation()),
            Some(part) => {
                let Some(replies) = audit.run.read_at(part.node, &request, 1).await? else { return Ok(false) };
                (replies, audit.run.servers.generation_of(part.node))
            }
        };
        if *generation.get_or_insert(answering) != answering {
            return Ok(false);
        }
        let page = Page::read(&replies[0])?;
        audit.run.count_visited(passed);
        let own = audit.run.guard_prefix();
        let is_wanted =
            |key: &Bytes| !key.starts_with(own.as_bytes()) && part.as_ref().is_none_or(|part| part.slots.contains(key_slot(key)));
        let keys: Vec<Bytes> = page.found.into_iter().filter(is_wanted).collect();
        for keys in keys.chunks(batch) {
            if audit.is_enough() {
                break;
            }
            take_keys(audit, number, walk, keys).await?;
        }
        audit.look_again(false).await?;
        passed_over += passed as u64;
        if page.cursor == b"0" || audit.is_enough() || passed_over >= audit.passed_max {
            return Ok(true);
        }
        cursor = page.cursor;
    }
}

/// The keys themselves are what is looked at, or what they hold.
async fn take_keys(audit: &mut Audit<'_>, number: usize, walk: &Walk<'_>, keys: &[Bytes]) -> Result<(), Stop> {
    let mut usable = Vec::with_capacity(keys.len());
    for key in keys {
        if key.len() <= NAME_BYTES_MAX { usable.push(key.clone()) } else { audit.report.skipped += 1 }
    }
    match walk.kind {
        PlaceKind::Key => {
            let subjects = usable.iter().filter_map(|key| audit.relation.subject(number, key, None)).collect();
            audit.look(subjects).await
        }
        PlaceKind::Value => audit.take_values(number, &usable).await,
        PlaceKind::Member | PlaceKind::Field | PlaceKind::Item => Owners::walk(audit, number, walk, usable).await,
    }
}
