//! Counters are there before they count: `increase()` sees the first event of each.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::{RedisServer, Setup, eventually, signal};

const RULES: &str = r#"
[[group]]
name = "pair"
commands = ["INCR n:{u}", "SADD set:{u} *"]

[[ttl]]
name = "sessions"
keys = ["s:*"]
max = "1h"
grace_ms = 50

[[ttl]]
name = "strict"
keys = ["r:*"]
action = "reject"

[[expect]]
name = "deleted"
command = "DEL rt:*"
reply = ">= 1"

[[guard]]
name = "no-flush"
commands = ["FLUSHDB ..."]

[[degrade]]
name = "cache"
keys = ["cache:*"]
reads = "nil"
"#;

/// The series of the counters, and their values.
fn series(metrics: &str) -> BTreeSet<(String, String)> {
    let counters = metrics.lines().filter(|line| line.starts_with("respguard_") && line.contains("_total"));
    counters.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn names(metrics: &str) -> BTreeSet<String> {
    series(metrics).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn every_rule_is_at_zero_from_the_start_and_after_a_reload() {
    let redis = RedisServer::start(&[]);
    let setup = Setup::new(&redis).rules(RULES);
    let proxy = setup.start();
    let start = proxy.get("/metrics").1;
    let kinds = [
        ("partial_failure", ""),
        ("partial_failure", "pair"),
        ("split", "pair"),
        ("aborted", "pair"),
        ("unknown_outcome", "pair"),
        ("ttl_missing", "sessions"),
        ("ttl_late", "sessions"),
        ("ttl_dropped", "sessions"),
        ("ttl_too_long", "sessions"),
        ("ttl_rejected", "strict"),
        ("expectation", "deleted"),
        ("guard", "no-flush"),
        ("too_large", "no-flush"),
        ("degraded", "cache"),
    ];
    for (kind, rule) in kinds {
        let line = format!("respguard_violations_total{{kind=\"{kind}\",rule=\"{rule}\"}} 0\n");
        assert!(start.contains(&line), "{line} in {start}");
    }
    for outcome in ["applied", "torn", "aborted", "refused", "unknown"] {
        assert!(start.contains(&format!("respguard_groups_total{{group=\"pair\",outcome=\"{outcome}\"}} 0\n")), "{outcome}");
    }
    for outcome in ["present", "missing", "dropped", "denied"] {
        assert!(
            start.contains(&format!("respguard_ttl_checks_total{{rule=\"sessions\",outcome=\"{outcome}\"}} 0\n")),
            "{outcome}"
        );
    }
    // What happens brings no series of a rule that was not there.
    let mut wire = proxy.wire();
    wire.pipeline(&["INCR n:1", "SADD set:1 x"]);
    wire.pipeline(&["FLUSHDB", "SET s:1 x", "DEL rt:x", "SET r:1 x", "SETEX s:2 7200 x"]);
    eventually("it has happened", || proxy.violated("ttl_missing", "sessions") == 1.0 && proxy.groups("pair", "applied") == 1.0);
    let after = proxy.get("/metrics").1;
    let new: Vec<_> = names(&after).difference(&names(&start)).filter(|name| !name.contains("commands_total")).cloned().collect();
    assert_eq!(new, Vec::<String>::new());
    // A rule that comes with a reload is at zero; what was counted stays.
    proxy.rewrite(&Setup::new(&redis).rules(&format!("{RULES}[[guard]]\nname = \"later\"\ncommands = [\"KEYS *\"]\n")));
    signal(proxy.pid(), "HUP");
    eventually("it is in force", || {
        proxy.get("/metrics").1.contains("respguard_violations_total{kind=\"guard\",rule=\"later\"} 0\n")
    });
    assert_eq!(proxy.groups("pair", "applied"), 1.0);
}

/// Prometheus itself, over two scrapes.
#[test]
fn increase_sees_the_first_violation() {
    let has_promtool = Command::new("promtool").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if has_promtool.is_err() {
        return;
    }
    let redis = RedisServer::start(&[]);
    let proxy = Setup::new(&redis).rules(RULES).start();
    let before = proxy.get("/metrics").1;
    assert_eq!(proxy.wire().ask("FLUSHDB"), "+OK\r\n");
    eventually("it is told", || proxy.violated("guard", "no-flush") == 1.0);
    let after = proxy.get("/metrics").1;
    let series_name = "respguard_violations_total{kind=\"guard\",rule=\"no-flush\"}";
    let value = |metrics: &str| {
        let line = metrics.lines().find(|line| line.starts_with(series_name));
        line.and_then(|line| line.rsplit(' ').next()).map_or("_".to_owned(), str::to_owned)
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let test = format!(
        "evaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n      - series: '{series_name}'\n        values: '{0} {0} {1} {1}'\n    promql_expr_test:\n      - expr: 'increase(respguard_violations_total[5m]) > 0'\n        eval_time: 3m\n        exp_samples:\n          - labels: '{{kind=\"guard\", rule=\"no-flush\"}}'\n            value: 1\n",
        value(&before),
        value(&after)
    );
    let path = directory.path().join("test.yaml");
    std::fs::File::create(&path).expect("a file").write_all(test.as_bytes()).expect("written");
    let output = Command::new("promtool").args(["test", "rules"]).arg(&path).output().expect("promtool runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // A counter that begins at zero is not extrapolated beyond its first sample: it is the one violation, and no more.
    assert!(output.status.success(), "{told}");
}
