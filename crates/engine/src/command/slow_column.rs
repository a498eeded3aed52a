//! Hand-written column: commands that are long by nature, because their time depends on the data or on the client's own program.

/// Commands that a healthy server may need many seconds for.
#[rustfmt::skip]
pub(super) static NAMES: &[&str] = &[
    // All keys, or all of a database
    "flushall", "flushdb", "keys",
    // The client's own program
    "eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro",
    "script", "script|load", "script|flush",
    "function", "function|load", "function|restore", "function|flush", "function|delete", "function|dump",
    // As long as what they are given
    "sort", "sort_ro", "lcs", "migrate", "restore", "restore-asking", "pfselftest",
    // Disk, replication and the inside of the server
    "save", "bgsave", "bgrewriteaof", "debug", "module", "module|load", "module|loadex", "module|unload",
    "cluster", "cluster|addslots", "cluster|addslotsrange", "cluster|bumpepoch", "cluster|count-failure-reports",
    "cluster|cancelslotmigrations", "cluster|flushslot", "cluster|getslotmigrations", "cluster|migrateslots", "cluster|myshardid",
    "cluster|slot-stats", "cluster|syncslots", "clusterscan",
    "cluster|countkeysinslot", "cluster|delslots", "cluster|delslotsrange", "cluster|failover", "cluster|flushslots",
    "cluster|forget", "cluster|getkeysinslot", "cluster|info", "cluster|keyslot", "cluster|links", "cluster|meet",
    "cluster|myid", "cluster|nodes", "cluster|replicas", "cluster|replicate", "cluster|reset", "cluster|saveconfig",
    "cluster|set-config-epoch", "cluster|setslot", "cluster|shards", "cluster|slaves", "cluster|slots",
    "memory", "memory|doctor", "memory|malloc-stats", "memory|purge", "memory|stats", "memory|usage",
    "latency", "latency|doctor", "latency|graph", "latency|histogram", "latency|history", "latency|latest", "latency|reset",
];

/// Whether the command is among them.
pub(super) fn is_slow(name: &str) -> bool {
    NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::super::{ConnectionEffect, Flags, Spec, Table};
    use super::*;

    /// Administration that is done at once, though no server flags it as fast.
    #[rustfmt::skip]
    const QUICK: &[&str] = &["acl", "client", "config", "slowlog", "replicaof", "slaveof", "role", "failover", "shutdown",
        "monitor", "sync", "psync", "replconf", "pfdebug", "latency", "lastsave", "swapdb", "info", "script", "commandlog", "hotkeys", "module"];

    fn flagged(is: impl Fn(&Spec) -> bool) -> Vec<String> {
        Table::builtin().iter().filter(|(_, spec)| is(spec)).map(|(_, spec)| spec.name().to_owned()).collect()
    }

    #[test]
    fn every_name_is_a_commands_once() {
        let table = Table::builtin();
        for (at, name) in NAMES.iter().enumerate() {
            assert!(table.by_name(name).is_some_and(|id| table.spec(id).slow), "{name}");
            assert!(!NAMES[..at].contains(name), "{name} stands there twice");
        }
    }

    #[test]
    fn nothing_that_is_flagged_fast_or_blocking_is_slow() {
        let wrong = flagged(|spec| spec.slow && (spec.flags.has(Flags::FAST) || spec.flags.has(Flags::BLOCKING)));
        assert_eq!(wrong, Vec::<String>::new());
        let wrong = flagged(|spec| spec.slow && spec.connection == ConnectionEffect::Blocking);
        assert_eq!(wrong, Vec::<String>::new());
    }

    #[test]
    fn whatever_runs_a_program_of_the_clients_is_slow() {
        let runs = |spec: &Spec| spec.flags.has(Flags::SCRIPTING) && spec.flags.has(Flags::MOVABLEKEYS);
        assert_eq!(flagged(|spec| runs(spec) && !spec.slow), Vec::<String>::new());
        assert!(flagged(runs).len() >= 6);
    }

    #[test]
    fn administration_is_slow_or_known_to_be_quick() {
        let is_quick = |spec: &Spec| QUICK.contains(&spec.name().split('|').next().unwrap_or_default());
        let wrong = flagged(|spec| spec.flags.has(Flags::ADMIN) && !spec.slow && !is_quick(spec));
        assert_eq!(wrong, Vec::<String>::new());
    }
}
