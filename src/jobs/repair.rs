//! Removes what is broken, one thing at a time: watched, checked again, logged, and only then removed.
//!
//! WATCH and MULTI, rather than a script: between the look and the removal the entry in the log must reach the disk, and
//! what is removed must be what was written down. Whoever fixes it meanwhile makes the EXEC fail, and wins.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tracing::warn;

use super::answers::server_ms;
use super::repair_log::{Entry, NOT_REMOVED, RemovedData, RepairLog, SCHEMA, encoded};
use super::report::{BROKEN_SHARE, RelationReport, RepairResult};
use super::run::{MOVING_MAX, MOVING_PAUSE, Run};
use super::server_connection::QueryError;
use super::servers::At;
use super::stop::Stop;
use super::wanted::RepairRequest;
use crate::telemetry::audits;
use crate::telemetry::label::{AuditOutcome, RepairAction};
use crate::telemetry::record::{rfc3339, unix_ms};
use respguard_engine::pipeline::violation::Kind;
use respguard_engine::policy::Relation;
use respguard_engine::policy::relation::{Subject, Target, Verdict};
use respguard_engine::policy::rule::PlaceKind;
use respguard_resp::scan::elements;
use respguard_resp::{encode, value};

/// How often one thing is tried that others write to meanwhile.
const ATTEMPTS_MAX: usize = 5;
/// What is kept of one thing: no more is read of a DUMP.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Removes what the report has found, or says why not.
pub(super) async fn repair(run: &mut Run, relation: &Relation, report: &mut RelationReport, wanted: RepairRequest) {
    if !report.may_remove || report.orphans == 0 {
        return;
    }
    if report.looks_wrong() && !wanted.force {
        let share = BROKEN_SHARE * 100.0;
        let (orphans, walked) = (report.orphans, report.walked);
        report.reason = Some(format!(
            "{orphans} of {walked} look broken, more than {share} %: is the rule right? With --force (force=true) they are removed"
        ));
        if wanted.apply {
            report.outcome = AuditOutcome::Stopped;
        }
        return;
    }
    let Some(log) = run.shared.log.clone().filter(|_| wanted.apply) else { return };
    report.applied = true;
    match remove_all(run, &log, relation, report, wanted.max).await {
        Ok(()) => conclude(report, wanted.max),
        Err(stop) => report.stop(stop),
    }
}

fn conclude(report: &mut RelationReport, max: usize) {
    let left = report.orphans.saturating_sub(report.orphans_repaired);
    let tried = report.findings.iter().filter(|finding| finding.result.is_some()).count() as u64;
    if left == 0 && report.lifetimes == 0 {
        report.outcome = AuditOutcome::Repaired;
    } else if tried < report.orphans {
        report.outcome = AuditOutcome::Stopped;
        report.reason = Some(format!(
            "{} of {} were left: no more than {max} in one run (--max, max=)",
            report.orphans - tried,
            report.orphans
        ));
    }
}

async fn remove_all(
    run: &mut Run,
    log: &RepairLog,
    relation: &Relation,
    report: &mut RelationReport,
    max: usize,
) -> Result<(), Stop> {
    let mut number = 0;
    let mut tried = 0;
    for place in 0..report.findings.len() {
        if report.findings[place].kind != Kind::Orphan {
            continue;
        }
        if tried == max {
            break;
        }
        tried += 1;
        run.throttle(2.0).await?;
        let subject = report.findings[place].subject.clone();
        let mut removal =
            Removal { run, log, relation, subject: &subject, number: &mut number, reason: String::new(), ids: Vec::new() };
        removal.reason = report.why(Kind::Orphan, report.findings[place].absent);
        let (result, ids) = (removal.remove().await?, removal.ids);
        if result == RepairResult::Removed {
            report.removed += ids.len() as u64;
            report.orphans_repaired += 1;
            let is_part = matches!(subject.source.kind, PlaceKind::Member | PlaceKind::Field | PlaceKind::Item);
            let action = if is_part { RepairAction::Remove } else { RepairAction::Delete };
            audits::count_repaired(&relation.name, action, ids.len() as u64);
        } else if result == RepairResult::Fixed {
            report.orphans_repaired += 1;
        }
        // Also of what may be gone: it can be put back.
        report.findings[place].ids = ids;
        report.findings[place].result = Some(result);
    }
    Ok(())
}

/// One finding that is being removed.
struct Removal<'a> {
    run: &'a mut Run,
    log: &'a RepairLog,
    relation: &'a Relation,
    subject: &'a Subject,
    /// Of the last thing that was written down in this run and relation.
    number: &'a mut u64,
    reason: String,
    ids: Vec<String>,
}

impl Removal<'_> {
    async fn remove(&mut self) -> Result<RepairResult, Stop> {
        let begun = Instant::now();
        let mut attempts = 0;
        while attempts < ATTEMPTS_MAX {
            match self.attempt().await {
                Ok(Some(result)) => return Ok(result),
                Ok(None) => {
                    attempts += 1;
                    self.run.sleep(Duration::from_millis(20)).await?;
                }
                Err(Failure::Ask(QueryError::TooLong(_))) => return Ok(RepairResult::TooLarge),
                Err(Failure::Ask(QueryError::Moving(_))) if begun.elapsed() >= MOVING_MAX => return Ok(RepairResult::Changing),
                Err(Failure::Ask(QueryError::Moving(_))) => self.run.sleep(MOVING_PAUSE).await?,
                Err(Failure::Ask(error)) => {
                    warn!(relation = &*self.relation.name, %error, "a repair has lost the server");
                    return Ok(RepairResult::Unknown);
                }
                Err(Failure::Stop(stop)) => return Err(stop),
            }
        }
        Ok(RepairResult::Changing)
    }

    /// `None`: somebody wrote to it meanwhile.
    async fn attempt(&mut self) -> Result<Option<RepairResult>, Failure> {
        let mut requests = Vec::new();
        let keys: Vec<&[u8]> = self.subject.keys().collect();
        let words: Vec<&[u8]> = std::iter::once(&b"WATCH"[..]).chain(keys).collect();
        encode::request(&mut requests, &words);
        let questions = self.subject.questions(self.relation.ttl, &mut requests);
        let replies = self.ask(&requests, 1 + questions).await?;
        let absent = match self.subject.judge(self.relation.ttl, replies[1..].iter().map(|reply| &reply[..])) {
            _ if value::is_error(&replies[0]) => return self.give_up(RepairResult::Denied).await,
            Verdict::Missing(absent) => absent,
            Verdict::Refused(_) => return self.give_up(RepairResult::Denied).await,
            Verdict::Holds | Verdict::Gone | Verdict::Elsewhere | Verdict::Lifetime(_) => {
                return self.give_up(RepairResult::Fixed).await;
            }
        };
        let targets = self.targets(absent);
        let mut entries = Vec::new();
        for target in &targets {
            match self.entry(target).await? {
                SaveResult::Entry(entry) => entries.push(*entry),
                SaveResult::Gone => return self.give_up(RepairResult::Fixed).await,
                SaveResult::Denied => return self.give_up(RepairResult::Denied).await,
            }
        }
        let ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
        let failed =
            |error: std::io::Error| Failure::Stop(Stop::Failed(format!("[audit] repair_log cannot be written: {error}")));
        self.log.append(&entries).await.map_err(failed)?;
        let mut requests = encode::requests(&[&[b"MULTI"]]);
        targets.iter().zip(&entries).for_each(|(target, entry)| removal(target, &entry.what, &mut requests));
        encode::request(&mut requests, &[b"EXEC"]);
        let replies = match self.ask(&requests, targets.len() + 2).await {
            Ok(replies) => replies,
            Err(failure @ Failure::Ask(QueryError::Moving(_))) => {
                self.conclude(&ids, NOT_REMOVED).await;
                return Err(failure);
            }
            // Nobody knows whether it is gone; the log has it, and putting it back looks first.
            Err(failure) => {
                self.ids = ids;
                return Err(failure);
            }
        };
        let is_denied = replies.iter().any(|reply| value::is_error(reply));
        let exec = replies.last().map(|reply| &reply[..]).unwrap_or_default();
        let is_removed = elements(exec).any(|count| value::integer(count).is_some_and(|count| count > 0));
        let outcome = if is_removed { RepairResult::Removed.as_str() } else { NOT_REMOVED };
        self.conclude(&ids, outcome).await;
        if is_removed {
            self.ids = ids;
            return Ok(Some(RepairResult::Removed));
        }
        Ok(is_denied.then_some(RepairResult::Denied))
    }

    async fn conclude(&self, ids: &[String], outcome: &str) {
        let conclusion = self.log.conclude(ids, &self.run.id, unix_ms(SystemTime::now()), outcome).await;
        if let Err(error) = conclusion {
            // What was removed is in the log all the same.
            warn!(%error, "the repair log can no longer be written");
        }
    }

    async fn give_up(&mut self, result: RepairResult) -> Result<Option<RepairResult>, Failure> {
        self.ask(&encode::requests(&[&[b"UNWATCH"]]), 1).await?;
        Ok(Some(result))
    }

    /// What is removed: of a set what is left, else the key or the reference.
    fn targets(&self, absent: u16) -> Vec<Target> {
        if !self.subject.is_set() {
            let source = self.subject.source.clone();
            return vec![if source.kind == PlaceKind::Value { Target { kind: PlaceKind::Key, ..source } } else { source }];
        }
        let mut left: Vec<Target> = Vec::new();
        for (number, need) in self.subject.needs.iter().enumerate() {
            if absent & (1 << number) == 0 && !left.contains(need) {
                left.push(need.clone());
            }
        }
        left
    }

    /// The line for the log, from what the watched key holds.
    async fn entry(&mut self, target: &Target) -> Result<SaveResult, Failure> {
        let key = &*target.key;
        let element = target.element.as_deref().unwrap_or_default();
        let held: &[&[u8]] = match target.kind {
            PlaceKind::Key | PlaceKind::Value => &[b"DUMP", key],
            PlaceKind::Member => &[b"ZSCORE", key, element],
            PlaceKind::Field => &[b"HGET", key, element],
            PlaceKind::Item => &[b"LPOS", key, element, b"COUNT", b"0"],
        };
        // PEXPIRETIME, from Redis 7.0 on, is exact where PTTL and TIME are read one after the other.
        let mut requests = encode::requests(&[&[b"PTTL", key], &[b"TIME"], &[b"PEXPIRETIME", key], held]);
        if target.kind == PlaceKind::Field {
            // From Redis 7.4 on.
            encode::request(&mut requests, &[b"HPEXPIRETIME", key, b"FIELDS", b"1", element]);
        }
        let replies = self.ask(&requests, if target.kind == PlaceKind::Field { 5 } else { 4 }).await?;
        let held = &replies[3];
        let is_wrong_type = value::error_text(held).starts_with(b"WRONGTYPE");
        if value::is_error(held) && !(is_wrong_type && target.kind == PlaceKind::Member) {
            return Ok(SaveResult::Denied);
        }
        let element = encoded(element);
        let what = match target.kind {
            PlaceKind::Key | PlaceKind::Value => value::bulk(held).map(|dump| RemovedData::Key { dump: encoded(dump) }),
            PlaceKind::Member => {
                let score = value::bulk(held).map(|score| String::from_utf8_lossy(score).into_owned());
                Some(RemovedData::Member { element, score })
            }
            PlaceKind::Field => value::bulk(held).map(|held| RemovedData::Field {
                element,
                value: encoded(held),
                field_expires_at_ms: elements(&replies[4]).next().and_then(value::integer).filter(|at| *at > 0),
            }),
            PlaceKind::Item => {
                let places: Vec<i64> = elements(held).filter_map(value::integer).collect();
                (!places.is_empty()).then_some(RemovedData::Item { element, places })
            }
        };
        let Some(what) = what else { return Ok(SaveResult::Gone) };
        let ttl_ms = value::integer(&replies[0]).filter(|ttl| *ttl >= 0);
        let exact = value::integer(&replies[2]).filter(|at| *at > 0);
        let expires_at_ms = ttl_ms.and_then(|ttl| exact.or_else(|| Some(server_ms(&replies[1])? + ttl)));
        *self.number += 1;
        let now = SystemTime::now();
        Ok(SaveResult::Entry(Box::new(Entry {
            schema: SCHEMA,
            id: format!("{}.{}.{}", self.run.id, self.relation.name, self.number),
            run: self.run.id.clone(),
            at: rfc3339(now),
            at_ms: unix_ms(now),
            relation: self.relation.name.to_string(),
            reason: self.reason.clone(),
            action: if matches!(what, RemovedData::Key { .. }) { RepairAction::Delete } else { RepairAction::Remove }
                .as_str()
                .to_owned(),
            key: encoded(key),
            expires_at_ms,
            ttl_ms,
            what,
        })))
    }

    /// Not asked again after a loss: what was watched is then forgotten.
    async fn ask(&mut self, requests: &[u8], replies: usize) -> Result<Vec<Bytes>, Failure> {
        let at = At::Key(&self.subject.source.key);
        Ok(self.run.servers.ask(at, requests, replies, KEPT_BYTES_MAX).await?)
    }
}

enum SaveResult {
    Entry(Box<Entry>),
    Gone,
    Denied,
}

enum Failure {
    Ask(QueryError),
    Stop(Stop),
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Failure {
        Failure::Ask(error)
    }
}

fn removal(target: &Target, what: &RemovedData, out: &mut Vec<u8>) {
    let (key, element) = (&*target.key, target.element.as_deref().unwrap_or_default());
    match target.kind {
        PlaceKind::Key | PlaceKind::Value => encode::request(out, &[b"UNLINK", key]),
        PlaceKind::Member => {
            let is_sorted = matches!(what, RemovedData::Member { score: Some(_), .. });
            encode::request(out, &[if is_sorted { b"ZREM" } else { b"SREM" }, key, element]);
        }
        PlaceKind::Field => encode::request(out, &[b"HDEL", key, element]),
        PlaceKind::Item => encode::request(out, &[b"LREM", key, b"0", element]),
    }
}
