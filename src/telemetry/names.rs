//! Every metric's name, with its kind, unit and help text.

use metrics::Unit;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Counter,
    Gauge,
    Histogram,
}

/// One metric as the reference and the `# HELP` lines describe it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub shape: Shape,
    pub unit: Unit,
    pub help: &'static str,
}

macro_rules! metrics {
    ($($metric:ident = $name:literal, $shape:ident, $unit:ident, $help:literal;)+) => {
        $(pub const $metric: &str = $name;)+

        /// Every metric, by name.
        pub const ALL: &[Metric] = &[$(Metric { name: $name, shape: Shape::$shape, unit: Unit::$unit, help: $help }),+];
    };
}

metrics! {
    PROCESS_CPU_SECONDS_TOTAL = "process_cpu_seconds_total", Counter, Seconds, "CPU time used by the process";
    PROCESS_MAX_FDS = "process_max_fds", Gauge, Count, "Maximum number of open file descriptors";
    PROCESS_OPEN_FDS = "process_open_fds", Gauge, Count, "Number of open file descriptors";
    PROCESS_RESIDENT_MEMORY_BYTES = "process_resident_memory_bytes", Gauge, Bytes, "Resident memory of the process";
    PROCESS_START_TIME_SECONDS = "process_start_time_seconds", Gauge, Seconds, "Start time of the process, in seconds since 1970";
    PROCESS_THREADS = "process_threads", Gauge, Count, "Number of threads of the process";
    PROCESS_VIRTUAL_MEMORY_BYTES = "process_virtual_memory_bytes", Gauge, Bytes, "Virtual memory of the process";
    AUDIT_KEYS_TOTAL = "respguard_audit_keys_total", Counter, Count,
        "Keys, and members, fields and items in them, that audits of relations have checked";
    AUDIT_RUNS_TOTAL = "respguard_audit_runs_total", Counter, Count, "Audits of relations, by outcome";
    BREAKER_REFUSED_TOTAL = "respguard_breaker_refused_total", Counter, Count,
        "Requests refused at once because the breaker was not closed";
    BREAKER_STATE = "respguard_breaker_state", Gauge, Count, "1 for the current state of the breaker, 0 for the others";
    BREAKER_TRANSITIONS_TOTAL = "respguard_breaker_transitions_total", Counter, Count,
        "State changes of the breaker, by new state";
    BUILD_INFO = "respguard_build_info", Gauge, Count, "Always 1; the label is the running version";
    BYTES_TOTAL = "respguard_bytes_total", Counter, Bytes,
        "Bytes read (in) and written (out) by the proxy, on the clients' side and on the upstream's";
    CLASS_SECONDS = "respguard_class_seconds", Histogram, Seconds,
        "Time from the reading of a request to its reply, for reads that may be retried, groups, and all others";
    CLIENT_CONNECTIONS_TOTAL = "respguard_client_connections_total", Counter, Count, "Client connections, accepted and refused";
    CLIENTS = "respguard_clients", Gauge, Count, "Clients connected now";
    CLIENTS_CLOSED_TOTAL = "respguard_clients_closed_total", Counter, Count,
        "Clients closed because the proxy would have had to buffer too much for them, by reason";
    COMMANDS_TOTAL = "respguard_commands_total", Counter, Count,
        "Commands read from clients; commands that are not in the command table count as \"other\"";
    COMPRESS_BYTES_TOTAL = "respguard_compress_bytes_total", Counter, Bytes,
        "Bytes of values that a compress rule applies to, as clients see them and as they are stored; read: only compressed values";
    COMPRESS_FAILED_TOTAL = "respguard_compress_failed_total", Counter, Count,
        "Stored values with a header that could not be decompressed, by compress rule";
    COMPRESS_REFUSED_TOTAL = "respguard_compress_refused_total", Counter, Count, "Commands refused by a compress rule";
    COMPRESS_SECONDS = "respguard_compress_seconds", Histogram, Seconds,
        "Time to compress or decompress long values, off the workers' threads";
    CONFIG_RELOAD_TOTAL = "respguard_config_reload_total", Counter, Count, "Reloads of the configuration, by outcome";
    CONFIG_RULES = "respguard_config_rules", Gauge, Count, "Rules in force, by kind";
    GROUP_SECONDS = "respguard_group_seconds", Histogram, Seconds, "Time from the reading of a group to its reply, by group";
    GROUPS_TOTAL = "respguard_groups_total", Counter, Count, "Groups recognised, by outcome";
    HOLD_GAP_SECONDS = "respguard_hold_gap_seconds", Histogram, Seconds,
        "Time without a byte from a client while the beginning of a group was held, until more came";
    HOLD_PREFIX_MEMBERS = "respguard_hold_prefix_members", Histogram, Count,
        "Members of a group that had arrived when it began to be held";
    HOLDS_TOTAL = "respguard_holds_total", Counter, Count,
        "Incomplete groups that were held for their remaining members, by outcome";
    KEPT_BYTES = "respguard_kept_bytes", Gauge, Bytes,
        "Bytes buffered for all clients together: requests that wait and replies that have not been read";
    LOG_LOST_TOTAL = "respguard_log_lost_total", Counter, Count,
        "Log lines dropped because the queue to standard error was full or the write failed";
    LOGINS_REFUSED_TOTAL = "respguard_logins_refused_total", Counter, Count, "AUTH and HELLO AUTH refused by the proxy itself";
    MISSED_WAKEUPS_TOTAL = "respguard_missed_wakeups_total", Counter, Count,
        "Connections and clients that could go on, and that only a periodic check has found: bugs in the proxy itself";
    MODE = "respguard_mode", Gauge, Count, "1 for the current mode of the rules, 0 for the other: enforce or observe";
    NODE_UP = "respguard_node_up", Gauge, Count, "1 while the node, a primary of the cluster, answers, else 0";
    OUT_OF_SYNC_TOTAL = "respguard_out_of_sync_total", Counter, Count,
        "Upstream replies that no request was waiting for; each closed its connection";
    PANICS_TOTAL = "respguard_panics_total", Counter, Count,
        "Tasks of clients and of upstream connections that panicked: bugs in the proxy itself";
    PARTIAL_FAILURES_TOTAL = "respguard_partial_failures_total", Counter, Count,
        "Pipelines, groups and clients' own transactions in which some commands failed and others did not";
    REDIRECTS_TOTAL = "respguard_redirects_total", Counter, Count,
        "Requests that a node of the cluster did not serve and that were sent again, by reason";
    RELATION_ORPHANS = "respguard_relation_orphans", Gauge, Count,
        "Orphans of a relation that the last finished audit found and no repair removed";
    REPAIRED_TOTAL = "respguard_repaired_total", Counter, Count, "Keys and references that repairs removed or put back";
    REQUEST_SECONDS = "respguard_request_seconds", Histogram, Seconds, "Time from the reading of a request to its reply";
    RESOLUTIONS_TOTAL = "respguard_resolutions_total", Counter, Count,
        "Groups with a marker whose connection was lost, by what was found out about them";
    REST_REQUEST_SECONDS = "respguard_rest_request_seconds", Histogram, Seconds,
        "Time from the head of a REST request to the head of its answer, by endpoint";
    REST_REQUESTS_TOTAL = "respguard_rest_requests_total", Counter, Count,
        "REST requests, by endpoint and by HTTP status of the answer";
    REST_RESENT_TOTAL = "respguard_rest_resent_total", Counter, Count, "REST requests that the client marked as sent again";
    RETRIES_REFUSED_TOTAL = "respguard_retries_refused_total", Counter, Count,
        "Requests that were not retried because the retry budget was used up, by kind";
    RETRIES_TOTAL = "respguard_retries_total", Counter, Count,
        "Requests sent again after their connection was lost, or moved from behind a reply that held them up, by kind";
    SLOTS_UNSERVED = "respguard_slots_unserved", Gauge, Count, "Slots of the cluster that no reachable node serves";
    SPLIT_MEMBERS = "respguard_split_members", Histogram, Count, "Members of a group that had arrived when it was split";
    TIMEOUTS_TOTAL = "respguard_timeouts_total", Counter, Count, "Requests answered -TIMEOUT";
    TLS_HANDSHAKES_FAILED_TOTAL = "respguard_tls_handshakes_failed_total", Counter, Count,
        "TLS handshakes with clients that failed";
    TOPOLOGY_CHANGES_TOTAL = "respguard_topology_changes_total", Counter, Count,
        "Changes in what is known of the servers behind the proxy, by kind";
    TTL_CHECKS_TOTAL = "respguard_ttl_checks_total", Counter, Count, "Checks of the TTL of keys that must expire, by outcome";
    UPSTREAM_CONNECTIONS = "respguard_upstream_connections", Gauge, Count, "Current connections to the upstream, by state";
    UPSTREAM_KILLS_TOTAL = "respguard_upstream_kills_total", Counter, Count,
        "Lost upstream connections that were killed at the server by id, by outcome";
    UPSTREAM_RECONNECTS_TOTAL = "respguard_upstream_reconnects_total", Counter, Count,
        "Attempts to replace a lost upstream connection";
    UPSTREAM_UP = "respguard_upstream_up", Gauge, Count, "1 while at least one worker reaches the upstream, else 0";
    VIOLATIONS_FILE_LOST_TOTAL = "respguard_violations_file_lost_total", Counter, Count,
        "Violations that could not be written to the file";
    VIOLATIONS_LOG_SUPPRESSED_TOTAL = "respguard_violations_log_suppressed_total", Counter, Count,
        "Violations counted but not logged, because there were too many of their kind in one second";
    VIOLATIONS_TOTAL = "respguard_violations_total", Counter, Count,
        "Violations, by kind and by the rule that was broken (empty: none)";
    WORKER_BUSY_SECONDS_TOTAL = "respguard_worker_busy_seconds_total", Counter, Seconds,
        "Time that a worker was not idle; the rate is the share of a core that it uses";
    WORKER_CLIENTS = "respguard_worker_clients", Gauge, Count, "Clients connected to a worker";
}

/// Gives the installed recorder every metric's unit and meaning.
///
/// The histogram of requests is described too, although [`super::exposition`] writes its lines itself.
pub fn describe() {
    for metric in ALL {
        match metric.shape {
            Shape::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Shape::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Shape::Histogram => {
                metrics::describe_histogram!(metric.name, metric.unit, metric.help);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_unique_and_say_by_their_ending_that_they_count() {
        for pair in ALL.windows(2) {
            assert!(pair[0].name < pair[1].name, "{}", pair[1].name);
        }
        for metric in ALL {
            assert!(metric.name.starts_with("respguard_") || metric.name.starts_with("process_"));
            assert_eq!(metric.name.ends_with("_total"), metric.shape == Shape::Counter);
        }
    }
}
