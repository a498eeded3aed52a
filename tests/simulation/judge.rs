//! Holds the violations that the proxy has counted against what clients saw.

use respguard::telemetry::report::Reporter;
use respguard_engine::pipeline::violation::Kind;

use crate::ledger::Ledger;

/// Every group that a client saw torn, refused or lost was counted so, once.
pub fn count_violations(ledger: &mut Ledger, reporter: &Reporter) {
    let recent = reporter.recent(usize::MAX);
    let mut breaches = Vec::new();
    for (rule, seen) in &ledger.groups {
        let counted = |kind: Kind| {
            let of_rule = |violation: &&respguard_engine::pipeline::violation::Violation| {
                violation.kind == kind && violation.rule.as_deref() == Some(*rule)
            };
            recent.records.iter().map(|record| &record.violation).filter(of_rule).count()
        };
        for (kind, seen_so) in [
            (Kind::PartialFailure, seen.torn),
            (Kind::Aborted, seen.refused),
            (Kind::UnknownOutcome, seen.unknown),
            (Kind::Duplicate, seen.duplicate),
        ] {
            let counted = counted(kind);
            if recent.lost == 0 && (counted < seen_so || counted > seen_so + seen.open) {
                breaches.push(format!("{counted} groups {rule} were counted as {kind}, and clients saw {seen_so}: {seen:?}"));
            }
        }
    }
    ledger.breaches.extend(breaches);
}
