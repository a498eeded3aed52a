//! Gauges that are set occasionally, from any thread.

use metrics::{counter, gauge};

use super::label::{Admission, BreakerState, Redirected, ReloadOutcome, RuleKind, TopologyChange, key};
use super::names;
use respguard_engine::policy::Mode;
use respguard_engine::policy::rule::Word;

/// Shows how many rules of one kind are in force.
pub fn set_config_rules(kind: RuleKind, rules: usize) {
    gauge!(names::CONFIG_RULES, key::KIND => kind.as_str()).set(rules as f64);
}

/// Shows whether the rules act or only report: 1 for that mode, 0 for the other.
pub fn set_mode(now: Mode) {
    for mode in Mode::ALL {
        gauge!(names::MODE, key::MODE => mode.as_str()).set(if *mode == now { 1.0 } else { 0.0 });
    }
}

/// Counts that the configuration was to be read again.
pub fn count_reload(outcome: ReloadOutcome) {
    counter!(names::CONFIG_RELOAD_TOTAL, key::OUTCOME => outcome.as_str()).increment(1);
}

/// Counts a client that was turned away before a worker saw it.
pub fn count_refused_client() {
    counter!(names::CLIENT_CONNECTIONS_TOTAL, key::OUTCOME => Admission::Refused.as_str()).increment(1);
}

/// Counts a login that is none of the proxy's own.
pub fn count_refused_login() {
    counter!(names::LOGINS_REFUSED_TOTAL).increment(1);
}

/// Counts a failed TLS handshake of a client.
pub fn count_failed_handshake() {
    counter!(names::TLS_HANDSHAKES_FAILED_TOTAL).increment(1);
}

/// Shows the state of the breaker: 1 for that state, 0 for the others.
pub fn set_breaker_state(now: BreakerState) {
    for state in BreakerState::ALL {
        gauge!(names::BREAKER_STATE, key::STATE => state.as_str()).set(if state == now { 1.0 } else { 0.0 });
    }
}

/// Counts a change of the breaker's state.
pub fn count_breaker_transition(to: BreakerState) {
    counter!(names::BREAKER_TRANSITIONS_TOTAL, key::TO => to.as_str()).increment(1);
}

/// Shows whether at least one worker reaches the upstream.
pub fn set_upstream_up(is_up: bool) {
    gauge!(names::UPSTREAM_UP).set(if is_up { 1.0 } else { 0.0 });
}

/// Counts that a node of a cluster did not serve a request.
pub fn count_redirect(kind: Redirected) {
    counter!(names::REDIRECTS_TOTAL, key::KIND => kind.as_str()).increment(1);
}

/// Shows whether a primary of the cluster answers.
pub fn set_node_up(node: &str, is_up: bool) {
    gauge!(names::NODE_UP, key::NODE => node.to_owned()).set(if is_up { 1.0 } else { 0.0 });
}

/// Shows how many slots of the cluster no node serves that answers.
pub fn set_slots_unserved(slots: usize) {
    gauge!(names::SLOTS_UNSERVED).set(slots as f64);
}

/// Counts a change of the topology.
pub fn count_topology_change(kind: TopologyChange) {
    counter!(names::TOPOLOGY_CHANGES_TOTAL, key::KIND => kind.as_str()).increment(1);
}
