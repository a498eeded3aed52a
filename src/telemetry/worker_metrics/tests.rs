//! Tests of `worker_metrics`.

use super::*;
use crate::telemetry::exposition::Exposition;

fn arcs(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

/// What `/metrics` shows after `count` counted on fresh metrics that were then flushed.
fn shown(count: impl FnOnce(&WorkerMetrics)) -> String {
    let (recorder, exposition) = Exposition::build();
    metrics::with_local_recorder(&recorder, || {
        let metrics = WorkerMetrics::new(&arcs(&["", "get", "client|setname"]), exposition.totals());
        count(&metrics);
        metrics.flush();
        let text = exposition.render();
        std::mem::forget(metrics);
        text
    })
}

fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|shown| shown == *line), "{line} in\n{text}");
    }
}

#[test]
fn only_used_commands_appear_and_unknown_ones_are_other() {
    let text = shown(|metrics| {
        metrics.command(2);
        metrics.command(2);
        metrics.command(OTHER);
        metrics.command(3);
        metrics.command(usize::MAX);
    });
    assert_lines(
        &text,
        &["respguard_commands_total{command=\"client|setname\"} 2", "respguard_commands_total{command=\"other\"} 3"],
    );
    assert!(!text.contains("command=\"get\""));
}

#[test]
fn folding_twice_counts_once() {
    let text = shown(|metrics| {
        metrics.add_bytes(Side::Client, Direction::In, 7);
        metrics.observe_request(RequestClass::Others, Duration::from_micros(30), 2);
        metrics.add_timeouts(1);
        metrics.flush();
        metrics.add_timeouts(1);
    });
    assert_lines(
        &text,
        &[
            "respguard_bytes_total{side=\"client\",direction=\"in\"} 7",
            "respguard_timeouts_total 2",
            "respguard_request_seconds_count 2",
            "respguard_request_seconds_sum 0.00006",
        ],
    );
}

#[test]
fn counters_without_rules_stand_at_zero_from_the_start() {
    let text = shown(|_| {});
    assert_lines(
        &text,
        &[
            "respguard_out_of_sync_total 0",
            "respguard_missed_wakeups_total 0",
            "respguard_upstream_reconnects_total 0",
            "respguard_partial_failures_total{where=\"transaction\"} 0",
            "respguard_bytes_total{side=\"upstream\",direction=\"out\"} 0",
            "respguard_clients 0",
            "respguard_upstream_connections{state=\"leased\"} 0",
        ],
    );
}

#[test]
fn levels_of_two_workers_add_up_and_come_down_again() {
    let (recorder, exposition) = Exposition::build();
    metrics::with_local_recorder(&recorder, || {
        let workers = [(); 2].map(|()| WorkerMetrics::new(&[], exposition.totals()));
        for metrics in &workers {
            metrics.client_accepted();
            metrics.client_accepted();
            metrics.client_closed();
            metrics.upstream_moved(None, Some(UpstreamState::Connecting));
            metrics.upstream_moved(Some(UpstreamState::Connecting), Some(UpstreamState::Shared));
            metrics.flush();
        }
        let text = exposition.render();
        assert_lines(
            &text,
            &[
                "respguard_clients 2",
                "respguard_client_connections_total{outcome=\"accepted\"} 4",
                "respguard_upstream_connections{state=\"connecting\"} 0",
                "respguard_upstream_connections{state=\"shared\"} 2",
            ],
        );

        workers[0].client_closed();
        workers[1].upstream_moved(Some(UpstreamState::Shared), None);
        drop(workers);
        assert_eq!(exposition.totals().upstream(UpstreamState::Shared), 1);
        let text = exposition.render();
        assert_lines(&text, &["respguard_clients 1", "respguard_upstream_connections{state=\"shared\"} 1"]);
    });
}

#[test]
fn groups_keep_their_names_when_rules_are_renamed() {
    let text = shown(|metrics| {
        metrics.group(0, GroupOutcome::Torn);
        metrics.rename_rules(&arcs(&["login", "blob"]), &arcs(&["sessions"]));
        let (blob, sessions) = (metrics.group_row(1), metrics.ttl_row("sessions"));
        metrics.group(blob, GroupOutcome::Applied);
        metrics.group(metrics.group_row(2), GroupOutcome::Applied);
        metrics.rename_rules(&arcs(&["snapshot", "blob", "login"]), &[]);
        metrics.group(metrics.group_row(0), GroupOutcome::Torn);
        metrics.group(blob, GroupOutcome::Applied);
        metrics.group(metrics.group_row(1), GroupOutcome::Applied);
        metrics.ttl_check(sessions, TtlOutcome::TooLong);
        metrics.ttl_check(metrics.ttl_row("nobody"), TtlOutcome::Present);
    });
    let groups: Vec<_> = text.lines().filter(|line| line.starts_with("respguard_groups_total{")).collect();
    assert_eq!(groups.len(), 3 * GroupOutcome::ALL.len(), "all from when they are named: {groups:?}");
    assert_eq!(groups.iter().filter(|line| !line.ends_with(" 0")).count(), 2, "{groups:?}");
    assert_lines(
        &text,
        &[
            "respguard_groups_total{group=\"blob\",outcome=\"applied\"} 3",
            "respguard_groups_total{group=\"snapshot\",outcome=\"torn\"} 1",
            "respguard_ttl_checks_total{rule=\"sessions\",outcome=\"too_long\"} 1",
        ],
    );
    assert!(text.contains("respguard_ttl_checks_total{rule=\"sessions\",outcome=\"present\"} 0\n"));
    assert!(!text.contains("nobody"));
}
