//! Where on a cluster a request goes: by its keys, or by the purpose of its command.
//!
//! The column follows the `request_policy` and `response_policy` that COMMAND tells
//! (<https://redis.io/docs/latest/develop/reference/command-tips/>); what has none, and is about one node, is refused.

use super::merge::Merge;
use super::slots::key_slot;
use crate::command::{Lane, RequestPolicy, ResponsePolicy, RetryClass, Spec, Table};
use respguard_resp::request::Args;

/// What a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The node of its keys; without keys any node.
    Keys,
    /// The same, and where its keys are in several slots a part of it to each, merged so.
    Split(Split),
    /// Every primary, merged so.
    Every(Merge),
    /// A walk over all primaries, with the one at hand in the cursor.
    Scan,
    /// Answered without a node.
    Cluster(ClusterCommand),
    /// Answered `+OK` without a node: there is nothing to be told to one.
    Accepted,
    /// A part of the client's own transaction.
    Transaction(Verb),
    /// It changes who its client is, or how both speak.
    Login(Lane),
    /// QUIT
    Quit,
    /// It begins or ends a subscription.
    Subscribe,
    /// Each primary that the client has written to.
    Wait,
    /// Not done on a cluster, and why not.
    Refused(&'static str),
}

/// How a request over several slots is cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Each argument is a key, and each has an element in the reply.
    Elements,
    /// Each argument is a key, and the reply is how many.
    Count,
    /// Keys with their values.
    Pairs,
    /// How many, keys with their values, and what holds for all of them.
    CountedPairs,
}

/// About a transaction of the client's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// MULTI
    Multi,
    /// EXEC
    Exec,
    /// DISCARD
    Discard,
    /// WATCH
    Watch,
    /// UNWATCH
    Unwatch,
}

/// What the proxy answers as if it were the only node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterCommand {
    /// CLUSTER SLOTS
    Slots,
    /// CLUSTER SHARDS
    Shards,
    /// CLUSTER NODES
    Nodes,
    /// CLUSTER INFO
    Info,
    /// CLUSTER MYID
    MyId,
    /// CLUSTER KEYSLOT
    KeySlot,
    /// Asked of the node of the slot that it names.
    InSlot,
}

const NODE: &str = "is about one node of the cluster: ask the node itself";
const SPECIAL: &str = "is not done on a cluster: nobody says how the replies of its nodes become one";
const FOLLOWS: &str = "is not done on a cluster: what it follows happens on several nodes";

/// The routes of all commands of a table.
#[derive(Debug, Default)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// Those of this table.
    pub fn of(table: &Table) -> Routes {
        let mut routes = vec![Route::Keys; table.len()];
        table.iter().for_each(|(id, spec)| routes[id.index()] = route(spec));
        Routes(routes)
    }

    /// The route of the command with this index.
    pub fn get(&self, index: usize) -> Route {
        self.0.get(index).copied().unwrap_or(Route::Keys)
    }
}

#[rustfmt::skip]
fn route(spec: &Spec) -> Route {
    match spec.name() {
        "mget" => Route::Split(Split::Elements),
        "del" | "unlink" | "exists" | "touch" => Route::Split(Split::Count),
        "mset" => Route::Split(Split::Pairs),
        "msetex" => Route::Split(Split::CountedPairs),

        "dbsize" | "slowlog|len" | "latency|reset" | "pubsub|numpat" => Route::Every(Merge::Sum),
        "keys" | "slowlog|get" => Route::Every(Merge::Concat),
        "pubsub|channels" | "pubsub|shardchannels" => Route::Every(Merge::Union),
        "pubsub|numsub" | "pubsub|shardnumsub" => Route::Every(Merge::SumPairs),
        "flushall" | "flushdb" | "script|load" | "script|flush" | "function|load" | "function|delete" | "function|flush"
        | "function|restore" | "config|set" | "config|resetstat" | "config|rewrite" | "acl|setuser" | "acl|deluser"
        | "acl|load" | "acl|save" | "slowlog|reset" | "memory|purge" => Route::Every(Merge::AllSucceed),
        "script|exists" => Route::Every(Merge::And),
        "script|kill" | "function|kill" => Route::Every(Merge::OneSucceeds),
        "function|stats" => Route::Every(Merge::FunctionStats),
        "randomkey" => Route::Every(Merge::AnyKey),
        "scan" => Route::Scan,
        "info" => Route::Every(Merge::Info),
        "hello" => Route::Login(Lane::Hello),
        "auth" => Route::Login(Lane::Auth),
        "select" => Route::Login(Lane::Select),
        "quit" => Route::Quit,

        "cluster|slots" => Route::Cluster(ClusterCommand::Slots),
        "cluster|shards" => Route::Cluster(ClusterCommand::Shards),
        "cluster|nodes" => Route::Cluster(ClusterCommand::Nodes),
        "cluster|info" => Route::Cluster(ClusterCommand::Info),
        "cluster|myid" => Route::Cluster(ClusterCommand::MyId),
        "cluster|keyslot" => Route::Cluster(ClusterCommand::KeySlot),
        "cluster|countkeysinslot" | "cluster|getkeysinslot" => Route::Cluster(ClusterCommand::InSlot),
        "readonly" | "readwrite" | "asking" | "client|setname" | "client|setinfo" | "client|no-evict" | "client|no-touch"
        | "client|capa" => Route::Accepted,

        "multi" => Route::Transaction(Verb::Multi),
        "exec" => Route::Transaction(Verb::Exec),
        "discard" => Route::Transaction(Verb::Discard),
        "watch" => Route::Transaction(Verb::Watch),
        "unwatch" => Route::Transaction(Verb::Unwatch),

        "subscribe" | "unsubscribe" | "psubscribe" | "punsubscribe" | "ssubscribe" | "sunsubscribe" => Route::Subscribe,
        "wait" | "waitaof" => Route::Wait,
        "monitor" | "client|tracking" | "client|caching" => Route::Refused(FOLLOWS),
        "save" | "bgsave" | "bgrewriteaof" | "lastsave" | "shutdown" | "replicaof" | "slaveof" | "failover" | "sync"
        | "psync" | "replconf" | "script|debug" | "module|load" | "module|loadex" | "module|unload" | "client|pause"
        | "client|unpause" | "migrate" | "pfselftest" | "restore-asking" | "reset" | "client" | "client|import-source" => Route::Refused(NODE),
        name if name == "debug" || name.starts_with("debug|") => Route::Refused(NODE),
        name if name == "cluster" || name.starts_with("cluster|") => Route::Refused(NODE),
        _ => by_tips(spec),
    }
}

/// The route of a command of which only its server knows.
fn by_tips(spec: &Spec) -> Route {
    let merge = match spec.tips.response {
        None => Some(Merge::Append),
        Some(ResponsePolicy::OneSucceeded) => Some(Merge::OneSucceeds),
        Some(ResponsePolicy::AllSucceeded) => Some(Merge::AllSucceed),
        Some(ResponsePolicy::And) => Some(Merge::And),
        Some(ResponsePolicy::Or) => Some(Merge::Or),
        Some(ResponsePolicy::Min) => Some(Merge::Min),
        Some(ResponsePolicy::Max) => Some(Merge::Max),
        Some(ResponsePolicy::Sum) => Some(Merge::Sum),
        Some(ResponsePolicy::Special) => None,
    };
    let is_split = spec.retry == RetryClass::Read && spec.keys.are_all_arguments();
    match (spec.tips.request, merge) {
        (None, _) => Route::Keys,
        (Some(RequestPolicy::AllNodes | RequestPolicy::AllShards), Some(merge)) => Route::Every(merge),
        (Some(RequestPolicy::MultiShard), Some(Merge::Append)) if is_split => Route::Split(Split::Elements),
        (Some(RequestPolicy::MultiShard), Some(Merge::Sum)) if is_split => Route::Split(Split::Count),
        // Over several slots it is refused.
        (Some(RequestPolicy::MultiShard), _) => Route::Keys,
        (Some(RequestPolicy::Special), _) | (Some(_), None) => Route::Refused(SPECIAL),
    }
}

/// The slots of a request's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence above each variant names its fields")]
pub enum Slots {
    /// It names no key.
    None,
    /// All of its keys are in this one; so many keys.
    One { slot: u16, keys: u32 },
    /// They are in several.
    Several,
}

/// Where the keys of a request are.
#[inline]
pub fn slots(spec: &Spec, args: Args<'_>) -> Slots {
    if spec.first_argument_is_only_key() {
        let key = args.get(usize::from(spec.name_words));
        return key.map_or(Slots::None, |key| Slots::One { slot: key_slot(key), keys: 1 });
    }
    slots_of_all(spec, args)
}

fn slots_of_all(spec: &Spec, args: Args<'_>) -> Slots {
    let mut found = Slots::None;
    spec.for_each_key(args, &mut |place, _| {
        let Some(slot) = args.get(place).map(key_slot) else { return };
        found = match found {
            Slots::None => Slots::One { slot, keys: 1 },
            Slots::One { slot: first, keys } if first == slot => Slots::One { slot, keys: keys + 1 },
            _ => Slots::Several,
        };
    });
    // A sharded channel is no key, and has a slot all the same.
    if found == Slots::None && spec.name() == "spublish" {
        return args.get(1).map_or(Slots::None, |channel| Slots::One { slot: key_slot(channel), keys: 1 });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Table;

    fn at(request: &str) -> (Route, Slots) {
        let table = Table::builtin();
        let words: Vec<&str> = request.split(' ').collect();
        let mut bytes = Vec::new();
        let spans: Vec<_> = words
            .iter()
            .map(|word| {
                let start = bytes.len() as u32;
                bytes.extend_from_slice(word.as_bytes());
                respguard_resp::request::Span { start, end: bytes.len() as u32 }
            })
            .collect();
        let args = Args::new(&bytes, &spans);
        let id = table.lookup(args);
        (Routes::of(&table).get(id.index()), slots(table.spec(id), args))
    }

    #[test]
    fn keys_say_where_a_request_goes() {
        let one = |key: &str, keys| Slots::One { slot: key_slot(key.as_bytes()), keys };
        assert_eq!(at("GET foo"), (Route::Keys, one("foo", 1)));
        assert_eq!(at("EVAL x 2 {a}1 {a}2 b"), (Route::Keys, one("a", 2)));
        assert_eq!(at("EVAL x 0 b"), (Route::Keys, Slots::None));
        assert_eq!(at("SUNIONSTORE a b"), (Route::Keys, Slots::Several));
        assert_eq!(at("XREAD COUNT 1 STREAMS s{a} t{a} 0 0"), (Route::Keys, one("a", 2)));
        assert_eq!(at("MGET a b"), (Route::Split(Split::Elements), Slots::Several));
        assert_eq!(at("MSETEX 2 a 1 b 2 EX 9"), (Route::Split(Split::CountedPairs), Slots::Several));
        assert_eq!(at("SPUBLISH foo m").1, one("foo", 1));
        assert_eq!(at("GET"), (Route::Keys, Slots::None));
        assert_eq!(at("PING"), (Route::Keys, Slots::None));
    }

    #[test]
    fn of_a_command_that_only_its_server_knows_the_tips_count() {
        let mut table = Table::builtin();
        let entry = |name: &str, flag: &str, (first, last): (i8, i8), tips: &[&str]| {
            let tips: String = tips.iter().map(|tip| format!("${}\r\n{tip}\r\n", tip.len())).collect();
            let count = tips.matches('$').count();
            let found = format!(
                "*1\r\n*6\r\n$5\r\nflags\r\n*1\r\n+RO\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n\
                 *2\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n\
                 *6\r\n$7\r\nlastkey\r\n:{last}\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n"
            );
            let keys = if first == 0 { "*0\r\n" } else { &found };
            format!(
                "*10\r\n${}\r\n{name}\r\n:-1\r\n*1\r\n+{flag}\r\n:{first}\r\n:{last}\r\n:1\r\n*0\r\n*{count}\r\n{tips}{keys}*0\r\n",
                name.len()
            )
        };
        let all = [
            entry("m.count", "readonly", (0, 0), &["request_policy:all_shards", "response_policy:agg_sum"]),
            entry("m.list", "readonly", (0, 0), &["request_policy:all_nodes"]),
            entry("m.walk", "readonly", (0, 0), &["request_policy:all_shards", "response_policy:special"]),
            entry("m.mget", "readonly", (1, -1), &["request_policy:multi_shard"]),
            entry("m.mdel", "write", (1, -1), &["request_policy:multi_shard", "response_policy:agg_sum"]),
            entry("m.get", "readonly", (1, 0), &["nondeterministic_output"]),
        ];
        table.merge(format!("*{}\r\n{}", all.len(), all.concat()).as_bytes()).expect("readable");
        let routes = Routes::of(&table);
        let of = |name: &str| routes.get(table.by_name(name).expect("it is known now").index());
        assert_eq!(of("m.count"), Route::Every(Merge::Sum));
        assert_eq!(of("m.list"), Route::Every(Merge::Append));
        assert_eq!(of("m.walk"), Route::Refused(SPECIAL));
        assert_eq!(of("m.mget"), Route::Split(Split::Elements));
        assert_eq!([of("m.mdel"), of("m.get")], [Route::Keys; 2]);
    }

    #[test]
    fn what_is_about_one_node_is_refused() {
        for request in ["SAVE", "DEBUG SLEEP 0", "CLUSTER FORGET x", "CLUSTER RESET", "MIGRATE h 1 k 0 1", "MONITOR"] {
            assert!(matches!(at(request).0, Route::Refused(_)), "{request}");
        }
    }
}
