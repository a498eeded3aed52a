//! Checks a key without a TTL again after the rule's grace period: sequential clients set the TTL late.

use std::rc::Rc;

use crate::net::context::Context;
use crate::net::upstream::call::Answer;
use crate::net::upstream::lane::Lane;
use crate::telemetry::label::TtlOutcome;
use respguard_engine::pipeline::named_keys;
use respguard_engine::pipeline::probe::Probe;
use respguard_engine::pipeline::violation::{Kind, Violation};
use respguard_resp::{encode, value};

/// Second looks that one worker has pending at once; beyond, the first look's finding is reported.
const PENDING_MAX: usize = 4096;

/// A key that had no TTL right behind its write.
pub struct Recheck {
    pub probe: Probe,
    /// It had one before the write.
    pub dropped: bool,
    /// The client that wrote it.
    pub peer: Box<str>,
}

impl Recheck {
    /// Looks again after the grace, over the lane's shared connection.
    pub fn schedule(self, context: &Rc<Context>, lane: &Rc<Lane>) {
        let pending = context.rechecks.get();
        if pending >= PENDING_MAX {
            self.report(context, None);
            return;
        }
        context.rechecks.set(pending + 1);
        let (context, lane) = (Rc::clone(context), Rc::clone(lane));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(self.probe.rule.grace).await;
            context.rechecks.set(context.rechecks.get().saturating_sub(1));
            self.ask(context, &lane);
        });
    }

    fn ask(self, context: Rc<Context>, lane: &Lane) {
        let request = encode::request_frame(&[b"PTTL", &self.probe.key]);
        lane.call(&request, move |answer| match answer {
            Answer::Reply(reply) => match value::integer(reply) {
                Some(ttl) => self.report(&context, Some(ttl)),
                None => self.abandon(&context),
            },
            Answer::Lost => self.abandon(&context),
            Answer::NotSent => self.report(&context, None),
        });
    }

    /// Nothing is known: the key is neither accused nor acquitted.
    fn abandon(self, context: &Context) {
        context.metrics.ttl_check(self.probe.index, TtlOutcome::Unanswered);
    }

    /// `ttl` in milliseconds as PTTL answers (<https://redis.io/docs/latest/commands/pttl/>).
    fn report(self, context: &Context, ttl: Option<i64>) {
        let (kind, outcome) = match ttl {
            Some(-2) => (None, TtlOutcome::Gone),
            Some(0..) => (Some(Kind::TtlLate), TtlOutcome::Late),
            _ if self.dropped => (Some(Kind::TtlDropped), TtlOutcome::Dropped),
            _ => (Some(Kind::TtlMissing), TtlOutcome::Missing),
        };
        if let Some(kind) = kind {
            context.reporter.violation(violation(kind, &self.probe, context), &self.peer);
        }
        context.metrics.ttl_check(self.probe.index, outcome);
    }
}

/// The violation that a probe has shown.
pub fn violation(kind: Kind, probe: &Probe, context: &Context) -> Violation {
    Violation {
        rule: Some(probe.rule.name.clone()),
        commands: vec![context.table().spec(probe.command).name().into()],
        key_pattern: probe.rule.pattern_of(&probe.key).map(Into::into),
        key: named_keys::shown(context.policy().violation_keys, &probe.key),
        ..Violation::new(kind)
    }
}
