//! What is proposed for traffic of known shape.

use std::time::Duration;

use super::Learner;
use crate::engine::command::Table;
use crate::engine::resp::encode;

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
