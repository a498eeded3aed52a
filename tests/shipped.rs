//! Checks that the alerts, the dashboards, the manifests and the references that are shipped agree with the program.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use respguard::config::{self, Config};
use respguard::telemetry::label::{
    Admission, AuditOutcome, BreakerState, Direction, FailureScope, GroupOutcome, HoldOutcome, ReloadOutcome, RepairAction,
    RestCode, RestEndpoint, RuleKind, Side, TtlOutcome, UpstreamState,
};
use respguard::telemetry::names::{self, Metric, Shape};
use respguard_engine::command::{SERVERS, Table};
use respguard_engine::pipeline::violation::Kind;

const ALERTS: &str = include_str!("../deploy/prometheus/respguard-rules.yaml");
const GRAFANA: &str = include_str!("../deploy/grafana/respguard.json");
const PROMETHEUS_RULE: &str = "deploy/kubernetes/prometheus-rule.yaml";
const MANIFESTS: [&str; 2] =
    [include_str!("../deploy/kubernetes/service.yaml"), include_str!("../deploy/kubernetes/sidecar.yaml")];
const RUNBOOK: &str = include_str!("../docs/runbook.md");

/// What begins with `respguard_` in the text.
fn metrics(text: &str) -> BTreeSet<String> {
    let behind = text.split("respguard_").skip(1);
    let names = behind.map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default());
    names.map(|name| format!("respguard_{name}")).collect()
}

fn is_exposed(name: &str) -> bool {
    let parts = ["_bucket", "_sum", "_count"].into_iter().filter_map(|part| name.strip_suffix(part));
    let mut of_histogram = parts.filter_map(metric).filter(|metric| metric.shape == Shape::Histogram);
    of_histogram.next().is_some() || metric(name).is_some_and(|metric| metric.shape != Shape::Histogram)
}

fn metric(name: &str) -> Option<&'static Metric> {
    names::ALL.iter().find(|metric| metric.name == name)
}

/// The words that the text compares a label with.
fn compared<'t>(text: &'t str, label: &str) -> Vec<&'t str> {
    let values = ["=\"", "=~\"", "!=\"", "!~\""].map(|operator| format!("{label}{operator}"));
    let found = values.iter().flat_map(|start| text.split(start.as_str()).skip(1));
    found.flat_map(|rest| rest.split('"').next().unwrap_or_default().split('|')).collect()
}

fn alerts() -> Vec<&'static str> {
    ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

#[test]
fn every_metric_that_alerts_and_dashboards_name_exists() {
    let grafana = GRAFANA.replace("\\\"", "\"");
    for (file, text) in [("alerts", ALERTS), ("Grafana", grafana.as_str()), ("runbook", RUNBOOK)] {
        let named = metrics(text);
        assert!(!named.is_empty(), "{file}");
        for name in named {
            assert!(metric(&name).is_some() && file == "runbook" || is_exposed(&name), "{file}: {name}");
        }
    }
    let serde_json::Value::Object(read) = serde_json::from_str(GRAFANA).expect("JSON") else { panic!("no object") };
    assert!(read["panels"].as_array().is_some_and(|panels| panels.len() > 10));
}

/// Runs a tool of those who will use what is shipped, unless it is not there; a machine that checks everything must have it.
fn tool(package: &str, command: &[&str]) -> Option<String> {
    let output = match Command::new(command[0]).args(&command[1..]).current_dir(env!("CARGO_MANIFEST_DIR")).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none(), "{} is missing: Debian's package `{package}` has it", command[0]);
            eprintln!("SKIPPED: {} is missing, which Debian's package `{package}` has", command[0]);
            return None;
        }
        Err(error) => panic!("{command:?}: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    Some(said)
}

#[test]
fn prometheus_understands_the_alerts_and_each_fires_when_it_should() {
    tool("prometheus", &["promtool", "check", "rules", "deploy/prometheus/respguard-rules.yaml"]);
    tool("prometheus", &["promtool", "test", "rules", "deploy/prometheus/respguard-rules-test.yaml"]);
    let tests = include_str!("../deploy/prometheus/respguard-rules-test.yaml");
    for alert in alerts() {
        assert_eq!(
            tests.matches(&format!("alertname: {alert}\n        exp_alerts:\n")).count(),
            1,
            "{alert} is not seen to fire"
        );
        assert!(tests.matches(&format!("alertname: {alert}, exp_alerts: []")).count() >= 2, "{alert} is not seen to be silent");
    }
}

#[test]
fn systemd_understands_the_unit_and_finds_little_that_it_leaves_open() {
    let unit = include_str!("../deploy/systemd/respguard.service");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("respguard.service");
    fs::write(&file, unit.replace("/usr/local/bin/respguard", env!("CARGO_BIN_EXE_respguard"))).expect("written");
    let file = file.to_str().expect("a path in UTF-8");
    tool("systemd", &["systemd-analyze", "verify", "--man=no", file]);
    // In tenths, of ten: below 2 is what it calls OK for a service that listens on the network.
    tool("systemd", &["systemd-analyze", "security", "--offline=true", "--threshold=20", file]);
}

#[test]
fn the_manifests_are_what_kubernetes_takes() {
    let validate = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/kubernetes-validate");
    assert!(validate.exists(), "{} is missing: run `make setup`", validate.display());
    let validate = validate.to_str().expect("a path in UTF-8");
    for (file, text) in ["deploy/kubernetes/service.yaml", "deploy/kubernetes/sidecar.yaml"].into_iter().zip(MANIFESTS) {
        let said = tool("make setup", &[validate, "--strict", "--kubernetes-version", "1.37", file]).unwrap_or_default();
        assert_eq!(said.matches(" passed for resource ").count(), text.matches("\nkind: ").count(), "{said}");
    }
}

#[test]
fn the_workflows_are_what_github_takes_and_run_what_is_there() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run `make setup`", python.display());
    let said = tool("make setup", &[python.to_str().expect("a path in UTF-8"), "tests/shipped/workflows.py", "."]);
    let said = said.unwrap_or_default();
    assert!(said.contains("checks.yml: ") && said.contains("release.yml: "), "{said}");
}

#[test]
fn alerts_compare_labels_with_words_that_exist() {
    let kinds = compared(ALERTS, "kind");
    assert!(kinds.len() > 5);
    for kind in kinds {
        assert!(Kind::from_word(kind).is_some(), "{kind}");
    }
    let of_groups: Vec<_> = ALERTS.lines().filter(|line| line.contains(names::GROUPS_TOTAL)).collect();
    assert!(!of_groups.is_empty());
    for outcome in of_groups.iter().flat_map(|line| compared(line, "outcome")) {
        assert!(GroupOutcome::ALL.iter().any(|known| known.as_str() == outcome), "{outcome}");
    }
}

#[test]
fn every_alert_has_its_paragraph_in_the_runbook_and_the_other_way_round() {
    let paragraphs: Vec<_> = RUNBOOK.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(alerts(), paragraphs);
    for alert in alerts() {
        let link = format!("http://{{{{ $labels.instance }}}}/runbook{{{{ end }}}}#{}\"\n", alert.to_lowercase());
        assert_eq!(ALERTS.matches(&link).count(), 1, "{alert}");
        let paragraph = RUNBOOK.split(&format!("## {alert}\n")).nth(1).expect(alert);
        assert!(paragraph.split("\n## ").next().is_some_and(|text| text.len() > 150), "{alert}");
    }
}

/// The words in backticks of a cell, and what stands in brackets behind them left out.
fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_reference_of_metrics_has_every_word_of_every_label() {
    let rows: Vec<Vec<&str>> = include_str!("../docs/metrics.md")
        .lines()
        .filter(|row| row.starts_with("| `"))
        .map(|row| row.trim_matches('|').split(" | ").collect())
        .collect();
    let says = |label: &str, metric: &str, wanted: &[&str]| {
        let row = rows.iter().find(|row| words(row[0]).contains(&label) && words(row[1]).contains(&metric));
        let row = row.unwrap_or_else(|| panic!("no row says which words {label} has on {metric}"));
        assert_eq!(words(row[2]), wanted, "{label} on {metric}");
    };
    says("outcome", names::GROUPS_TOTAL, &GroupOutcome::ALL.map(GroupOutcome::as_str));
    says("outcome", names::HOLDS_TOTAL, &HoldOutcome::ALL.map(HoldOutcome::as_str));
    says("outcome", names::TTL_CHECKS_TOTAL, &TtlOutcome::ALL.map(TtlOutcome::as_str));
    says("outcome", names::CLIENT_CONNECTIONS_TOTAL, &Admission::ALL.map(Admission::as_str));
    says("outcome", names::CONFIG_RELOAD_TOTAL, &ReloadOutcome::ALL.map(ReloadOutcome::as_str));
    says("where", names::PARTIAL_FAILURES_TOTAL, &FailureScope::ALL.map(FailureScope::as_str));
    says("state", names::UPSTREAM_CONNECTIONS, &UpstreamState::ALL.map(UpstreamState::as_str));
    says("state", names::BREAKER_STATE, &BreakerState::ALL.map(BreakerState::as_str));
    says("kind", names::CONFIG_RULES, &RuleKind::ALL.map(RuleKind::as_str));
    says("outcome", names::AUDIT_RUNS_TOTAL, &AuditOutcome::ALL.map(AuditOutcome::as_str));
    says("action", names::REPAIRED_TOTAL, &RepairAction::ALL.map(RepairAction::as_str));
    says("endpoint", names::REST_REQUESTS_TOTAL, &RestEndpoint::ALL.map(RestEndpoint::as_str));
    says("code", names::REST_REQUESTS_TOTAL, &RestCode::ALL.map(RestCode::as_str));
    let sides = [Side::ALL.map(Side::as_str), Direction::ALL.map(Direction::as_str)].concat();
    says("side", names::BYTES_TOTAL, &sides);
}

/// The configuration in a manifest's ConfigMap.
fn configuration(manifest: &str) -> String {
    let behind = manifest.split("  config.toml: |\n").nth(1).expect("a configuration");
    let lines = behind.lines().take_while(|line| *line != "---");
    lines.map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect()
}

#[test]
fn the_configurations_in_the_manifests_are_good_and_drain_within_the_grace_period() {
    let environment = |_: &str| Some("from-the-environment".to_owned());
    for manifest in MANIFESTS {
        let read = config::read(&configuration(manifest), Path::new("config.toml"), &Table::builtin(), &environment);
        let config = read.unwrap_or_else(|errors| panic!("{errors}"));
        assert_no_rules(&config, "a manifest");
        let file = config.violations.expect("a file of violations").file;
        let folder = file.parent().and_then(Path::to_str).expect("a folder");
        assert!(
            manifest.contains(&format!("mountPath: {folder} }}\n")) && manifest.contains("emptyDir: "),
            "{folder} is writable"
        );
        let number = |key: &str| {
            let value = manifest.split(&format!("{key}: ")).nth(1)?.lines().next()?;
            value.parse::<u64>().ok()
        };
        let drain =
            configuration(manifest).split("drain_timeout_ms = ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let drain_s: u64 = drain.map(|ms: u64| ms / 1000).expect("a timeout");
        assert!(number("terminationGracePeriodSeconds").expect("a period") > drain_s + 5);
        assert!(manifest.contains("livenessProbe") && manifest.contains("path: /healthz,"));
    }
}

#[track_caller]
fn assert_no_rules(config: &Config, whose: &str) {
    let policy = &config.policy;
    let counts = [
        policy.groups().len(),
        policy.ttl_rules().len(),
        policy.expects().len(),
        policy.guards().len(),
        policy.degrade_rules().len(),
    ];
    assert_eq!(counts, [0; 5], "rules are for the owner to write, not for {whose}");
}

#[test]
fn the_image_and_the_service_begin_without_rules_and_name_a_file_that_they_may_write() {
    for (text, listen) in [
        (include_str!("../deploy/docker/config.toml"), "0.0.0.0:6380"),
        (include_str!("../deploy/systemd/config.toml"), "127.0.0.1:6380"),
    ] {
        // The example that is commented out too.
        let example = text.replace("# [violations]", "[violations]").replace("# file =", "file =");
        let read = config::read(&example, Path::new("/etc/respguard/config.toml"), &Table::builtin(), &|_| None);
        let config = read.unwrap_or_else(|errors| panic!("{errors}"));
        assert_no_rules(&config, listen);
        assert_eq!(config.listen.address.to_string(), listen);
        assert_eq!(config.violations.expect("an example").file, Path::new("/var/lib/respguard/violations.jsonl"));
    }
    let unit = include_str!("../deploy/systemd/respguard.service");
    assert!(unit.contains("\nStateDirectory=respguard\n") && unit.contains("deploy/systemd/config.toml /etc/respguard/"));
    let image = include_str!("../Dockerfile");
    assert!(image.contains("COPY deploy/docker/config.toml /etc/respguard/config.toml\n"));
    assert!(image.contains("/var/lib/respguard\n") && image.contains("VOLUME /var/lib/respguard\n"));
}

/// What the Dockerfile copies from the tree.
fn copied() -> Vec<&'static str> {
    let lines = include_str!("../Dockerfile").lines().filter_map(|line| line.strip_prefix("COPY "));
    let of_tree = lines.filter(|line| !line.starts_with("--from"));
    of_tree.flat_map(|line| line.rsplit_once(' ').map_or("", |(sources, _)| sources).split(' ')).collect()
}

#[test]
fn dockerignore_lets_through_what_the_dockerfile_copies_and_nothing_else() {
    let let_through: Vec<_> = include_str!("../.dockerignore").lines().filter_map(|line| line.strip_prefix('!')).collect();
    let (wanted, given): (BTreeSet<_>, BTreeSet<_>) = (copied().into_iter().collect(), let_through.into_iter().collect());
    assert_eq!(wanted, given);
    for source in wanted {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(source).exists(), "{source}");
    }
}

#[test]
fn the_dockerfile_copies_what_a_build_reads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let context = tempfile::tempdir().expect("a folder");
    for source in copied() {
        let target = context.path().join(source);
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        let copy = Command::new("cp").arg("-r").arg(root.join(source)).arg(&target).status();
        assert!(copy.expect("cp is there").success(), "{source}");
    }
    for included in included(&root.join("src")) {
        let of_tree = included.strip_prefix(root).expect("within the tree");
        assert!(copied().into_iter().any(|source| of_tree.starts_with(source)), "{} is not copied", of_tree.display());
    }
    // It wants the files of what the manifest names without saying where they are, although it does not build them.
    let manifest: toml::Table = toml::from_str(include_str!("../Cargo.toml")).expect("TOML");
    let named = ["bench", "example", "test"].into_iter().flat_map(|kind| {
        let targets = manifest.get(kind).and_then(toml::Value::as_array).into_iter().flatten();
        let without_path = targets.filter(|target| target.get("path").is_none());
        without_path.map(move |target| {
            format!("{kind}{}/{}", if kind == "bench" { "es" } else { "s" }, target["name"].as_str().unwrap_or_default())
        })
    });
    for target in named {
        let is_there =
            [format!("{target}.rs"), format!("{target}/main.rs")].iter().any(|file| context.path().join(file).exists());
        assert!(is_there, "{target} is not copied");
    }
    // And it reads every manifest.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]).current_dir(context.path());
    let output = cargo.output().expect("cargo is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The files that the program's sources include, but for those of their tests.
fn included(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(included(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let names = text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            let resolved = names.map(|name| fs::canonicalize(folder.join(name)).expect("a file"));
            files.extend(resolved);
        }
    }
    files
}

/// The table of all metrics.
fn reference() -> String {
    let rows = names::ALL.iter().map(|metric| {
        let shape = format!("{:?}", metric.shape).to_lowercase();
        format!("| `{}` | {shape} | {} | {} |\n", metric.name, metric.unit.as_str(), metric.help)
    });
    format!("| name | shape | unit | what |\n|---|---|---|---|\n{}", rows.collect::<String>())
}

/// This is the table that `make docs` writes into the document.
fn assert_table_of(document: &str, expected: &str) {
    const START: &str = "<!-- make docs writes this table -->\n\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = fs::read_to_string(&path).expect(document);
    let (before, behind) = text.split_once(START).expect("the table's place");
    let (table, behind) = behind.split_once("\n\n").expect("text behind the table");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{START}{expected}\n{behind}")).expect("writable");
        return;
    }
    assert_eq!(format!("{table}\n"), expected, "`make docs` writes it");
}

#[test]
fn the_reference_of_metrics_is_that_of_the_program() {
    assert_table_of("docs/metrics.md", &reference());
}

/// The servers that have a command, in words: all but a few, or a few.
fn commands_by_server() -> String {
    let mut rows: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for (name, servers) in respguard_engine::command::listed() {
        // Servers before 7.0 list no subcommands, and all that came with 7.0 stayed.
        let everywhere = SERVERS.iter().skip(1).all(|server| servers.contains(server));
        if everywhere {
            continue;
        }
        let name = format!("`{}`", name.replace('|', " ").to_uppercase());
        match rows.iter_mut().find(|row| row.0 == servers) {
            Some(row) => row.1.push(name),
            None => rows.push((servers, vec![name])),
        }
    }
    rows.sort_by_key(|row| (row.0.is_empty(), row.0.first().map(|first| SERVERS.iter().position(|server| server == first))));
    let rows = rows.iter().map(|(servers, names)| {
        let servers = match servers.as_slice() {
            [] => "none: from documentation, not witnessed".to_owned(),
            servers => servers.iter().map(|server| format!("`{server}`")).collect::<Vec<_>>().join(", "),
        };
        format!("| {servers} | {} |\n", names.join(", "))
    });
    format!("| listed by | commands |\n|---|---|\n{}", rows.collect::<String>())
}

#[test]
fn the_reference_of_commands_that_only_some_servers_have_is_that_of_the_program() {
    assert_table_of("docs/servers.md", &commands_by_server());
}

/// The alerts as the Prometheus operator takes them.
fn prometheus_rule() -> String {
    let head = "# The alerts of deploy/prometheus/respguard-rules.yaml as the Prometheus operator takes them. `make docs` writes this file.\n\
                apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: respguard\n  \
                labels: { app.kubernetes.io/name: respguard }\nspec:\n";
    let groups = &ALERTS[ALERTS.find("\ngroups:\n").expect("groups") + 1..];
    let groups = groups.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") });
    format!("{head}{}", groups.collect::<String>())
}

#[test]
fn the_operators_reference_of_alerts_is_that_of_prometheus() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PROMETHEUS_RULE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, prometheus_rule()).expect("writable");
        return;
    }
    assert_eq!(fs::read_to_string(&path).expect(PROMETHEUS_RULE), prometheus_rule(), "`make docs` writes it");
    let monitor = include_str!("../deploy/kubernetes/service-monitor.yaml");
    let service = MANIFESTS[0].split("kind: Service\n").nth(1).expect("a service");
    assert!(monitor.contains("kind: ServiceMonitor\n") && monitor.contains("    - port: admin\n      path: /metrics\n"));
    assert!(
        service.contains("name: admin, port: 9121") && service.contains("  name: respguard\n"),
        "the alerts' job is the service's name"
    );
    let together = include_str!("../deploy/kubernetes/kustomization.yaml");
    for resource in together.lines().filter_map(|line| line.strip_prefix("  - ")).filter(|line| line.ends_with(".yaml")) {
        assert!(path.with_file_name(resource).exists(), "{resource}");
    }
    assert!(MANIFESTS.iter().all(|manifest| manifest.contains(concat!("image: respguard:", env!("CARGO_PKG_VERSION"), "\n"))));
    assert!(together.contains(concat!("newTag: ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn what_compose_mounts_is_there_and_prometheus_takes_it() {
    let compose = include_str!("../deploy/compose/compose.yaml");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose");
    let mounted: Vec<_> = compose.lines().filter_map(|line| line.trim().strip_prefix("- .")?.split_once(':')).collect();
    assert!(mounted.len() > 5);
    for (file, _) in &mounted {
        assert!(folder.join(format!(".{file}")).is_file(), "{file}");
    }
    assert!(compose.contains(concat!("image: respguard:", env!("CARGO_PKG_VERSION"), "\n")));
    // As it is mounted: beside the alerts.
    let there = tempfile::tempdir().expect("a folder");
    for (file, at) in mounted.iter().filter(|(_, at)| at.starts_with("/etc/prometheus/")) {
        let name = at.trim_start_matches("/etc/prometheus/").trim_end_matches(":ro");
        fs::copy(folder.join(format!(".{file}")), there.path().join(name)).expect(name);
    }
    let config = there.path().join("prometheus.yml");
    let said = tool("prometheus", &["promtool", "check", "config", config.to_str().expect("a path in UTF-8")]);
    assert!(said.is_none_or(|said| said.contains("rules found")));
    assert!(include_str!("../deploy/compose/prometheus.yml").contains("job_name: respguard\n"));
    let (source, boards) =
        (include_str!("../deploy/compose/grafana/datasource.yaml"), include_str!("../deploy/compose/grafana/dashboards.yaml"));
    assert!(source.contains("url: http://prometheus:9090\n") && compose.contains("\n  prometheus:\n"));
    let shown = boards.split("path: ").nth(1).and_then(|rest| rest.lines().next()).expect("a folder");
    assert!(compose.contains(&format!("../grafana/respguard.json:{shown}/respguard.json:ro")));
}

#[test]
fn the_service_says_when_it_serves_and_that_it_lives() {
    let unit = include_str!("../deploy/systemd/respguard.service");
    for line in ["Type=notify", "NotifyAccess=main", "WatchdogSec=30", "StateDirectory=respguard", "Restart=on-failure"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}
