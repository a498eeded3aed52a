//! Owns the configuration of the running proxy: applies changes on request, and reports what is in force.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use crate::config::effective::{differences, effective, follow};
use crate::config::{self, ConfigError, ConfigErrors, Loaded};
use crate::net::admin::questions::{Answer, Question};
use crate::net::registry::{Mailbox, Message};
use crate::net::tls::Certificates;
use crate::telemetry::label::{ReloadOutcome, RuleKind};
use crate::telemetry::{gauge, zero};
use respguard_engine::command::Table;
use respguard_engine::policy::rule::Word;
use respguard_engine::policy::{Mode, Policy};

/// The configuration, and whom its rules concern.
pub(super) struct Live {
    /// As it was at the start: what needs a restart is measured against it.
    started_with: Loaded,
    /// As it was when its rules were last put in force.
    in_force: Loaded,
    workers: Vec<Mailbox>,
    /// Where the endpoints see the rules in force.
    shown: Arc<ArcSwap<Policy>>,
    /// Where they see that the rules' mode is not the file's.
    mode_is_switched: Arc<AtomicBool>,
    certificates: Certificates,
    /// Why the certificates' files were no good when they were last read.
    certificates_error: Option<String>,
}

/// What came of reading the configuration again.
enum Reload {
    Applied { restart: Vec<String> },
    Refused(ConfigErrors),
    Unreadable(String),
}

impl Live {
    pub(super) fn new(
        loaded: Loaded,
        workers: Vec<Mailbox>,
        shown: Arc<ArcSwap<Policy>>,
        mode_is_switched: Arc<AtomicBool>,
        certificates: Certificates,
    ) -> Live {
        show_rules(&loaded.config.policy, loaded.config.upstream.topology.is_cluster());
        let started_with = loaded.clone();
        Live { started_with, in_force: loaded, workers, shown, mode_is_switched, certificates, certificates_error: None }
    }

    /// Reads the file again at each SIGHUP and wherever that is asked for, one after the other.
    pub(super) async fn run(mut self, mut hangups: Signal, mut questions: mpsc::Receiver<Question>) {
        loop {
            tokio::select! {
                Some(()) = hangups.recv() => drop(self.reload().await),
                Some(question) = questions.recv() => self.answer(question).await,
                else => return,
            }
        }
    }

    async fn answer(&mut self, question: Question) {
        // Whoever asked may not wait any more.
        let _ = match question {
            Question::Reload(answer) => {
                let reload = self.reload().await;
                answer.send(self.answer_reload(&reload))
            }
            Question::Mode(mode, answer) => answer.send(self.switch(mode).await),
            Question::Config(answer) => answer.send(Answer { status: StatusCode::OK, body: self.describe() }),
        };
    }

    async fn reload(&mut self) -> Reload {
        self.reload_certificates();
        let reload = match self.in_force.file.clone() {
            Some(file) => self.reload_from(&file).await,
            None => Reload::Unreadable("respguard runs without --config: there is no file to read".to_owned()),
        };
        gauge::count_reload(match &reload {
            Reload::Applied { restart } => {
                let policy = &self.in_force.config.policy;
                let restart = (!restart.is_empty()).then(|| restart.join(" "));
                info!(groups = policy.groups().len(), ttl_rules = policy.ttl_rules().len(), restart, "the rules were read again");
                ReloadOutcome::Applied
            }
            Reload::Refused(errors) => {
                warn!(%errors, "the configuration is invalid: the previous rules stay in force");
                ReloadOutcome::Refused
            }
            Reload::Unreadable(error) => {
                warn!(error, "the configuration cannot be read: the previous rules stay in force");
                ReloadOutcome::Unreadable
            }
        });
        reload
    }

    /// Certificates are replaced whatever becomes of the rules.
    fn reload_certificates(&mut self) {
        let failure = if self.certificates.is_empty() { None } else { self.certificates.reload_and_log().err() };
        self.certificates_error = failure.map(|error| error.to_string());
    }

    async fn reload_from(&mut self, file: &Path) -> Reload {
        let path = file.to_owned();
        let read = tokio::task::spawn_blocking(move || config::load(&path, &Table::builtin())).await;
        match read {
            Ok(Ok(loaded)) => {
                self.put_in_force(loaded).await;
                Reload::Applied { restart: self.restart_keys() }
            }
            Ok(Err(errors)) if errors.0.iter().all(|error| error.position.is_none()) => Reload::Unreadable(errors.to_string()),
            Ok(Err(errors)) => Reload::Refused(errors),
            Err(error) => Reload::Unreadable(error.to_string()),
        }
    }

    async fn put_in_force(&mut self, loaded: Loaded) {
        self.in_force = loaded;
        self.spread(self.in_force.config.policy.clone()).await;
    }

    /// The rules of the file, in a mode that holds until the file is read again.
    async fn switch(&mut self, mode: Mode) -> Answer {
        let configured = self.in_force.config.policy.mode;
        let mut policy = self.in_force.config.policy.clone();
        policy.mode = mode;
        self.spread(policy).await;
        let is_switched = mode != configured;
        if is_switched {
            warn!(
                mode = mode.as_str(),
                configured = configured.as_str(),
                "an operator has switched the rules' mode until the next reload"
            );
        } else {
            info!(mode = mode.as_str(), "the rules' mode is that of the configuration again");
        }
        let body = json!({ "mode": mode.as_str(), "configured": configured.as_str(), "until_reload": is_switched });
        Answer { status: StatusCode::OK, body }
    }

    /// Every worker plans with the new rules when this has returned.
    async fn spread(&mut self, policy: Policy) {
        let policy = Arc::new(policy);
        for worker in &self.workers {
            let (done, followed) = oneshot::channel();
            // A worker that has ended has nothing to plan.
            let _ = worker.sender.send(Message::Policy(Arc::clone(&policy), done)).await;
            let _ = followed.await;
        }
        show_rules(&policy, self.started_with.config.upstream.topology.is_cluster());
        self.mode_is_switched.store(policy.mode != self.in_force.config.policy.mode, Ordering::Relaxed);
        self.shown.store(policy);
    }

    /// Settings that the file has otherwise than the running process, and that it does not follow.
    fn restart_keys(&self) -> Vec<String> {
        let (before, after) = (effective(&self.started_with.text), effective(&self.in_force.text));
        let differing = differences(&before, &after).into_iter().filter(|difference| !difference.is_live());
        let mut keys: Vec<_> = differing.map(|difference| difference.key).collect();
        let (before, after) = (&self.started_with.config, &self.in_force.config);
        if before.upstream.credentials != after.upstream.credentials && !keys.iter().any(|key| key.starts_with("upstream.pass")) {
            keys.push("upstream.password_file".to_owned());
        }
        if before.listen.users != after.listen.users && !keys.iter().any(|key| key.starts_with("listen.users")) {
            keys.push("listen.users".to_owned());
        }
        keys
    }

    fn answer_reload(&self, reload: &Reload) -> Answer {
        let file = self.in_force.file.as_deref().map(|file| file.to_string_lossy().into_owned());
        let mut answer = match reload {
            Reload::Applied { restart } => {
                let policy = &self.in_force.config.policy;
                let (groups, ttl_rules, degrade_rules) =
                    (policy.groups().len(), policy.ttl_rules().len(), policy.degrade_rules().len());
                let (expectations, guards) = (policy.expects().len(), policy.guards().len());
                let relations = policy.relations().len();
                let outcome = ReloadOutcome::Applied.as_str();
                let body = json!({
                    "outcome": outcome, "file": file, "groups": groups, "ttl_rules": ttl_rules, "degrade_rules": degrade_rules,
                    "expectations": expectations, "guards": guards, "relations": relations, "needs_restart": restart
                });
                Answer { status: StatusCode::OK, body }
            }
            Reload::Refused(errors) => {
                let all: Vec<Value> = errors.0.iter().map(error).collect();
                let body = json!({
                    "outcome": ReloadOutcome::Refused.as_str(), "file": file, "error": errors.to_string(), "errors": all
                });
                Answer { status: StatusCode::UNPROCESSABLE_ENTITY, body }
            }
            Reload::Unreadable(error) => {
                let body = json!({ "outcome": ReloadOutcome::Unreadable.as_str(), "file": file, "error": error });
                Answer { status: StatusCode::CONFLICT, body }
            }
        };
        answer.body["certificates"] = match &self.certificates_error {
            _ if self.certificates.is_empty() => Value::Null,
            None => json!({ "replaced": true }),
            Some(error) => json!({ "replaced": false, "error": error }),
        };
        answer
    }

    /// The settings that the process runs with, and the rules in force.
    fn describe(&self) -> Value {
        let mut all = effective(&self.started_with.text);
        follow(&mut all, &effective(&self.in_force.text));
        let file = self.in_force.file.as_deref().map(|file| file.to_string_lossy().into_owned());
        json!({ "file": file, "needs_restart": self.restart_keys(), "config": all })
    }
}

fn error(error: &ConfigError) -> Value {
    let ConfigError { position, key, message, expected, .. } = error;
    let (line, column) = position.map(|position| (position.line, position.column)).unzip();
    json!({ "line": line, "column": column, "key": key, "message": message, "expected": expected })
}

fn show_rules(policy: &Policy, is_cluster: bool) {
    zero::show_violations(policy, is_cluster);
    gauge::set_mode(policy.mode);
    gauge::set_config_rules(RuleKind::Group, policy.groups().len());
    gauge::set_config_rules(RuleKind::Ttl, policy.ttl_rules().len());
    gauge::set_config_rules(RuleKind::Degrade, policy.degrade_rules().len());
    gauge::set_config_rules(RuleKind::Expect, policy.expects().len());
    gauge::set_config_rules(RuleKind::Compress, policy.compress_rules().len());
    gauge::set_config_rules(RuleKind::Guard, policy.guards().len());
    gauge::set_config_rules(RuleKind::Relation, policy.relations().len());
}
