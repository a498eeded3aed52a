//! Audits one relation: walks, checks, checks again after the grace period, and once more atomically before anything is reported.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::owners::Owners;
use super::report::{RelationReport, told};
use super::run::{Run, Stop};
use super::walk::walk_all;
use respguard_engine::pipeline::named_keys;
use respguard_engine::pipeline::violation::{Kind, Violation};
use respguard_engine::policy::Relation;
use respguard_engine::policy::relation::{Subject, Topology, VALUE_BYTES_MAX, Verdict, Walk};
use respguard_engine::policy::rule::PlaceKind;
use respguard_engine::route::slots::key_slot;
use respguard_resp::scan::elements;
use respguard_resp::{encode, value};

/// Longer keys, members, fields and items are not looked at.
const NAME_BYTES_MAX: usize = 16 * 1024;
/// What waits for its second look.
const WAITING_MAX: usize = 4096;
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What was told is known again up to so many things; SCAN may show a key twice.
const KNOWN_MAX: usize = 256 * 1024;
/// So many keys a sample passes over at most for one that it wants.
const PASSED_FOR_ONE: u64 = 100;

/// Walks all that the relation says, and puts what is broken into the report.
pub(super) async fn audit(run: &mut Run, relation: &Relation, report: &mut RelationReport) -> Result<(), Stop> {
    let mut audit = Audit::new(run, relation, report);
    audit.estimate().await?;
    for (number, walk) in relation.walks().iter().enumerate() {
        walk_all(&mut audit, number, walk).await?;
    }
    audit.look_again(true).await
}

/// Looks at up to so many things of each pattern, and only counts.
pub(super) async fn sample(run: &mut Run, relation: &Relation, report: &mut RelationReport, things: u64) -> Result<(), Stop> {
    let mut audit = Audit::new(run, relation, report);
    audit.is_sample = true;
    for (number, walk) in relation.walks().iter().enumerate() {
        audit.walked_max = audit.report.walked + things;
        audit.passed_max = things.saturating_mul(PASSED_FOR_ONE);
        walk_all(&mut audit, number, walk).await?;
    }
    audit.look_again(true).await
}

pub(super) struct Audit<'a> {
    pub(super) run: &'a mut Run,
    relation: &'a Relation,
    pub(super) report: &'a mut RelationReport,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    known: HashSet<u64>,
    /// Whether what is found is only counted.
    is_sample: bool,
    /// Where a walk ends before its end.
    walked_max: u64,
    pub(super) passed_max: u64,
}

/// Something that looked broken.
struct Waiting {
    subject: Subject,
    since: Instant,
}

impl<'a> Audit<'a> {
    fn new(run: &'a mut Run, relation: &'a Relation, report: &'a mut RelationReport) -> Audit<'a> {
        let (waiting, known) = (VecDeque::new(), HashSet::new());
        let (walked_max, passed_max) = (u64::MAX, u64::MAX);
        Audit { run, relation, report, waiting, waiting_bytes: 0, known, is_sample: false, walked_max, passed_max }
    }

    /// Whether nothing more of this walk is wanted.
    pub(super) fn is_enough(&self) -> bool {
        self.report.walked >= self.walked_max
    }

    /// How much there is to be walked, for those who watch.
    async fn estimate(&mut self) -> Result<(), Stop> {
        let mut request = Vec::new();
        encode::request(&mut request, &[b"DBSIZE"]);
        let mut replies = Vec::new();
        match self.run.servers.topology() {
            Topology::OneServer => replies = self.run.read(&request, 1).await?,
            Topology::Cluster => {
                for node in self.run.servers.primaries() {
                    replies.extend(self.run.read_at(&node, &request, 1).await?.unwrap_or_default());
                }
            }
        }
        let keys = replies.iter().filter_map(|reply| value::integer(reply)).sum::<i64>();
        let total = u64::try_from(keys).unwrap_or_default() * self.relation.walks().len() as u64;
        self.run.progress.total.store(total, Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn take_keys(&mut self, number: usize, walk: &Walk<'_>, keys: &[Bytes]) -> Result<(), Stop> {
        let mut usable = Vec::with_capacity(keys.len());
        for key in keys {
            if key.len() <= NAME_BYTES_MAX { usable.push(key.clone()) } else { self.report.skipped += 1 }
        }
        match walk.kind {
            PlaceKind::Key => {
                let subjects = usable.iter().filter_map(|key| self.relation.subject(number, key, None)).collect();
                self.look(subjects).await
            }
            PlaceKind::Value => self.take_values(number, &usable).await,
            PlaceKind::Member | PlaceKind::Field | PlaceKind::Item => Owners::walk(self, number, walk, usable).await,
        }
    }

    async fn take_values(&mut self, number: usize, keys: &[Bytes]) -> Result<(), Stop> {
        let mut requests = Vec::new();
        for key in keys {
            encode::request(&mut requests, &[b"GETRANGE", key, b"0", VALUE_BYTES_MAX.to_string().as_bytes()]);
        }
        let replies = self.run.read(&requests, keys.len()).await?;
        let mut subjects = Vec::new();
        for (key, reply) in keys.iter().zip(&replies) {
            refused(reply)?;
            match value::bulk(reply) {
                Some(value) if value.len() > VALUE_BYTES_MAX => self.report.skipped += 1,
                Some(value) => subjects.extend(self.relation.subject(number, key, Some(value))),
                None => {}
            }
        }
        self.look(subjects).await
    }

    /// The members, fields or items of one key.
    pub(super) async fn take_elements(&mut self, number: usize, key: &[u8], elements: &[Bytes]) -> Result<(), Stop> {
        for elements in elements.chunks(self.run.pace.batch()) {
            let mut subjects = Vec::with_capacity(elements.len());
            for element in elements {
                if element.len() > NAME_BYTES_MAX {
                    self.report.skipped += 1;
                } else {
                    subjects.extend(self.relation.subject(number, key, Some(element)));
                }
            }
            self.look(subjects).await?;
            self.look_again(false).await?;
        }
        Ok(())
    }

    /// The first look: what is not as it should be waits for the second.
    async fn look(&mut self, subjects: Vec<Subject>) -> Result<(), Stop> {
        if subjects.is_empty() {
            return Ok(());
        }
        self.run.breathe(subjects.len() as f64).await?;
        self.report.walked += subjects.len() as u64;
        self.run.progress.walked.fetch_add(subjects.len() as u64, Ordering::Relaxed);
        let broken = self.broken(subjects, false).await?;
        for (subject, _) in broken {
            self.waiting_bytes += subject.bytes();
            self.waiting.push_back(Waiting { subject, since: Instant::now() });
        }
        Ok(())
    }

    /// The second and third look at what has waited for the grace; at everything, if it is `all`.
    pub(super) async fn look_again(&mut self, all: bool) -> Result<(), Stop> {
        loop {
            let is_full = self.waiting.len() > WAITING_MAX || self.waiting_bytes > WAITING_BYTES_MAX;
            let Some(first) = self.waiting.front() else { return Ok(()) };
            let rest = self.run.settings.grace.saturating_sub(first.since.elapsed());
            if !rest.is_zero() {
                if !all && !is_full {
                    return Ok(());
                }
                self.run.sleep(rest).await?;
            }
            let grace = self.run.settings.grace;
            let due = self.waiting.iter().take_while(|waiting| waiting.since.elapsed() >= grace).count();
            let due: Vec<Subject> = self.waiting.drain(..due.min(self.run.pace.batch())).map(|waiting| waiting.subject).collect();
            self.waiting_bytes -= due.iter().map(Subject::bytes).sum::<usize>();
            self.run.breathe(2.0 * due.len() as f64).await?;
            let still = self.broken(due, false).await?;
            let still = still.into_iter().map(|(subject, _)| subject).collect();
            for (subject, verdict) in self.broken(still, true).await? {
                self.found(subject, &verdict);
            }
        }
    }

    /// Those of the subjects that are not as they should be.
    async fn broken(&mut self, subjects: Vec<Subject>, at_one_moment: bool) -> Result<Vec<(Subject, Verdict)>, Stop> {
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        let ttl = self.relation.ttl;
        let mut requests = Vec::new();
        let counts: Vec<usize> = subjects
            .iter()
            .map(|subject| match self.look_at(subject, at_one_moment) {
                Look::Atomic => subject.atomic_questions(ttl, &mut requests),
                Look::Twice => (0..2).map(|_| subject.questions(ttl, &mut requests)).sum(),
                Look::Once => subject.questions(ttl, &mut requests),
            })
            .collect();
        let replies = self.run.read(&requests, counts.iter().sum()).await?;
        let mut rest = &replies[..];
        let mut broken = Vec::new();
        for (subject, count) in subjects.into_iter().zip(counts) {
            let (own, behind) = rest.split_at(count);
            rest = behind;
            let judge = |replies: &[Bytes]| subject.judge(ttl, replies.iter().map(|reply| &reply[..]));
            let verdict = match self.look_at(&subject, at_one_moment) {
                Look::Atomic => subject.judge_atomic(ttl, own),
                Look::Twice => {
                    let (first, second) = own.split_at(own.len() / 2);
                    let (first, second) = (judge(first), judge(second));
                    // What somebody has written in between is no drift.
                    if first == second || matches!(first, Verdict::Refused(_)) { first } else { Verdict::Holds }
                }
                Look::Once => judge(own),
            };
            match verdict {
                Verdict::Holds | Verdict::Gone | Verdict::Elsewhere => {}
                Verdict::Missing(_) | Verdict::Lifetime(_) => broken.push((subject, verdict)),
                Verdict::Refused(error) => return Err(Stop::Unknown(told(&error))),
            }
        }
        Ok(broken)
    }

    /// Nodes of a cluster have no moment in common.
    fn look_at(&self, subject: &Subject, at_one_moment: bool) -> Look {
        let mut slots = subject.keys().map(key_slot);
        let first = slots.next();
        match (at_one_moment, self.run.servers.topology()) {
            (false, _) => Look::Once,
            (true, Topology::Cluster) if !slots.all(|slot| Some(slot) == first) => Look::Twice,
            (true, _) => Look::Atomic,
        }
    }

    fn found(&mut self, subject: Subject, verdict: &Verdict) {
        let mut hasher = DefaultHasher::new();
        subject.hash(&mut hasher);
        let hash = hasher.finish();
        if self.known.contains(&hash) {
            return;
        }
        if self.known.len() < KNOWN_MAX {
            self.known.insert(hash);
        }
        let (kind, absent) = match verdict {
            Verdict::Lifetime(number) => (Kind::RelationTtl, 1 << number),
            Verdict::Missing(absent) => (Kind::Orphan, *absent),
            _ => return,
        };
        self.run.progress.found.fetch_add(1, Ordering::Relaxed);
        if self.is_sample {
            return self.report.take(subject, verdict);
        }
        let form = self.run.shared.policy.load().violation_keys;
        let violation = Violation::new(kind)
            .rule(&self.relation.name)
            .key(named_keys::shown(form, &subject.source.key))
            .key_pattern(&self.relation.pattern_text(subject.walk))
            .reason(Some(self.report.why(kind, absent)));
        self.run.shared.reporter.violation(violation, &"audit");
        self.report.take(subject, verdict);
    }
}

/// How something is looked at.
#[derive(Clone, Copy)]
enum Look {
    Once,
    /// One look right after the other.
    Twice,
    /// All of it at one moment.
    Atomic,
}

/// One page of SCAN and its kin (<https://redis.io/docs/latest/commands/scan/>).
pub(super) struct Page {
    pub(super) cursor: Vec<u8>,
    pub(super) found: Vec<Bytes>,
}

impl Page {
    pub(super) fn read(reply: &Bytes) -> Result<Page, Stop> {
        refused(reply)?;
        let mut parts = elements(reply);
        let cursor = parts.next().and_then(value::bulk).map(<[u8]>::to_vec);
        let found = parts.next().map(|found| elements(found).filter_map(value::bulk).map(|bulk| reply.slice_ref(bulk)).collect());
        match (cursor, found) {
            (Some(cursor), Some(found)) => Ok(Page { cursor, found }),
            _ => Err(Stop::Failed("the server's answer to a SCAN cannot be read".to_owned())),
        }
    }
}

/// What the server does not let this user find out stays unknown; a key of another type is none of the relation's.
pub(super) fn refused(reply: &[u8]) -> Result<(), Stop> {
    let error = value::error_text(reply);
    if !value::is_error(reply) || error.starts_with(b"WRONGTYPE") { Ok(()) } else { Err(Stop::Unknown(told(error))) }
}
