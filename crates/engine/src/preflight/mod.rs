//! Predicts whether a member of a group can fail while it runs, and which question about its keys decides it.
//!
//! Redis catches unknown commands, wrong numbers of arguments and missing permissions while a transaction is queued;
//! what is left are errors that depend on arguments and on what the keys hold
//! (<https://redis.io/docs/latest/develop/interact/transactions/>). [`examine`] reads the arguments, follows what each
//! member makes of its keys, and says what must be true of the keys *before* the group for no member to fail:
//! a [`Check`] for each question that costs the server O(1) or so.
//!
//! | file | holds |
//! |---|---|
//! | `syntax` | what can be said of arguments alone |
//! | `types` | what each key can be, by what it was before the group |
//! | `values` | numbers in strings and hash fields, as far as counting commands need them |
//! | `key_state` | what one key holds in the course of a group |
//! | `key_aliases` | which cell each key's name leads to |
//! | `question` | what can be asked about a key |
//! | `analysis` | one group being examined: its keys, its checks |
//! | `strings`, `keyspace`, `hashes`, `lists`, `sets`, `sorted_sets`, `streams` | the rows, one function for each command |
//! | `table` | the row of each command |
//! | `carried` | the same where other commands stand between the members |
//! | `fault` | what can be wrong with a member |
//! | `names` | names of keys of our own |
//! | `bulks` | arguments that are collected |
//! | `once` | the marker of a group that is applied once |
//! | `request` | what goes on the wire before the members |
//! | `rollback` | what is kept of the keys of a group that is rolled back |

mod analysis;
mod bulks;
mod carried;
mod fault;
mod hashes;
mod key_aliases;
mod key_state;
mod keyspace;
mod lists;
mod names;
pub mod once;
mod question;
pub mod request;
pub mod rollback;
mod sets;
mod sorted_sets;
mod streams;
mod strings;
mod syntax;
mod table;
mod types;
mod values;

use crate::command::{CommandId, Spec, Table};
use respguard_resp::request::Args;

pub use carried::{Carried, UNPREDICTABLE, examine_carried};
pub use fault::{Fault, wrong_arity};
pub use names::Names;
pub use once::{Duplicate, Once};
pub use question::{Asker, Check, Condition, Question, Requirement};
pub use request::{Ability, Preflight, Unsupported, Verdict};
pub use rollback::Rollback;
pub use types::Types;

use analysis::GroupAnalysis;

/// Why a group must not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The member that would fail, from 0.
    pub member: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// Whether some requests of this command can be predicted.
pub fn is_decidable(spec: &Spec) -> bool {
    table::rule_of(spec.name()).is_some()
}

/// What must be true before the group for none of its members to fail, in the order of the members.
///
/// # Errors
/// The first member that fails whatever the keys hold, or of which nothing can be told.
pub fn examine<'a>(
    table: &Table,
    members: impl Iterator<Item = (CommandId, Args<'a>)> + Clone,
) -> Result<Vec<Check<'a>>, Refusal> {
    examine_required(table, members, Vec::new())
}

/// The same where a rule requires something of the first keys of members: that is asked first, in the order of the members.
///
/// # Errors
/// As [`examine`], and where a member of which something is required names no key.
pub fn examine_required<'a>(
    table: &Table,
    members: impl Iterator<Item = (CommandId, Args<'a>)> + Clone,
    required: Vec<Option<Requirement<'a>>>,
) -> Result<Vec<Check<'a>>, Refusal> {
    let mut analysis = GroupAnalysis::default();
    if !required.is_empty() {
        require(&mut analysis, table, members.clone(), required)?;
    }
    if !members.clone().any(|(id, _)| table::counts_field(table.spec(id))) {
        analysis.ignore_fields();
    }
    examine_in(&mut analysis, table, members)?;
    Ok(analysis.take_checks())
}

/// What a rule requires, and nothing else: for members of which nothing need be predicted.
///
/// # Errors
/// Where a member of which something is required names no key.
pub fn only_required<'a>(
    table: &Table,
    members: impl Iterator<Item = (CommandId, Args<'a>)>,
    required: Vec<Option<Requirement<'a>>>,
) -> Result<Vec<Check<'a>>, Refusal> {
    let mut analysis = GroupAnalysis::default();
    require(&mut analysis, table, members, required)?;
    Ok(analysis.take_checks())
}

fn require<'a>(
    analysis: &mut GroupAnalysis<'a>,
    table: &Table,
    members: impl Iterator<Item = (CommandId, Args<'a>)>,
    required: Vec<Option<Requirement<'a>>>,
) -> Result<(), Refusal> {
    for (member, ((id, args), requirement)) in members.zip(required).enumerate() {
        let Some(requirement) = requirement else { continue };
        let asked = match first_key(table.spec(id), args) {
            Some(key) => analysis.requires(member, key, requirement),
            // Where its arguments are wrong, that is said of it.
            None if !table.spec(id).arity_fits(args) => Ok(()),
            None => Err(Fault::Undecided("something is required of its key, and it names none")),
        };
        asked.map_err(|fault| Refusal { member, fault })?;
    }
    Ok(())
}

/// The first key that the request names.
pub fn first_key<'a>(spec: &Spec, args: Args<'a>) -> Option<&'a [u8]> {
    let mut first = None;
    spec.for_each_key(args, &mut |place, _| first = first.or(args.get(place)));
    first
}

fn examine_in<'a>(
    analysis: &mut GroupAnalysis<'a>,
    table: &Table,
    members: impl Iterator<Item = (CommandId, Args<'a>)>,
) -> Result<(), Refusal> {
    for (member, (id, args)) in members.enumerate() {
        let spec = table.spec(id);
        analysis.begin(member, args);
        let fault = match table::rule(id) {
            _ if !spec.arity_fits(args) => Err(Fault::Certain(wrong_arity(spec))),
            Some(rule) if spec.present => rule(analysis),
            _ => Err(Fault::Undecided("nothing can be told of this command before it runs")),
        };
        fault.map_err(|fault| Refusal { member, fault })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::types::Types;
    use super::*;
    use crate::command::written::WrittenRequest;

    /// The checks of a group, as `member:key:question`.
    fn checks(lines: &[&str]) -> Result<Vec<String>, Refusal> {
        let table = Table::builtin();
        let requests: Vec<_> = lines.iter().map(|line| WrittenRequest::new(line)).collect();
        let members = requests.iter().map(WrittenRequest::args).map(|args| (table.lookup(args), args));
        let checks = examine(&table, members)?;
        let show = |check: &Check<'_>| {
            let question = match &check.question {
                Question::Required(requirement) => requirement.text.to_string(),
                Question::Not { types, .. } => {
                    let fine = Types::ALL.without(*types);
                    fine.each().map(|one| one.word().unwrap_or("other")).collect::<Vec<_>>().join("|")
                }
                other => format!("{other:?}"),
            };
            format!("{}:{}:{question}", check.member, String::from_utf8_lossy(check.key))
        };
        Ok(checks.iter().map(show).collect())
    }

    fn refused(lines: &[&str]) -> (usize, String) {
        let refusal = checks(lines).expect_err("it is refused");
        match refusal.fault {
            Fault::Certain(error) => (refusal.member, error.into_owned()),
            Fault::Undecided(why) => (refusal.member, format!("undecided: {why}")),
        }
    }

    #[test]
    fn what_is_required_is_asked_before_all_else_about_the_first_key() {
        let table = Table::builtin();
        let requests = ["DEL a b", "INCR c", "PING", "DEL"].map(WrittenRequest::new);
        let members = |places: &[usize]| {
            let args: Vec<_> = places.iter().map(|&place| requests[place].args()).collect();
            args.into_iter().map(|args| (table.lookup(args), args))
        };
        let exists = || Requirement { condition: Condition::Type(Types::ALL.without(Types::NONE)), text: "exists".into() };
        let checks = examine_required(&table, members(&[1, 0]), vec![None, Some(exists())]).expect("it can be asked");
        assert_eq!(checks.iter().map(|check| (check.member, check.key)).collect::<Vec<_>>(), [(1, &b"a"[..]), (0, b"c")]);
        let refused =
            |places: &[usize]| examine_required(&table, members(places), vec![Some(exists())]).expect_err("no key").fault;
        assert!(matches!(refused(&[2]), Fault::Undecided(_)));
        assert!(matches!(refused(&[3]), Fault::Certain(_)));
    }

    #[test]
    fn each_key_is_asked_about_once_for_its_type() {
        let lines = ["SETEX rt:u:t 60 v", "SADD sess:u t", "EXPIRE sess:u 60", "SMEMBERS sess:u"];
        assert_eq!(checks(&lines), Ok(vec!["1:sess:u:none|set".to_owned()]));
        assert_eq!(checks(&["SET a 1", "DEL b", "EXPIRE a 5"]), Ok(vec![]), "nothing here can fail");
    }

    #[test]
    fn a_question_about_the_content_asks_for_the_type_too() {
        assert_eq!(
            checks(&["INCR c"]),
            Ok(vec!["0:c:Integer { above: 9223372036854775806, below: 9223372036854775808 }".to_owned()])
        );
        let twice = Ok(vec!["0:c:Integer { above: 9223372036854775806, below: 9223372036854775798 }".to_owned()]);
        assert_eq!(checks(&["INCR c", "DECRBY c 10"]), twice, "both have room");
        assert_eq!(checks(&["LSET l 1 x"]), Ok(vec!["0:l:Elements { least: 2 }".to_owned()]));
        assert_eq!(checks(&["RPUSH l a b", "LSET l 1 x"]), Ok(vec!["0:l:none|list".to_owned()]));
    }

    #[test]
    fn what_a_member_retypes_is_known_to_those_behind_it() {
        assert_eq!(checks(&["SET k v", "GET k", "APPEND k x"]), Ok(vec![]));
        assert_eq!(checks(&["DEL k", "LPUSH k a", "LLEN k"]), Ok(vec![]));
        assert_eq!(refused(&["SET k v", "LPUSH k a"]), (1, fault::WRONG_TYPE.to_owned()));
        assert_eq!(refused(&["LPUSH k a", "INCR k"]).0, 1);
        assert_eq!(checks(&["SET c 5", "INCR c"]), Ok(vec![]));
        assert_eq!(refused(&["SET c five", "INCR c"]).1, syntax::NOT_AN_INTEGER);
        assert_eq!(
            checks(&["RENAME a b", "LPUSH b x"]),
            Ok(vec!["0:a:string|list|set|zset|hash|stream|other".to_owned(), "1:a:none|list".to_owned()])
        );
        assert_eq!(refused(&["RENAME a b", "RENAME a c"]), (1, analysis::NO_SUCH_KEY.to_owned()));
    }

    #[test]
    fn wrong_arguments_are_refused_with_redis_own_words() {
        for (line, error) in [
            ("SET k v EX 0", "ERR invalid expire time in 'set' command"),
            ("SET k v NX XX", syntax::SYNTAX),
            ("EXPIRE k x", syntax::NOT_AN_INTEGER),
            ("INCRBY k 1.5", syntax::NOT_AN_INTEGER),
            ("HSET h f", "ERR wrong number of arguments for 'hset' command"),
            ("HSET h f v g", "ERR wrong number of arguments for 'hset' command"),
            ("ZADD z one m", syntax::NOT_A_FLOAT),
            ("XADD s 0-0 f v", "ERR The ID specified in XADD must be greater than 0-0"),
            ("GEOADD g 200 0 m", "ERR invalid longitude,latitude pair 200.000000,0.000000"),
            ("LPOP l -1", syntax::NOT_POSITIVE),
            ("SINTERCARD 0 a", "ERR numkeys should be greater than 0"),
        ] {
            assert_eq!(refused(&["DEL x", line]), (1, error.to_owned()), "{line}");
        }
    }

    #[test]
    fn what_nobody_can_predict_is_refused_as_such() {
        for lines in
            [&["SORT l"][..], &["EVAL x 0"], &["APPEND k x", "INCR k"], &["COPY a b", "INCR b"], &["LTRIM l 0 1", "LSET l 0 x"]]
        {
            assert!(refused(lines).1.starts_with("undecided"), "{lines:?}");
        }
    }

    #[test]
    fn groups_of_a_stream_are_followed() {
        let group = "XGROUP CREATE s g $ MKSTREAM";
        assert_eq!(checks(&[group, "XREADGROUP GROUP g c STREAMS s >"]).map(|checks| checks.len()), Ok(1));
        assert_eq!(refused(&[group, group]).1, "BUSYGROUP Consumer Group name already exists");
        assert_eq!(refused(&["DEL s", "XREADGROUP GROUP g c STREAMS s >"]).0, 1);
        assert_eq!(checks(&["XADD s 5-1 f v", "XADD s 5-2 f v"]).map(|checks| checks.len()), Ok(1));
        assert_eq!(refused(&["XADD s 5-1 f v", "XADD s 5-1 f v"]).0, 1);
    }

    #[test]
    fn behind_the_last_possible_id_a_stream_gives_none() {
        let last = "XADD s 18446744073709551615-18446744073709551615 f v";
        let before = "XADD s 18446744073709551615-18446744073709551614 f v";
        for next in ["XADD s * f v", last, "XADD s 7-* f v"] {
            assert_eq!(refused(&[last, next]), (1, analysis::NO_MORE_IDS.to_owned()), "{next}");
        }
        assert!(checks(&[before, "XADD s * f v"]).is_ok(), "it gives the last one");
        assert_eq!(refused(&[before, "XADD s * f v", "XADD s * f v"]).0, 2);
        assert_eq!(refused(&["XADD s 18446744073709551615-* f v", "XADD s * f v"]).0, 1, "it may be the last one");
        assert!(checks(&["XADD s 5-18446744073709551615 f v", "XADD s * f v", "XADD s * f v"]).is_ok());
    }

    #[test]
    fn no_more_keys_are_asked_about_than_a_server_compares_quickly() {
        let many = |command: &str, count: usize| (0..count).fold(command.to_owned(), |line, key| format!("{line} k:{key}"));
        assert_eq!(checks(&[&many("SUNIONSTORE d", analysis::KEYS_MAX)]).map(|checks| checks.len()), Ok(analysis::KEYS_MAX));
        let refusal = refused(&["DEL x", &many("SUNIONSTORE d", analysis::KEYS_MAX + 1)]);
        assert_eq!(refusal, (1, "undecided: the group would have to ask about more than 256 keys".to_owned()));
        assert_eq!(checks(&[&many("DEL", 40_000)]), Ok(vec![]), "nothing is asked");
        assert!(checks(&[&many("SADD s", 40_000), &many("HDEL h", 40_000), &many("SREM s", 40_000)]).is_ok(), "two keys");
    }

    #[test]
    fn an_option_that_redis_takes_once_is_refused_the_second_time() {
        for line in [
            "XADD s MAXLEN 5 MAXLEN 6 * f v",
            "XADD s MAXLEN 5 MINID 6 * f v",
            "XTRIM s MAXLEN 5 MAXLEN 6",
            "ZRANGE z 0 1 REV REV",
            "ZRANGESTORE d z 0 1 BYSCORE BYSCORE",
            "ZRANGESTORE d z [a [b BYLEX BYLEX",
            "XGROUP CREATE s g $ ENTRIESREAD 1 ENTRIESREAD 2",
        ] {
            assert_eq!(refused(&["DEL x", line]).0, 1, "{line}");
        }
    }
}
