//! Reads a configuration file and reports every mistake in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strum::VariantArray as _;
use toml::Spanned;
use toml::de::DeTable;

use crate::net::address::Address;
use crate::net::network::{Network, NetworkError};
use crate::telemetry::durable;
use respguard_engine::command::Table;
use respguard_engine::link::breaker::Thresholds;
use respguard_engine::policy::rule::{KeyForm, Word, Written, WrittenPipeline};
use respguard_engine::policy::warn::warnings;
use respguard_engine::policy::{Policy, compile};

use super::credential::Sources;
use super::error::{ConfigError, ConfigErrors, Position};
use super::form::Form;
use super::section::{Finding, Findings, Section};
use super::values::{TIMEOUT_MS_MAX, address, timeout};
use super::{Admin, Config, Listen, Sharing, THRESHOLDS, Topology, Upstream, audit, rest, rules, security, slots, topology};

const WORKERS_MAX: u64 = 256;
const CLIENTS_MAX: u64 = 1_000_000;
/// The file of violations: how large it may be, and how many full ones are kept.
const FILE_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
const FILES_KEPT_DEFAULT: usize = 4;
const FILES_KEPT_MAX: u64 = 100;
const LEASES_MAX: u64 = 1_000_000;
const CONNECTIONS_MAX: u64 = 1_000_000;
const RETRIES_MAX: u64 = 1_000_000;
const BUFFERED_BYTES_MIN: u64 = 1024 * 1024;
const BUFFERED_BYTES_MAX: u64 = 1 << 40;
const THROUGHPUT_MAX: u64 = 1_000_000;

/// A configuration and where it came from. The default is what applies without a file.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub config: Config,
    pub file: Option<PathBuf>,
    pub text: String,
    /// What is odd about it, although it is good.
    pub warnings: Vec<ConfigError>,
}

/// The configuration in a file; environment variables that it names are read now.
pub fn load(file: &Path, table: &Table) -> Result<Loaded, ConfigErrors> {
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    let (config, warnings) = read_all(&text, file, table, &|variable| std::env::var(variable).ok())?;
    Ok(Loaded { config, file: Some(file.to_owned()), text, warnings })
}

/// What a file says of the admin endpoints alone. Whoever asks a running respguard needs nothing else of it: neither the other
/// credentials that it names nor rules that are good.
pub fn load_admin(file: &Path) -> Result<Admin, ConfigErrors> {
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    let (mut findings, environment) = (Findings::default(), |variable: &str| std::env::var(variable).ok());
    let sources = Sources { environment: &environment, folder: file.parent().unwrap_or(Path::new("")) };
    let document = parse(&text, &mut findings);
    let read = document.map(|document| {
        let section = Section::root(document.get_ref()).section("admin", &mut findings);
        admin(section, &sources, &mut findings)
    });
    read.filter(|_| findings.errors.is_empty()).ok_or_else(|| errors(findings.errors, file, &text))
}

/// The configuration in a text that came from `file`.
pub fn read(
    text: &str,
    file: &Path,
    table: &Table,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    read_all(text, file, table, environment).map(|(config, _)| config)
}

fn read_all(
    text: &str,
    file: &Path,
    table: &Table,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Vec<ConfigError>), ConfigErrors> {
    let mut findings = Findings::default();
    let sources = Sources { environment, folder: file.parent().unwrap_or(Path::new("")) };
    let config = document(text, table, &sources, &mut findings);
    match config {
        Some(config) if findings.errors.is_empty() => Ok((config, errors(findings.warnings, file, text).0)),
        _ => Err(errors(findings.errors, file, text)),
    }
}

/// The rules of a good configuration as they are written there.
pub fn written(text: &str) -> Written {
    let (document, _) = DeTable::parse_recoverable(text);
    rules::read(&mut Section::root(document.get_ref()), WrittenPipeline::default(), &mut Findings::default())
}

/// Every key that can be written, as `listen.address` or `group.name`, and what it may be: what a documentation must name.
pub fn known_keys() -> BTreeMap<String, Form> {
    let mut findings = Findings::default();
    let sources = Sources { environment: &|_| None, folder: Path::new("") };
    let one_of_each = "[listen.users.one]\n[rest.tokens.one]\n[[group]]\ncommands = [{}]\n[[ttl]]\n[[expect]]\n[[guard]]\n[[degrade]]\n[[relation]]\n[[compress]]\n";
    document(one_of_each, &Table::builtin(), &sources, &mut findings);
    findings.known
}

fn unreadable(file: &Path, error: &std::io::Error) -> ConfigErrors {
    ConfigErrors(vec![ConfigError {
        file: file.to_owned(),
        position: None,
        key: String::new(),
        message: format!("the file cannot be read: {error}"),
        expected: "a TOML file".to_owned(),
        line: String::new(),
    }])
}

fn errors(mut findings: Vec<Finding>, file: &Path, text: &str) -> ConfigErrors {
    findings.sort_by_key(|finding| finding.span.start);
    let errors = findings.into_iter().map(|finding| {
        let position = Position::of(finding.span.start, text);
        ConfigError {
            file: file.to_owned(),
            position: Some(position),
            key: finding.path,
            message: finding.message,
            expected: finding.expected,
            line: text.lines().nth(position.line - 1).unwrap_or_default().to_owned(),
        }
    });
    ConfigErrors(errors.collect())
}

/// The text as TOML, if it is that.
fn parse<'t>(text: &'t str, findings: &mut Findings) -> Option<Spanned<DeTable<'t>>> {
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    for error in &syntax_errors {
        let message = error.message().replace('\n', ", ");
        findings.add_at(error.span().unwrap_or_default(), "", message, "TOML");
    }
    syntax_errors.is_empty().then_some(document)
}

/// What the text means, as far as it can be read; whatever is wrong is in `findings`.
fn document(text: &str, table: &Table, sources: &Sources<'_>, findings: &mut Findings) -> Option<Config> {
    let document = parse(text, findings)?;
    let mut root = Section::root(document.get_ref());
    let workers = root.number("workers", 0..=WORKERS_MAX, 0, findings);
    let listen = listen(root.section("listen", findings), sources, findings);
    let upstream = upstream(root.section("upstream", findings), sources, findings);
    let admin = admin(root.section("admin", findings), sources, findings);
    let rest = rest::read(root.optional_section("rest", findings), sources, findings);
    let breaker = breaker(root.section("breaker", findings), findings);
    let (pipeline, drain_timeout) = pipeline(root.section("pipeline", findings), findings);
    let (violations, violation_keys) = violations(root.section("violations", findings), sources, findings);
    let audit = audit::read(&mut root, sources, findings);
    let written = rules::read(&mut root, pipeline, findings);
    root.end(findings);
    security::check(&listen, &upstream, findings);
    refuse_loops(&upstream, &listen, &admin, findings);
    if let Some(rest) = &rest {
        rest::check(rest, &listen, &admin, &upstream, findings);
    }
    if upstream.sharing == Sharing::Never && !written.degrades.is_empty() {
        // A client whose own connection is lost is closed: there is nobody left to answer.
        findings.add("degrade[0]", "a rule for clients that share connections", "sharing = \"auto\"");
    }
    refuse_unresolved(&upstream, &written, findings);
    audit::refuse_unlogged(audit.as_ref(), &written, findings);
    let policy = match compile(&written, table) {
        Ok(mut policy) => {
            warnings(&written).into_iter().for_each(|warning| findings.warn(&warning.path, warning.message, warning.advice));
            if upstream.topology.is_cluster() {
                audit::warn_of_reported(&policy, findings);
                slots::check(&policy, table, findings);
            }
            policy.violation_keys = violation_keys;
            policy
        }
        Err(errors) => {
            add_rule_errors(errors, findings);
            Policy::passive()
        }
    };
    Some(Config { workers, listen, upstream, admin, rest, breaker, drain_timeout, violations, audit, policy })
}

/// Rules are compiled even where keys of them could not be read; what only follows from that is left out.
fn add_rule_errors(errors: Vec<respguard_engine::policy::RuleError>, findings: &mut Findings) {
    let news: Vec<_> = errors.into_iter().filter(|error| !findings.covers(&error.path)).collect();
    for error in news {
        findings.add(&error.path, error.message, error.expected);
    }
}

fn listen(mut section: Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> Listen {
    let defaults = Listen::default();
    let clients_max = section.number("clients_max", 1..=CLIENTS_MAX, defaults.clients_max, findings);
    let range = BUFFERED_BYTES_MIN..=BUFFERED_BYTES_MAX;
    let buffered_bytes_max = section.number("buffered_bytes_max", range, defaults.buffered_bytes_max, findings);
    let listen = Listen {
        address: address(&mut section, findings).unwrap_or(defaults.address),
        clients_max,
        users: security::users(&mut section, sources, findings),
        tls: security::listen_tls(&mut section, sources, findings),
        buffered_bytes_max,
        unix_mode: unix_mode(&mut section, findings),
        proxy_protocol: proxy_protocol(&mut section, findings),
    };
    if listen.unix_mode.is_some() && !matches!(listen.address, Address::Unix(_)) {
        findings.add(
            &section.path_of("unix_mode"),
            "only a unix socket has permissions",
            "address = \"unix:/path\", or no such key",
        );
    }
    if !listen.proxy_protocol.is_empty() && matches!(listen.address, Address::Unix(_)) {
        let path = section.path_of("proxy_protocol");
        findings.add(&path, "a unix socket's clients have no address to be told from", "an address with a port, or no such key");
    }
    section.end(findings);
    listen
}

/// Where load balancers are that say for whom they connect.
fn proxy_protocol(section: &mut Section<'_>, findings: &mut Findings) -> Vec<Network> {
    let path = section.path_of("proxy_protocol");
    let written = section.texts("proxy_protocol", findings).unwrap_or_default();
    let mut networks = Vec::new();
    for (place, text) in written.iter().enumerate() {
        match text.parse() {
            Ok(network) => networks.push(network),
            Err(error) => {
                let _: NetworkError = error;
                findings.add(&format!("{path}[{place}]"), error.to_string(), Network::EXPECTED);
            }
        }
    }
    networks
}

/// Permissions as `chmod` takes them: octal digits in a text, for TOML has no octal number that reads like them.
fn unix_mode(section: &mut Section<'_>, findings: &mut Findings) -> Option<u32> {
    let text = section.text("unix_mode", findings)?;
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| digits && *mode <= 0o777);
    if mode.is_none() {
        findings.add(
            &section.path_of("unix_mode"),
            format!("{text:?} is no mode of a file"),
            "three octal digits such as \"0660\"",
        );
    }
    mode
}

fn upstream(mut section: Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> Upstream {
    let defaults = Upstream::default();
    let topology = topology::read(&mut section, sources, findings).unwrap_or(defaults.topology);
    let credentials = sources.upstream(&mut section, findings);
    let probe = sources.probe(&mut section, findings);
    let connections_max = section.number("connections_max", 1..=CONNECTIONS_MAX, defaults.connections_max, findings);
    let leases_max = section.number("leases_max", 1..=LEASES_MAX, defaults.leases_max, findings);
    let upstream = Upstream {
        topology,
        credentials,
        probe,
        tls: security::upstream_tls(&mut section, sources, findings),
        sharing: section.word("sharing", findings).unwrap_or_default(),
        connect_timeout: timeout(&mut section, "connect_timeout_ms", defaults.connect_timeout, findings),
        request_timeout: timeout(&mut section, "request_timeout_ms", defaults.request_timeout, findings),
        slow_timeout: timeout(&mut section, "slow_timeout_ms", defaults.slow_timeout, findings),
        stall_timeout: timeout(&mut section, "stall_timeout_ms", defaults.stall_timeout, findings),
        queue_timeout: timeout(&mut section, "queue_timeout_ms", defaults.queue_timeout, findings),
        heartbeat: timeout(&mut section, "heartbeat_ms", defaults.heartbeat, findings),
        heartbeat_timeout: timeout(&mut section, "heartbeat_timeout_ms", defaults.heartbeat_timeout, findings),
        connections_max,
        leases_max,
        retry_reads: section.truth("retry_reads", defaults.retry_reads, findings),
        retry_share: section.ratio("retry_share", defaults.retry_share, findings),
        retries_per_second: section.number("retries_per_second", 0..=RETRIES_MAX, defaults.retries_per_second, findings),
    };
    section.end(findings);
    upstream
}

/// A group with a marker needs a lost connection that can be ended by its id, and one that others are not lost with.
fn refuse_unresolved(upstream: &Upstream, written: &Written, findings: &mut Findings) {
    let expected = match upstream {
        Upstream { sharing: Sharing::Never, .. } => "sharing = \"auto\", or false",
        // All connections over one have the same address there.
        Upstream { topology: Topology::Fixed(Address::Unix(_)), .. } => "an upstream that is not a unix socket, or false",
        _ => return,
    };
    for (place, _) in written.groups.iter().enumerate().filter(|(_, group)| group.resolve) {
        findings.add(&format!("group[{place}].resolve"), "its lost connection could not be told from others", expected);
    }
}

fn admin(mut section: Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> Admin {
    let token = sources.environment_secret(&mut section, "token_env", findings);
    if let Some(token) = &token {
        Sources::check_token(&section.path_of("token_env"), token, findings);
    }
    let admin = Admin {
        address: address(&mut section, findings).unwrap_or(Admin::default().address),
        token,
        slow: Some(section.number("slow_ms", 0..=TIMEOUT_MS_MAX, 100, findings)).filter(|ms| *ms > 0).map(Duration::from_millis),
    };
    section.end(findings);
    admin
}

fn breaker(mut section: Section<'_>, findings: &mut Findings) -> Option<Thresholds> {
    let defaults = THRESHOLDS;
    let is_wanted = section.truth("enabled", true, findings);
    let thresholds = Thresholds {
        failure_ratio: section.ratio("failure_ratio", defaults.failure_ratio, findings),
        throughput_min: section.number("throughput_min", 1..=THROUGHPUT_MAX, defaults.throughput_min, findings),
        sampling: timeout(&mut section, "sampling_ms", defaults.sampling, findings),
        longest_break: timeout(&mut section, "break_ms", defaults.longest_break, findings),
    };
    section.end(findings);
    is_wanted.then_some(thresholds)
}

fn pipeline(mut section: Section<'_>, findings: &mut Findings) -> (WrittenPipeline, Duration) {
    let defaults = WrittenPipeline::default();
    let pipeline = WrittenPipeline {
        report: section.truth("report", defaults.report, findings),
        hold_ms: section.number("hold_ms", 0..=10_000, defaults.hold_ms, findings),
        hold_max_ms: section.number("hold_max_ms", 0..=10_000, defaults.hold_max_ms, findings),
        guard_prefix: section.text("guard_prefix", findings).unwrap_or(defaults.guard_prefix),
    };
    let drain_timeout = timeout(&mut section, "drain_timeout_ms", Config::default().drain_timeout, findings);
    section.end(findings);
    (pipeline, drain_timeout)
}

fn violations(mut section: Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> (Option<durable::Settings>, KeyForm) {
    let keys = section.word("keys", findings).unwrap_or_default();
    let file = section.text("file", findings);
    let bytes_max = section.number("file_bytes_max", 1024..=FILE_BYTES_MAX, FILE_BYTES_DEFAULT, findings);
    let kept_max = section.number("files_kept", 0..=FILES_KEPT_MAX, FILES_KEPT_DEFAULT, findings);
    if file.as_ref().is_some_and(String::is_empty) {
        findings.add(&section.path_of("file"), "the name is empty", "a file's path, or no such key");
    }
    section.end(findings);
    let settings = |file| durable::Settings { file: sources.folder.join(file), bytes_max, kept_max };
    (file.map(settings), keys)
}

/// Two sockets cannot have one address, and a proxy that is its own upstream would never answer.
fn refuse_loops(upstream: &Upstream, listen: &Listen, admin: &Admin, findings: &mut Findings) {
    if upstream.topology.addresses().contains(&listen.address) {
        let key = match &upstream.topology {
            Topology::Fixed(_) => "upstream.address",
            Topology::Sentinel(_) => "upstream.sentinels",
            Topology::Cluster(_) => "upstream.cluster",
        };
        findings.add(key, "this is where the proxy itself listens", "the address of a Redis server");
    }
    let chosen_by_system = matches!(listen.address, Address::Tcp { port: 0, .. });
    if admin.address == listen.address && !chosen_by_system {
        findings.add("admin.address", "this is where clients connect", "an address of its own");
    }
}

impl Word for Sharing {
    const ALL: &'static [Self] = Self::VARIANTS;

    fn as_str(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests;
