//! Checks the text of explanations.

use std::path::Path;

use super::*;
use crate::config;

const LOGIN: &str = r#"
[[group]]
name = "login"
commands = ["SETEX rt:{user}:{token} {ttl} *", "SADD sess:{user} {token}"]
"#;

const EXPIRING: &str = r#"
[[ttl]]
name = "sessions"
keys = ["s:*"]
max = "1h"
"#;

fn explained(rules: &str, input: &str) -> String {
    let table = Table::builtin();
    let config = config::read(rules, Path::new("rules.toml"), &table, &|_| None).expect("the rules are good");
    explain(&config, &table, input.into(), Form::Whole).expect("the input is good")
}

/// The lines without their indentation.
fn lines(rules: &str, input: &str) -> Vec<String> {
    explained(rules, input).lines().map(|line| line.trim_start().to_owned()).collect()
}

fn has(lines: &[String], wanted: &str) -> bool {
    lines.iter().any(|line| line == wanted)
}

const SHARED: &str = "unchanged, on a shared connection; replies as the server gives them:";
const OWN: &str = "unchanged, on the client's own connection; replies as the server gives them:";

#[test]
fn plain_commands_go_out_as_they_are() {
    assert_eq!(
        explained("", "GET a\nSET a 1"),
        "batch 1, line 1:\n  unchanged, on a shared connection; replies as the server gives them:\n    1   GET a\n    2   SET a 1\n"
    );
}

#[test]
fn a_blank_line_begins_the_next_batch() {
    let lines = lines("", "GET a\n\nGET b\n");
    assert_eq!(lines, ["batch 1, line 1:", SHARED, "1   GET a", "", "batch 2, line 3:", SHARED, "1   GET b"]);
}

#[test]
fn a_group_is_told_with_its_captures_and_what_goes_on_the_wire() {
    let lines = lines(LOGIN, "GET a\nSETEX rt:u:t 60 v\nSADD sess:u t\nGET b");
    assert_eq!(
        lines,
        [
            "batch 1, line 1:",
            SHARED,
            "1   GET a",
            "group login (transaction), on a shared connection:",
            "captures: user = u, token = t, ttl = 60",
            "on the wire, in one write: MULTI, 2-3, EXEC",
            "2   SETEX rt:u:t 60 v",
            "3   SADD sess:u t",
            "replies: each member, its own element of the array that EXEC answers",
            "if nothing is applied: every member answers an error; reported as aborted",
            "if some members fail: the replies stay as they are (on_partial = report); reported as partial_failure",
            SHARED,
            "4   GET b",
        ]
    );
}

#[test]
fn a_group_that_fails_on_partial_says_so() {
    let lines = lines(&format!("{LOGIN}on_partial = \"fail\""), "SETEX rt:u:t 60 v\nSADD sess:u t");
    assert!(has(&lines, "if some members fail: every member answers PARTIAL (on_partial = fail); reported as partial_failure"));
}

#[test]
fn a_group_that_is_only_observed_says_why() {
    let input = "SETEX rt:u:t 60 v\nSADD sess:u t";
    let by_level = lines(&format!("{LOGIN}atomic = \"observe\""), input);
    assert!(has(&by_level, "group login (observe), on a shared connection:"));
    assert!(has(&by_level, "on the wire: unchanged, because atomic = observe"));
    let by_mode = lines(&format!("mode = \"observe\"\n{LOGIN}"), input);
    assert!(has(&by_mode, "on the wire: unchanged, because mode = observe"));
}

#[test]
fn a_run_of_commands_is_told_with_the_patterns_of_its_keys() {
    let lines = lines("[[group]]\nname = \"blob\"\nkeys = [\"blobs:*\"]", "HSET blobs:1 a b\nDEL blobs:1 blobs:2");
    assert!(has(&lines, "key: blobs:1 matches blobs:*") && has(&lines, "key: blobs:2 matches blobs:*"), "{lines:?}");
}

#[test]
fn what_is_nearly_a_group_is_told_with_the_member_that_is_missing() {
    let told = |second: &str| lines(LOGIN, &format!("SETEX rt:u:t 60 v\n{second}\nGET a"));
    let missing = "not group login: 1 would fit, then `SADD sess:{user} {token}` is missing:";
    assert!(has(&told("SADD sess:other t"), &format!("{missing} {{user}} is u so far and other in 2")));
    assert!(has(&told("GET b"), &format!("{missing} 2 is another command")));
    assert!(has(&told("SADD s t"), &format!("{missing} the arguments of 2 have another form")));
    assert!(!explained(LOGIN, "GET a\nSADD sess:u t").contains("not group"), "they begin no group");
}

#[test]
fn the_beginning_of_a_group_at_the_end_is_held() {
    let begun = lines(LOGIN, "GET a\nSETEX rt:u:t 60 v");
    assert!(has(&begun, "2: held, because this begins group login"), "{begun:?}");
    assert!(has(&begun, "reported as split if the rest has not come:"));
    let never = explained(&format!("[pipeline]\nhold_ms = 0\n{LOGIN}"), "SETEX rt:u:t 60 v");
    assert!(!never.contains("held") && never.contains("nothing more came in this batch"), "{never}");
}

#[test]
fn an_own_transaction_passes_and_no_group_is_looked_for_in_it() {
    let lines = lines(LOGIN, "MULTI\nSETEX rt:u:t 60 v\nSADD sess:u t\nEXEC");
    assert_eq!(
        lines,
        [
            "batch 1, line 1:",
            SHARED,
            "1   MULTI",
            "reply: the server's reply; the client's own transaction begins",
            "2   SETEX rt:u:t 60 v",
            "reply: the server's reply, in the client's own transaction",
            "3   SADD sess:u t",
            "reply: the server's reply, in the client's own transaction",
            "4   EXEC",
            "reply: the server's reply; the client's own transaction ends",
        ]
    );
}

#[test]
fn a_transaction_in_two_batches_pins_until_its_exec() {
    let lines = lines("", "MULTI\n\nSET a 1\nEXEC\n\nGET a");
    assert!(lines[1].starts_with("1 (MULTI) pins the client: transaction"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| *line == OWN).count(), 2);
    let back = "back on a shared connection: nothing keeps the client on its own";
    assert_eq!(lines[lines.len() - 3..], [back, SHARED, "1   GET a"]);
}

#[test]
fn a_group_within_a_watch_is_left_alone() {
    let lines = lines(LOGIN, "WATCH k\nSETEX rt:u:t 60 v\nSADD sess:u t");
    let why = "on the wire: unchanged, because the client's own WATCH is in force, which a transaction would use up; reported as unwrapped";
    assert!(has(&lines, why), "{lines:?}");
}

#[test]
fn a_subscriber_waits_for_its_confirmation_where_what_follows_depends_on_it() {
    for rest in ["MONITOR", "SETEX rt:u:t 60 v\nSADD sess:u t", "BLPOP a 0"] {
        let lines = lines(LOGIN, &format!("SUBSCRIBE a\n{rest}"));
        assert!(lines.iter().any(|line| line.contains("(MONITOR) pins") || line.starts_with("unchanged")), "{lines:?}");
    }
    let lines = lines(LOGIN, "HELLO 3\nSUBSCRIBE a\nSETEX rt:u:t 60 v\nSADD sess:u t");
    assert!(has(&lines, "group login (transaction), on the client's own connection:"), "{lines:?}");
}

#[test]
fn a_key_that_must_expire_is_told_with_its_rule_and_the_question_about_it() {
    let lines = lines(EXPIRING, "SET s:1 v\nSET other v");
    assert_eq!(
        lines,
        [
            "batch 1, line 1:",
            "before it, by the proxy itself:",
            "PTTL s:1",
            "reply: not for the client: the proxy keeps the reply",
            "why: to know which TTL SET drops (rule sessions, action = flag, mode = enforce)",
            SHARED,
            "1   SET s:1 v",
            "ttl of s:1: dropped; a new key has none (rule sessions, s:*)",
            "2   SET other v",
            "after it, by the proxy itself:",
            "PTTL s:1",
            "reply: not for the client: the proxy keeps the reply",
            "why: SET may leave the key without the TTL (rule sessions, action = flag, mode = enforce)",
            "if it has none: asked again 1s later, and reported as ttl_missing, as ttl_dropped if it had one before, \
             as ttl_late if it has one by then",
            "if it is above 3600s: reported as ttl_too_long",
        ]
    );
}

#[test]
fn a_ttl_that_the_command_sets_needs_no_question() {
    let lines = lines(EXPIRING, "SET s:1 v EX 60");
    assert!(has(&lines, "ttl of s:1: set to 60s (rule sessions, s:*)"));
    assert!(!lines.iter().any(|line| line.starts_with("PTTL")));
}

#[test]
fn a_pinning_command_is_told_with_its_reason_and_how_long() {
    let blocking = lines("", "GET a\nBLPOP l 0\nGET b\n\nGET c");
    assert!(has(&blocking, "2 (BLPOP) pins the client: blocking"));
    assert_eq!(blocking.last().map(String::as_str), Some("1   GET c"));
    assert_eq!(blocking.iter().filter(|line| *line == SHARED).count(), 2);
    let lasting = lines("", "CLIENT TRACKING ON\n\nGET c");
    assert!(has(&lasting, "1 (CLIENT TRACKING) pins the client: exclusive, tracking"));
    assert!(!has(&lasting, SHARED));
}

#[test]
fn a_wait_is_told_with_what_goes_before_it() {
    let lines = lines("", "SET a 1\nWAIT 1 100");
    let own = ["by the proxy itself:", "PING", "reply: not for the client: nobody needs it"];
    assert!(has(&lines, "2 (WAIT) pins the client: blocking, wait"));
    assert!(lines.windows(3).any(|part| part == own), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("2   WAIT 1 100"));
}

#[test]
fn behind_monitor_bytes_pass_unread() {
    let lines = lines("", "GET a\nMONITOR\nGET b\n\nGET c");
    assert!(has(&lines, "2 (MONITOR) pins the client: tunnel"));
    assert!(has(&lines, "from 2 on: passed on as bytes, as are all replies"));
    assert_eq!(lines.last().map(String::as_str), Some("from 1 on: passed on as bytes, as are all replies"));
}

#[test]
fn a_subscriber_comes_back_after_its_last_unsubscribe() {
    let lines = lines("", "SUBSCRIBE a b\n\nUNSUBSCRIBE a\n\nGET x\n\nUNSUBSCRIBE\n\nGET y");
    assert!(has(&lines, "1 (SUBSCRIBE) pins the client: subscription"));
    assert!(has(&lines, "reply: the server's confirmations, 2 in all"));
    assert_eq!(lines[lines.len() - 2..], [SHARED, "1   GET y"]);
    assert_eq!(lines.iter().filter(|line| *line == SHARED).count(), 1);
}

#[test]
fn what_the_proxy_answers_is_not_sent() {
    let told = lines("", "CLIENT SETINFO lib-name x\nQUIT\nGET a");
    assert_eq!(
        told,
        [
            "batch 1, line 1:",
            "answered over the clients of the proxy, if the server allows it to this client:",
            "1   CLIENT SETINFO lib-name x",
            "reply: the proxy's own reply; the proxy notes it about this client",
            "not sent:",
            "2   QUIT",
            "reply: the proxy's own reply: OK, and the connection is closed",
            "from 3 on: not read: the client has gone",
        ]
    );
    assert_eq!(lines("", "QUIT\n").len(), 4, "nothing is left that would not be read");
}

#[test]
fn passwords_are_not_shown() {
    let text = explained("", "AUTH joe secret\nHELLO 3 AUTH joe secret\nSELECT 2");
    assert!(!text.contains("secret"), "{text}");
    assert!(text.contains("moves the client to connections with user joe, RESP3:"), "{text}");
    assert!(text.contains("moves the client to connections with db 2:"), "{text}");
}

#[test]
fn inline_requests_are_unquoted_as_redis_does_and_shown_as_they_are_typed() {
    let lines = lines("", "set 'a b' \"\\x00c\"\n*2\r\n$3\r\nGET\r\n$3\r\na b\r\n");
    assert_eq!(lines[2..], ["1   set \"a b\" \"\\x00c\"", "2   GET \"a b\""]);
}

#[test]
fn long_values_are_shortened() {
    let lines = lines("", &format!("SET a {}", "x".repeat(1000)));
    assert_eq!(lines[2], format!("1   SET a {}...(1000 bytes)", "x".repeat(40)));
}

#[test]
fn batches_of_more_commands_than_are_planned_at_once_are_told_to_their_end() {
    let input = format!("{}SETEX rt:u:t 60 v\nSADD sess:u t\n", "GET a\n".repeat(4095));
    let lines = lines(LOGIN, &input);
    assert!(has(&lines, "on the wire, in one write: MULTI, 4096-4097, EXEC"));
}

#[test]
fn without_sharing_the_client_is_on_its_own_from_the_start() {
    let lines = lines("[upstream]\nsharing = \"never\"", "GET a\n\nRESET\nGET b");
    assert_eq!(lines[0], "sharing = never: the client has a connection of its own");
    assert_eq!(lines.iter().filter(|line| *line == OWN).count(), 2);
}

#[test]
fn input_that_is_no_request_is_refused_with_its_line() {
    let error = explain(&Config::default(), &Table::builtin(), b"GET a\n\nGET \"b\n".to_vec(), Form::Whole).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "3: Protocol error: unbalanced quotes in request (expected a closing quote, and a blank or the line's end behind it)"
    );
}

/// Reads of clients, as a recording: microseconds, client, bytes.
fn recorded(reads: &[(u64, u64, &str)]) -> String {
    let mut text = format!("{}\n", format::FIRST_LINE).into_bytes();
    for (at, client, bytes) in reads {
        let event = format::Event::Read(bytes.as_bytes().to_vec());
        format::write(&format::Entry { at: std::time::Duration::from_micros(*at), client: *client, event }, &mut text);
    }
    String::from_utf8(text).expect("text")
}

const WRAPPED: &str = "on the wire, in one write: MULTI, 1-2, EXEC";

#[test]
fn recorded_reads_of_one_client_make_a_group_when_the_second_comes_while_the_first_is_held() {
    let (first, second) = ("SETEX rt:u:t 60 v\n", "SADD sess:u t\n");
    let lines = lines(LOGIN, &recorded(&[(1000, 7, first), (3000, 7, second)]));
    assert!(has(&lines, "1: held, because this begins group login"), "{lines:#?}");
    assert!(has(&lines, "more comes after 2ms, in time") && has(&lines, WRAPPED), "{lines:#?}");
    assert!(has(&lines, "the recording is cut off: its last line is missing"));
}

#[test]
fn recorded_reads_that_lie_further_apart_than_a_hold_are_no_group() {
    let (first, second) = ("SETEX rt:u:t 60 v\n", "SADD sess:u t\n");
    let lines = lines(LOGIN, &recorded(&[(1000, 7, first), (3001, 7, second)]));
    assert!(has(&lines, "1: held, because this begins group login"), "{lines:#?}");
    assert!(!has(&lines, WRAPPED), "{lines:#?}");
    assert!(has(&lines, "1   SETEX rt:u:t 60 v") && has(&lines, "2   SADD sess:u t"), "{lines:#?}");
}

#[test]
fn a_recorded_client_that_sends_one_command_after_the_other_is_not_waited_for_for_ever() {
    let (first, second) = ("SETEX rt:u:t 60 v\n", "SADD sess:u t\n");
    let reads: Vec<_> = (0..4).flat_map(|at| [(at * 200_000, 7, first), (at * 200_000 + 100_000, 7, second)]).collect();
    let lines = lines(LOGIN, &recorded(&reads));
    let held = lines.iter().filter(|line| line.ends_with(": held, because this begins group login")).count();
    assert_eq!(held, 3, "{lines:#?}");
    assert!(has(&lines, "goes on with group login after the answer, for the third time: reported as sequential"), "{lines:#?}");
}

#[test]
fn recorded_clients_are_told_apart_in_the_order_of_time() {
    let (first, second) = ("SETEX rt:u:t 60 v\n", "SADD sess:u t\n");
    let lines = lines(LOGIN, &recorded(&[(1000, 7, first), (2000, 8, second), (1500, 9, "GET a\n")]));
    assert!(!has(&lines, WRAPPED), "{lines:#?}");
    let told: Vec<_> = lines.iter().filter(|line| line.starts_with("client ")).collect();
    assert_eq!(told, ["client 7, at 1.000 ms:", "client 9, at 1.500 ms:", "client 8, at 2.000 ms:"]);
}

#[test]
fn a_recorded_request_in_two_reads_is_one() {
    let lines = lines("", &recorded(&[(0, 1, "GET a\nSET b"), (90_000, 1, "c d\n")]));
    assert!(has(&lines, "2 has begun: 5 bytes of it are there") && has(&lines, "2   SET bc d"), "{lines:#?}");
}

#[test]
fn a_recording_that_is_wrong_is_refused_with_its_line() {
    let table = Table::builtin();
    let config = Config::default();
    let text = format!("{}jump 1 2 3\n", recorded(&[(0, 1, "GET a\n")]));
    let error = explain(&config, &table, text.into_bytes(), Form::Whole).expect_err("refused").to_string();
    assert!(error.starts_with("5: ") && error.contains("expected"), "{error}");
}

const SINGLE: &str = r#"
[[guard]]
name = "no-keys"
commands = ["KEYS *"]
action = "reject"

[[expect]]
name = "deleted"
command = "DEL rt:*"
reply = ">= 1"

[[ttl]]
name = "counters"
keys = ["n:*"]
action = "fix"
default = "1h"
keep = true
"#;

#[test]
fn what_rules_refuse_is_not_sent_and_what_they_expect_is_told() {
    let lines = lines(SINGLE, "KEYS *\nDEL rt:1\nMULTI\nKEYS *\nEXEC");
    let refused = "-ERR respguard: KEYS is refused by guard no-keys: the command is not allowed";
    assert!(has(&lines, &format!("reply: {refused}")), "{lines:#?}");
    assert!(has(&lines, "expect deleted: >= 1 (action = flag, mode = enforce)"), "{lines:#?}");
    assert!(has(&lines, &format!("in its place: GET without a key, and {refused}")), "{lines:#?}");
}

#[test]
fn a_write_with_a_ttl_fix_is_told_with_what_goes_out() {
    let lines = lines(SINGLE, "INCR n:1\nSET n:2 x");
    assert!(has(&lines, "in a transaction of the proxy's own, on a shared connection:"), "{lines:#?}");
    assert!(has(&lines, "before EXEC, by the proxy itself: PEXPIRE n:1 3600000 NX"), "{lines:#?}");
    assert!(has(&lines, "on the wire: SET n:2 x KEEPTTL"), "{lines:#?}");
}

#[test]
fn many_small_batches_take_no_longer_than_their_bytes() {
    let batches = |count: usize| "GET a\n\n".repeat(count);
    let time = |count: usize| {
        let begun = Instant::now();
        explained("", &batches(count));
        begun.elapsed()
    };
    let (few, many) = (time(10_000), time(80_000));
    assert!(many < few * 40, "{few:?} for 10,000 batches, {many:?} for 80,000");
}

#[test]
fn a_summary_counts_what_is_done_and_a_quiet_explanation_leaves_out_what_passes() {
    let table = Table::builtin();
    let config = config::read(LOGIN, Path::new("rules.toml"), &table, &|_| None).expect("the rules are good");
    let shown = |form| {
        let input = "GET a\n\nSETEX rt:u:t 60 v\nSADD sess:u t\n\nGET b\nGET c\n\nBLPOP q 1\n";
        explain(&config, &table, input.into(), form).expect("the input is good")
    };
    let quiet = shown(Form::Quiet);
    assert!(quiet.starts_with("batch 2, line 3:\n") && quiet.contains("\n\nbatch 4, line 9:\n"), "{quiet}");
    assert!(!quiet.contains("GET a") && !quiet.contains("GET b"), "{quiet}");
    let summary = shown(Form::Summary);
    for line in [
        "sent unchanged: 3 times, 4 commands",
        "sent as a transaction (login): 1 time, 2 commands",
        "pins the client (blocking): 1 time, 1 command",
    ] {
        assert!(summary.lines().any(|shown| shown == line), "{line} in {summary}");
    }
    let json: serde_json::Value = serde_json::from_str(&shown(Form::Json)).expect("JSON");
    let rows = json["summary"].as_array().expect("rows");
    assert_eq!(rows.len(), summary.lines().count());
    assert!(rows.iter().any(|row| row["by"] == "login" && row["commands"] == 2), "{json}");
}

#[test]
fn a_recording_has_one_line_for_each_command_unless_more_is_asked_for() {
    let table = Table::builtin();
    let config = config::read(LOGIN, Path::new("rules.toml"), &table, &|_| None).expect("the rules are good");
    let recording = recorded(&[
        (500, 7, "CLIENT SETINFO LIB-NAME ioredis\n"),
        (1000, 7, "GET a\nSETEX rt:u:t 60 v\nSADD sess:u t\n"),
        (2000, 8, "BLPOP q 1\n"),
    ]);
    assert_eq!((usual_form(recording.as_bytes()), usual_form(b"GET a\n")), (Form::Lines, Form::Whole));
    let text = explain(&config, &table, recording.into(), Form::Lines).expect("the input is good");
    let lines: Vec<_> = text.lines().collect();
    for line in [
        "client 7, at 1.000 ms: 2   GET a  -> sent unchanged",
        "client 7, at 1.000 ms: 3   SETEX rt:u:t 60 v  -> sent as a transaction (login)",
        "client 7, at 1.000 ms: 4   SADD sess:u t  -> sent as a transaction (login)",
    ] {
        assert_eq!(lines.iter().filter(|shown| **shown == line).count(), 1, "{line} in {text}");
    }
    for command in ["CLIENT SETINFO", "GET a", "SETEX", "SADD", "BLPOP q 1"] {
        assert_eq!(lines.iter().filter(|line| line.contains(&format!("   {command}"))).count(), 1, "{command} in {text}");
    }
    assert!(text.contains("client 7, at 0.500 ms: the client library is ioredis: an error of a group is the first of each pair"));
    assert!(lines.iter().all(|line| !line.is_empty() && !line.starts_with(' ')), "{text}");
    let summary = explain(&config, &table, recorded(&[(0, 1, "CLIENT SETINFO LIB-NAME redis-py\n")]).into(), Form::Summary);
    assert!(summary.expect("good").contains("client library (redis-py): 1 time, 1 command"));
}

#[test]
fn before_a_cluster_it_is_said_where_commands_go_and_which_are_refused() {
    let cluster = "[upstream]\ncluster = [\"127.0.0.1:1\"]\n";
    let input =
        "GET a\nMGET a b\nMSET a 1 b 2\nRENAME a b\nDBSIZE\nSCAN 0\nSCRIPT KILL\nPING\nCLUSTER SLOTS\nSAVE\nMONITOR\nGET a\n";
    let lines = lines(cluster, input);
    let expected = [
        "batch 1, line 1:",
        "unchanged, on shared connections to the nodes; replies as the server gives them:",
        "1   GET a   (slot 15495)",
        "2   MGET a b   (keys of several slots: split, replies merged, not atomic)",
        "3   MSET a 1 b 2   (refused with CROSSSLOT: keys of several slots)",
        "4   RENAME a b   (refused with CROSSSLOT: keys of several slots)",
        "5   DBSIZE   (every primary, and their replies merged)",
        "6   SCAN 0   (one primary after the other)",
    ];
    assert_eq!(lines[..expected.len()], expected);
    for wanted in [
        "7   SCRIPT KILL   (every primary, one is enough)",
        "8   PING   (one primary)",
        "9   CLUSTER SLOTS   (answered by the proxy, as the only node)",
        "10  SAVE   (refused: it is about one node of the cluster: ask the node itself)",
        "11  MONITOR   (refused: it is not done on a cluster: what it follows happens on several nodes)",
        "reply: the proxy's own reply: an error",
        "12  GET a   (slot 15495)",
    ] {
        assert!(has(&lines, wanted), "{wanted} in {lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.contains("pins the client")), "{lines:#?}");
    let split = self::lines(&format!("{cluster}split_writes = true\n"), "MSET a 1 b 2\n");
    assert!(split[2].contains("keys of several slots: split, not atomic"), "{split:#?}");
}
