//! The dashboard's files: that they load nothing from elsewhere, and know every metric, kind and outcome.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::client::get;
use super::endpoints::Endpoints;
use respguard::telemetry::label::{GroupOutcome, RuleKind};
use respguard::telemetry::names;
use respguard_engine::pipeline::violation::Kind;

/// Texts in quotes or backticks that begin like a path, without what stands behind `?`.
fn quoted_paths(text: &str) -> Vec<&str> {
    let pieces = text.split(['"', '`', '\'']).map(|piece| piece.split('?').next().unwrap_or(piece));
    pieces.filter(|piece| piece.starts_with('/') && !piece.contains([' ', '\n', '>'])).collect()
}

/// A file of the dashboard.
fn source(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/net/admin/dashboard");
    std::fs::read_to_string(folder.join(name)).expect(name)
}

/// The modules that a module imports.
fn imports(module: &str) -> Vec<&str> {
    module.split(" from \"./").skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn the_dashboard_loads_nothing_but_files_of_its_own_listener() {
    let endpoints = Endpoints::start_plain().await;
    let exists: Value = serde_json::from_str(&get(endpoints.address, "/nowhere").await.body).expect("JSON");
    let exists: Vec<_> = exists["exists"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let (mut asked, mut loaded) = (BTreeSet::new(), BTreeSet::new());
    let mut left = vec!["/".to_owned()];
    while let Some(path) = left.pop() {
        let answer = get(endpoints.address, &path).await;
        assert_eq!(answer.status, 200, "{path}");
        let kind = match path.rsplit_once('.') {
            None => "text/html",
            Some((_, "css")) => "text/css",
            Some(_) => "text/javascript",
        };
        assert_eq!(answer.header("content-type"), Some(format!("{kind}; charset=utf-8").as_str()), "{path}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        for foreign in ["http:", "https:", "@import", "url(", "innerHTML", "insertAdjacentHTML", "document.write", "Storage"] {
            assert!(!answer.body.contains(foreign), "{foreign} in {path}");
        }
        let files = quoted_paths(&answer.body).into_iter().filter(|wanted| wanted.starts_with("/dashboard/")).map(str::to_owned);
        let files = files.chain(imports(&answer.body).into_iter().map(|name| format!("/dashboard/{name}")));
        left.extend(files.filter(|file| loaded.insert(file.clone())));
        for wanted in quoted_paths(&answer.body).into_iter().filter(|wanted| !wanted.starts_with("/dashboard/")) {
            assert!(exists.contains(&wanted), "{path} asks for {wanted}");
            asked.insert(wanted.to_owned());
        }
    }
    for wanted in ["/status", "/groups", "/rules", "/history", "/metrics", "/config", "/violations", "/violations/stream"] {
        assert!(asked.contains(wanted), "{wanted}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/net/admin/dashboard");
    let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").file_name());
    for file in files.filter(|file| file != "page.html") {
        assert!(loaded.contains(&format!("/dashboard/{}", file.display())), "{} is not loaded", file.display());
    }
    assert_eq!(get(endpoints.address, "/dashboard/page.html").await.status, 404);
}

#[tokio::test]
async fn the_runbook_has_a_place_to_link_to_for_each_alert() {
    let endpoints = Endpoints::start_plain().await;
    let answer = get(endpoints.address, "/runbook").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for alert in include_str!("../../docs/runbook.md").lines().filter_map(|line| line.strip_prefix("## ")) {
        assert!(answer.body.contains(&format!("<h2 id=\"{}\">{alert}</h2>", alert.to_lowercase())), "{alert}");
    }
}

#[test]
fn it_reads_metrics_that_exist_and_explains_every_kind_once() {
    let modules = source("metrics.js") + &source("rules.js") + &source("compressed.js");
    let read: Vec<_> = modules.split("respguard_").skip(1).collect();
    assert!(read.len() > 5);
    for behind in read {
        let name = behind.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default();
        let name = format!("respguard_{}", name.strip_suffix("_bucket").unwrap_or(name));
        assert!(name == "respguard_" || names::ALL.iter().any(|metric| metric.name == name), "{name}");
    }
    let kinds = source("kinds.js");
    for kind in Kind::ALL {
        assert_eq!(kinds.matches(&format!("\n  {kind}: {{")).count(), 1, "{kind}");
    }
    assert_eq!(kinds.matches(": {\n    what:").count(), Kind::ALL.len());
}

#[test]
fn it_has_a_colour_and_an_explanation_for_every_outcome_of_a_group() {
    let module = source("groups.js");
    let listed = |name: &str| {
        let list = module.split(&format!("{name} = {{")).nth(1).and_then(|rest| rest.split("};").next()).expect("a list");
        let words = list.split([',', '\n']).filter_map(|entry| entry.split_once(": ")).map(|(word, _)| word.trim().to_owned());
        words.filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_')).collect::<BTreeSet<_>>()
    };
    let outcomes: BTreeSet<_> = GroupOutcome::ALL.iter().map(|outcome| outcome.as_str().to_owned()).collect();
    assert_eq!(listed("OUTCOMES"), outcomes);
    assert_eq!(listed("EXPLAINED"), outcomes);
}

#[tokio::test]
async fn kinds_of_rules_are_those_of_the_metrics() {
    let endpoints = Endpoints::start_plain().await;
    let description: Value = serde_json::from_str(&get(endpoints.address, "/openapi.json").await.body).expect("JSON");
    let rules = &description["paths"]["/rules"]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    let kinds = rules["properties"]["rules"]["items"]["properties"]["kind"]["enum"].as_array().expect("kinds");
    let kinds: BTreeSet<_> = kinds.iter().filter_map(Value::as_str).collect();
    assert_eq!(kinds, RuleKind::ALL.iter().map(|kind| kind.as_str()).collect());
}
