//! What a client before a cluster is answered otherwise than by one server.

use respguard_engine::command::Spec;
use respguard_engine::route::place::{Slots, slots};
use respguard_resp::request::Args;

use super::likeness::Likeness;

/// What the proxy answers where a server without a cluster answers something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An error of the proxy's own, by name.
    Refused,
    /// An error that begins so.
    Error(&'static str),
    /// `+OK`.
    Accepted,
    /// What is alike in this respect.
    Like(Likeness),
    /// What is no error.
    Own,
}

/// Keys of several slots in a command that is not cut up.
pub const SEVERAL_SLOTS: &str = "keys of several slots";
const CROSSSLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";

const NODE: &str = "it is about one node";
const OTHER: &str = "there is one database";
const ONLY: &str = "cluster-aware clients see the proxy as the only node";
const FOLLOWS: &str = "what it follows happens on several nodes";

/// Commands, what they answer, and why. `*` stands for every subcommand.
pub const DIFFERENCES: &[(&str, Answer, &str)] = &[
    (SEVERAL_SLOTS, Answer::Error(CROSSSLOT), "nothing is done in several places at once"),
    ("asking", Answer::Accepted, ONLY),
    ("client", Answer::Refused, "nobody knows what it does to a connection that others share"),
    ("client caching", Answer::Refused, FOLLOWS),
    ("client import-source", Answer::Refused, NODE),
    ("client pause", Answer::Refused, NODE),
    ("client tracking", Answer::Refused, FOLLOWS),
    ("client unpause", Answer::Refused, NODE),
    ("cluster countkeysinslot", Answer::Own, ONLY),
    ("cluster countkeysinslot", Answer::Error("ERR Invalid slot"), ONLY),
    ("cluster getkeysinslot", Answer::Own, ONLY),
    ("cluster getkeysinslot", Answer::Error("ERR Invalid slot"), ONLY),
    ("cluster info", Answer::Own, ONLY),
    ("cluster keyslot", Answer::Own, ONLY),
    ("cluster myid", Answer::Own, ONLY),
    ("cluster nodes", Answer::Own, ONLY),
    ("cluster shards", Answer::Own, ONLY),
    ("cluster slots", Answer::Own, ONLY),
    ("cluster *", Answer::Refused, NODE),
    ("clusterscan", Answer::Error("ERR "), "a server without a cluster refuses it whatever it is asked"),
    ("copy", Answer::Error("ERR Copying to another database is not allowed in cluster mode"), OTHER),
    ("copy", Answer::Error("ERR DB index is out of range"), OTHER),
    ("debug *", Answer::Refused, NODE),
    ("failover", Answer::Refused, NODE),
    ("info", Answer::Like(Likeness::Kind), "numbers are those of all nodes together"),
    ("lastsave", Answer::Refused, NODE),
    ("memory doctor", Answer::Like(Likeness::Kind), "a node needs other memory"),
    ("memory stats", Answer::Like(Likeness::Kind), "a node needs other memory"),
    ("memory usage", Answer::Like(Likeness::Digits), "a node remembers more of each key"),
    ("migrate", Answer::Refused, NODE),
    ("module load", Answer::Refused, NODE),
    ("module loadex", Answer::Refused, NODE),
    ("module unload", Answer::Refused, NODE),
    ("move", Answer::Error("ERR MOVE is not allowed in cluster mode"), OTHER),
    ("move", Answer::Error("ERR DB index is out of range"), OTHER),
    ("pfselftest", Answer::Refused, NODE),
    ("readonly", Answer::Accepted, ONLY),
    ("readwrite", Answer::Accepted, ONLY),
    ("replconf", Answer::Refused, NODE),
    ("replicaof", Answer::Refused, NODE),
    ("restore-asking", Answer::Refused, "it is what nodes say to each other"),
    ("role", Answer::Like(Likeness::Digits), "each node counts the bytes of its own replication"),
    ("script debug", Answer::Refused, NODE),
    ("select", Answer::Error("ERR SELECT is not allowed in cluster mode"), OTHER),
    ("slaveof", Answer::Refused, NODE),
    ("sort", Answer::Error("ERR BY option of SORT denied in Cluster mode"), "its patterns may name keys of other slots"),
    ("sort", Answer::Error("ERR GET option of SORT denied in Cluster mode"), "its patterns may name keys of other slots"),
    ("sort_ro", Answer::Error("ERR BY option of SORT denied in Cluster mode"), "its patterns may name keys of other slots"),
    ("swapdb", Answer::Error("ERR SWAPDB is not allowed in cluster mode"), OTHER),
];

/// Rows that only servers newer than Redis 7.0 meet.
pub const NEWER: &[&str] = &["client import-source", "clusterscan", "memory doctor", "memory stats", "role"];

/// The same key, in the slot of all others that are named so.
pub fn tagged(key: &str) -> String {
    format!("{{t}}{key}")
}

/// The call with keys of one slot, where it has keys of several.
pub fn in_one_slot(spec: &Spec, args: Args<'_>) -> Option<Vec<Vec<u8>>> {
    if !is_over_slots(spec, args) {
        return None;
    }
    let mut words: Vec<Vec<u8>> = args.iter().map(<[u8]>::to_vec).collect();
    spec.for_each_key(args, &mut |place, _| {
        if let Some(word) = words.get_mut(place) {
            *word = tagged(&String::from_utf8_lossy(word)).into_bytes();
        }
    });
    Some(words)
}

pub fn is_over_slots(spec: &Spec, args: Args<'_>) -> bool {
    slots(spec, args) == Slots::Several
}

/// The row that says why these answers differ.
pub fn declared(name: &str, is_over_slots: bool, direct: &[Vec<u8>], proxied: &[Vec<u8>]) -> Option<&'static str> {
    let name = name.replace('|', " ");
    let container = format!("{} *", name.split(' ').next().unwrap_or_default());
    let is_about = |row: &str| row == name || row == container || row == SEVERAL_SLOTS && is_over_slots;
    let mut rows = DIFFERENCES.iter().filter(|row| is_about(row.0));
    rows.find(|row| row.1.is_what(direct, proxied)).map(|row| row.0)
}

impl Answer {
    fn is_what(self, direct: &[Vec<u8>], proxied: &[Vec<u8>]) -> bool {
        // One reply, and then the marker.
        let [said, _] = proxied else { return false };
        match self {
            Answer::Refused => said.starts_with(b"-ERR respguard: "),
            Answer::Error(text) => said.starts_with(format!("-{text}").as_bytes()),
            Answer::Accepted => said == b"+OK\r\n",
            Answer::Own => !said.starts_with(b"-"),
            Answer::Like(likeness) => {
                let seen = |answers: &[Vec<u8>]| answers.iter().map(|answer| likeness.view(answer)).collect::<Vec<_>>();
                seen(direct) == seen(proxied)
            }
        }
    }

    /// In the words of docs/transparency.md.
    pub fn as_str(self) -> String {
        match self {
            Answer::Refused => "refused by name".to_owned(),
            Answer::Error(text) => format!("`-{text}`"),
            Answer::Accepted => "`+OK`".to_owned(),
            Answer::Own => "an answer of the proxy's own".to_owned(),
            Answer::Like(likeness) => likeness.as_str().to_owned(),
        }
    }
}

#[test]
fn before_one_shard_every_command_answers_as_redis_does_or_as_declared() {
    super::compare(true, super::Sides::of_a_cluster(1, "", super::TIMES), "one shard, RESP3");
}

#[test]
fn before_three_shards_every_command_answers_as_redis_does_or_as_declared() {
    super::compare(false, super::Sides::of_a_cluster(3, "", super::TIMES), "three shards, RESP2");
}
