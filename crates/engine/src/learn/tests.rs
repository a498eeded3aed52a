//! Checks the proposals for traffic of known shape.

use std::time::Duration;

use super::Learner;
use crate::command::Table;
use respguard_resp::encode;

fn requests(lines: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        encode::request(&mut out, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    }
    out
}

/// Each burst is one read of one client, ten milliseconds after the one before.
fn proposed(bursts: &[Vec<String>]) -> String {
    let mut learner = Learner::new(Table::builtin());
    for (at, burst) in bursts.iter().enumerate() {
        learner.read(1, Duration::from_millis(10 * at as u64), &requests(burst));
    }
    learner.propose()
}

fn login(user: &str, token: &str) -> Vec<String> {
    vec![
        format!("SETEX rt:{user}:{token} 900 secret-value"),
        format!("SADD sess:{user} {token}"),
        format!("EXPIRE sess:{user} 900"),
        format!("SMEMBERS sess:{user}"),
    ]
}

const LOGIN: &str = r#"[[group]]
name = "rt-sess"
atomic = "transaction"
mode = "observe"
commands = [
  "SETEX rt:{name}:{name2} * *",
  "SADD sess:{name} {name2}",
  "EXPIRE sess:{name} *",
  "SMEMBERS sess:{name}",
]
"#;

#[test]
fn what_recurs_is_a_group_with_what_its_members_share() {
    let bursts: Vec<_> = (0..20).map(|n| login(["ann", "bob", "cleo"][n % 3], &format!("a{n}f"))).collect();
    let text = proposed(&bursts);
    assert!(text.contains(LOGIN), "{text}");
    assert!(!text.contains("secret-value") && !text.contains("ann"), "{text}");
}

fn pipelines(text: &str) -> Vec<Vec<String>> {
    let members = |group: &str| {
        let inside = group.split("commands = [\n").nth(1).and_then(|rest| rest.split("]\n").next()).unwrap_or_default();
        inside.lines().map(|line| line.trim().trim_end_matches(',').trim_matches('"').to_owned()).collect()
    };
    text.split("[[group]]").skip(1).map(members).collect()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn commands_that_share_nothing_are_a_group_when_they_always_come_together() {
    let snapshot = |n: usize| {
        lines(&format!(
            "SET snap:time:{} x\nSET snap:id:s{n} x\nSET snap:latest x\nZADD snap:index {n} s{n}\n\
             ZREMRANGEBYSCORE snap:index -inf {n}\nDEL snap:live",
            n % 4
        ))
    };
    let text = proposed(&(0..12).map(snapshot).collect::<Vec<_>>());
    let wanted = [
        "SET snap:time:* *",
        "SET snap:id:{id} *",
        "SET snap:latest *",
        "ZADD snap:index * {id}",
        "ZREMRANGEBYSCORE snap:index * *",
        "DEL snap:live",
    ];
    assert_eq!(pipelines(&text), [wanted], "{text}");
}

#[test]
fn what_many_requests_put_into_one_burst_is_taken_apart() {
    let rate = |user: &str| vec![format!("INCR rate:{user}"), format!("EXPIRE rate:{user} 60")];
    let user = |n: usize| format!("user-{n}-{}", "n".repeat(n % 7));
    let burst = |n: usize| -> Vec<String> {
        let of = |place: usize| match (n * 7 + place * 5) % 3 {
            0 => login(&user(place), &format!("t{n}x{place}")),
            1 => rate(&user(place)),
            _ => vec![format!("GET profile:{}", user(place))],
        };
        (0..20).flat_map(of).collect()
    };
    let text = proposed(&(0..30).map(burst).collect::<Vec<_>>());
    let groups = pipelines(&text);
    assert_eq!(groups.len(), 2, "{text}");
    assert!(groups.contains(&vec!["INCR rate:{name}".to_owned(), "EXPIRE rate:{name} *".to_owned()]), "{text}");
    assert!(groups.iter().any(|group| group.len() == 4 && group[0] == "SETEX rt:{name}:{name2} * *"), "{text}");
}

#[test]
fn members_of_requests_that_a_client_interleaves_find_each_other() {
    let burst = |n: usize| -> Vec<String> {
        let logins: Vec<_> = (0..3).map(|user| login(&format!("u{n}x{user}"), &format!("t{n}x{user}"))).collect();
        (0..4).flat_map(|member| logins.iter().map(move |login| login[member].clone())).collect()
    };
    let text = proposed(&(0..5).map(burst).collect::<Vec<_>>());
    assert_eq!(pipelines(&text).iter().map(Vec::len).collect::<Vec<_>>(), [4], "{text}");
    assert!(text.contains("# Seen 15 times, about 15 different things"), "{text}");
}

#[test]
fn a_member_that_is_missing_at_times_is_optional() {
    let burst = |n: usize| login(&format!("u{n}x"), "t").into_iter().take(if n.is_multiple_of(3) { 3 } else { 4 }).collect();
    let text = proposed(&(0..12).map(burst).collect::<Vec<Vec<_>>>());
    assert!(text.contains(r#"  { match = "SMEMBERS sess:{name}", optional = true },"#), "{text}");
    assert_eq!(pipelines(&text).len(), 1, "{text}");
}

#[test]
fn options_stay_and_data_does_not() {
    let burst = |n: usize| lines(&format!("set job:{n} secret ex 60 nx\nHSET meta:{n} owner ann state new\nZADD due nx 17 {n}x"));
    let text = proposed(&(0..9).map(burst).collect::<Vec<_>>());
    assert_eq!(pipelines(&text), [["SET job:{id} * EX * NX", "HSET meta:{id} ...", "ZADD due NX ..."]], "{text}");
}

#[test]
fn hash_tags_are_written_as_patterns_have_them() {
    let burst = |n: usize| lines(&format!("SADD {{u{n}x}}:cart a\nEXPIRE {{u{n}x}}:cart 60"));
    let text = proposed(&(0..9).map(burst).collect::<Vec<_>>());
    assert_eq!(pipelines(&text), [["SADD {{{name}}}:cart ...", "EXPIRE {{{name}}}:cart *"]], "{text}");
}

#[test]
fn a_clients_own_transaction_and_single_writes_are_no_groups() {
    let own = |n: usize| lines(&format!("MULTI\nSET a:{n} x\nSET b:{n} x\nEXEC"));
    let single = |n: usize| lines(&format!("GET a:{n}\nSET b:{n} x"));
    assert_eq!(pipelines(&proposed(&(0..9).map(own).collect::<Vec<_>>())).len(), 0);
    assert_eq!(pipelines(&proposed(&(0..9).map(single).collect::<Vec<_>>())).len(), 0);
}

#[test]
fn two_times_are_no_habit_and_three_are() {
    let burst = |n: usize| lines(&format!("SET a:{n} x\nSET b:{n} x"));
    let groups = |times| pipelines(&proposed(&(0..times).map(burst).collect::<Vec<_>>())).len();
    assert_eq!([groups(2), groups(3)], [0, 1]);
}

#[test]
fn commands_that_wait_for_each_other_are_told_and_not_proposed() {
    let mut learner = Learner::new(Table::builtin());
    for n in 0..9 {
        for (place, line) in login(&format!("u{n}x"), "t").iter().enumerate() {
            let at = Duration::from_micros(100_000 * n + 200 * place as u64);
            learner.read(1, at, &requests(std::slice::from_ref(line)));
        }
    }
    let text = learner.propose();
    assert_eq!(pipelines(&text).len(), 0, "{text}");
    assert!(
        text.contains("# No group: seen 9 times")
            && text.contains("#   SADD sess:{name} *") | text.contains("#   SADD sess:{name} ..."),
        "{text}"
    );
}

#[test]
fn a_cut_within_a_request_changes_nothing_and_one_between_two_is_a_seam() {
    let bursts: Vec<_> = (0..6).map(|n| login(&format!("u{n}x"), &format!("t{n}x"))).collect();
    let whole = proposed(&bursts);
    assert!(whole.contains("each in one piece"), "{whole}");
    let seams: Vec<usize> = (1..4).map(|place| requests(&bursts[0][..place]).len()).collect();
    for cut in 1..requests(&bursts[0]).len() {
        let mut learner = Learner::new(Table::builtin());
        for (at, burst) in bursts.iter().enumerate() {
            let bytes = requests(burst);
            let at = Duration::from_millis(10 * at as u64);
            learner.read(1, at, &bytes[..cut]);
            learner.read(1, at, &bytes[cut..]);
        }
        assert_eq!(learner.propose() == whole, !seams.contains(&cut), "cut at {cut}");
    }
}

#[test]
fn where_several_callers_share_a_connection_that_is_said() {
    let apart = proposed(&(0..6).map(|n| login(&format!("u{n}x"), &format!("t{n}x"))).collect::<Vec<_>>());
    assert!(!apart.contains("between"), "{apart}");
    let shared = |n: usize| {
        let (one, other) = (login(&format!("u{n}x"), &format!("t{n}x")), login(&format!("v{n}y"), &format!("s{n}y")));
        one.into_iter().zip(other).flat_map(|(one, other)| [one, other]).collect::<Vec<_>>()
    };
    let text = proposed(&(0..6).map(shared).collect::<Vec<_>>());
    assert!(text.contains("# Others' commands between the members: 12 times"), "{text}");
    assert!(text.contains("# between = \"pass\""), "{text}");
}

#[test]
fn families_that_expire_have_a_rule_and_those_that_never_do_are_named() {
    let burst = |n: usize| {
        lines(&format!(
            "SETEX cache:page:{n} 300 x\nSET cache:part:{n} x EX 600\nSET doc:{n} x\nINCR hits:{n}x\n{}",
            if n == 3 { "PING".to_owned() } else { format!("EXPIRE hits:{n}x 60") }
        ))
    };
    let text = proposed(&(0..9).map(burst).collect::<Vec<_>>());
    for wanted in [
        "# Expiring after 5m to 10m: 18 keys.\n[[ttl]]\nname = \"cache\"\nkeys = [\"cache:*\"]\naction = \"flag\"\n",
        "# Expiring after 1m: 8 keys.\n# Written and never given a TTL: 1 key. Look at these first.\n[[ttl]]\nname = \"hits\"\nkeys = [\"hits:*\"]",
        "# No TTL rule: of these no key ever got a TTL.\n#   doc:* (9 keys)\n",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
}

#[test]
fn a_key_that_loses_its_ttl_is_told() {
    let burst = |n: usize| lines(&format!("SET s:{n} x EX 60\nSET s:{n} y"));
    let text = proposed(&(0..4).map(burst).collect::<Vec<_>>());
    let wanted = "# Robbed of their TTL by a later write: 4 keys. Look at these first.\n[[ttl]]\nname = \"s\"\nkeys = [\"s:*\"]";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn guards_tell_what_was_sent() {
    let mut bursts: Vec<_> = (0..4).map(|n| lines(&format!("SET a:{n} {}", "x".repeat(100_000)))).collect();
    bursts.push(lines("KEYS a:*"));
    let text = proposed(&bursts);
    for wanted in [
        "# Sent: KEYS once, FLUSHALL never, FLUSHDB never, SWAPDB never.\n[[guard]]\nname = \"dangerous\"",
        "# The longest argument had 100,000 bytes (SET), the most arguments were 2 (SET).\n[[guard]]\nname = \"large-values\"\nvalue_bytes_max = 262144",
        "# All of 4 keys are of these families.\n[[guard]]\nname = \"unknown-keys\"\nkeys_allowed = [\"a:*\"]",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
}

#[test]
fn keys_of_no_family_are_in_no_rule() {
    let burst = |n: usize| lines(&format!("SET {n}00:x{n}y z\nSET 1{n}:q{n}y z"));
    let text = proposed(&(0..9).map(burst).collect::<Vec<_>>());
    assert!(pipelines(&text).is_empty() && !text.contains("unknown-keys"), "{text}");
}

#[test]
fn the_same_reads_give_the_same_text() {
    let bursts: Vec<_> = (0..40).map(|n| login(&format!("u{}x", n % 9), &format!("t{n}x"))).collect();
    assert_eq!(proposed(&bursts), proposed(&bursts));
}

#[test]
fn what_goes_beyond_the_bounds_is_counted() {
    let mut learner = Learner::new(Table::builtin());
    for n in 0..600_u64 {
        learner.read(n, Duration::from_millis(10 * n), &requests(&login(&format!("u{n}x"), "t")));
    }
    for n in 0..60_000_u64 {
        learner.read(7, Duration::from_secs(100), &requests(&[format!("GET k:{n}")]));
    }
    learner.read(8, Duration::from_secs(100), b"*1\r\n$2000000\r\n");
    learner.read(9, Duration::from_secs(100), b"*1\r\n+OK\r\n");
    learner.lost(10, 77);
    let text = learner.propose();
    for wanted in [
        "# Left out: bursts like others before them, or beyond what is kept; groups are counted without them: 100.\n",
        "# Left out: uses of keys beyond what is kept: 11,200.\n",
        "# Left out: requests longer than 1 MiB: 1.\n",
        "# Left out: bytes that could not be taken in time: 77.\n",
        "# Seen 500 times",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(!text.contains("large-values") && !text.contains("unknown-keys"), "{text}");
}

#[test]
fn bursts_that_no_client_has_ended_take_no_more_room_than_there_is() {
    let mut learner = Learner::new(Table::builtin());
    let burst = requests(&vec![format!("SET some:key {}", "v".repeat(200)); 100]);
    for client in 0..2000 {
        learner.read(client, Duration::ZERO, &burst);
        let kept: usize = learner.clients.values().map(super::Client::kept_bytes).sum();
        assert!(kept == learner.bytes_kept && kept <= super::BYTES_KEPT_MAX, "{kept} bytes of {client} clients");
    }
    assert_eq!((learner.commands(), learner.clients_forgotten), (200_000, 0));
}

#[test]
fn clients_beyond_what_is_kept_are_counted_once() {
    let mut learner = Learner::new(Table::builtin());
    for client in 0..super::CLIENTS_MAX as u64 + 2 {
        (0..3).for_each(|_| learner.read(client, Duration::ZERO, &requests(&["PING".to_owned()])));
    }
    assert_eq!((learner.clients_seen, learner.clients_forgotten), (super::CLIENTS_MAX as u64 + 2, 2));
}

#[test]
fn families_whose_values_would_shrink_by_half_are_proposed_to_be_compressed() {
    let long = "{\"state\":\"new\"},".repeat(400);
    let mut state = 1u64;
    let mut letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'@' + u8::try_from(state >> 58).unwrap_or(0))
    };
    let mut noise = || (0..5000).map(&mut letter).collect::<String>();
    let mut bursts = Vec::new();
    for n in 0..5 {
        bursts.push(vec![format!("SET page:{n} {long}"), format!("HSET page:h:{n} field {long}")]);
        bursts.push(vec![format!("SET noise:{n} {}", noise()), format!("SET short:{n} {}", &long[..100])]);
        bursts.push(vec![format!("SET seen:{n} {long}"), format!("STRLEN seen:{n}")]);
    }
    let text = proposed(&bursts);
    assert!(text.contains("[[compress]]\nname = \"page\"\nkeys = [\"page:*\"]\nmode = \"observe\"\n"), "{text}");
    assert!(text.contains("keys = [\"page:h:*\"]\nmode = \"observe\""), "{text}");
    assert!(text.contains("# 5 values of 4,096 bytes and more were tried: zstd makes "), "{text}");
    assert_eq!(text.matches("[[compress]]").count(), 2, "{text}");
}
