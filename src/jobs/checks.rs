//! Checks what a walk meets: again after the grace period, and once more atomically, before anything is reported.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::answers::{refused, told};
use super::report::RelationReport;
use super::run::Run;
use super::stop::Stop;
use respguard_engine::pipeline::named_keys;
use respguard_engine::pipeline::violation::{Kind, Violation};
use respguard_engine::policy::Relation;
use respguard_engine::policy::relation::{Subject, Topology, VALUE_BYTES_MAX, Verdict};
use respguard_engine::route::slots::key_slot;
use respguard_resp::{encode, value};

/// Longer keys, members, fields and items are not looked at.
pub(super) const NAME_BYTES_MAX: usize = 16 * 1024;
/// What waits for its second look.
const WAITING_MAX: usize = 4096;
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What was told is known again up to so many things; SCAN may show a key twice.
const KNOWN_MAX: usize = 256 * 1024;

/// One audit of one relation.
pub(super) struct Audit<'a> {
    pub(super) run: &'a mut Run,
    pub(super) relation: &'a Relation,
    pub(super) report: &'a mut RelationReport,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    known: HashSet<u64>,
    /// Whether what is found is only counted.
    pub(super) is_sample: bool,
    /// Where a walk ends before its end.
    pub(super) walked_max: u64,
    pub(super) passed_max: u64,
}

/// Something that looked broken.
struct Waiting {
    subject: Subject,
    since: Instant,
}

impl<'a> Audit<'a> {
    pub(super) fn new(run: &'a mut Run, relation: &'a Relation, report: &'a mut RelationReport) -> Audit<'a> {
        let (waiting, known) = (VecDeque::new(), HashSet::new());
        let (walked_max, passed_max) = (u64::MAX, u64::MAX);
        Audit { run, relation, report, waiting, waiting_bytes: 0, known, is_sample: false, walked_max, passed_max }
    }

    /// Whether nothing more of this walk is wanted.
    pub(super) fn is_enough(&self) -> bool {
        self.report.walked >= self.walked_max
    }

    pub(super) async fn take_values(&mut self, number: usize, keys: &[Bytes]) -> Result<(), Stop> {
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
    pub(super) async fn look(&mut self, subjects: Vec<Subject>) -> Result<(), Stop> {
        if subjects.is_empty() {
            return Ok(());
        }
        self.run.throttle(subjects.len() as f64).await?;
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
            self.run.throttle(2.0 * due.len() as f64).await?;
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
                CheckMode::Atomic => subject.atomic_questions(ttl, &mut requests),
                CheckMode::Twice => (0..2).map(|_| subject.questions(ttl, &mut requests)).sum(),
                CheckMode::Once => subject.questions(ttl, &mut requests),
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
                CheckMode::Atomic => subject.judge_atomic(ttl, own),
                CheckMode::Twice => {
                    let (first, second) = own.split_at(own.len() / 2);
                    let (first, second) = (judge(first), judge(second));
                    // What somebody has written in between is no drift.
                    if first == second || matches!(first, Verdict::Refused(_)) { first } else { Verdict::Holds }
                }
                CheckMode::Once => judge(own),
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
    fn look_at(&self, subject: &Subject, at_one_moment: bool) -> CheckMode {
        let mut slots = subject.keys().map(key_slot);
        let first = slots.next();
        match (at_one_moment, self.run.servers.topology()) {
            (false, _) => CheckMode::Once,
            (true, Topology::Cluster) if !slots.all(|slot| Some(slot) == first) => CheckMode::Twice,
            (true, _) => CheckMode::Atomic,
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
enum CheckMode {
    Once,
    /// One look right after the other.
    Twice,
    /// All of it at one moment.
    Atomic,
}
