//! Reads a configuration file and says everything that is wrong with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use crate::engine::command::Table;
use crate::engine::link::breaker::Thresholds;
use crate::engine::policy::rule::{Word, WrittenPipeline};
use crate::engine::policy::{Policy, compile};
use crate::net::address::{Address, AddressError};
use crate::telemetry::durable;

use super::credential::Sources;
use super::error::{ConfigError, ConfigErrors, Position};
use super::section::{Finding, Findings, Section};
use super::{Admin, Config, Listen, Sharing, THRESHOLDS, Upstream, rules, security};

/// The longest that any timeout can be.
const TIMEOUT_MS_MAX: u64 = 3_600_000;
const WORKERS_MAX: u64 = 256;
const CLIENTS_MAX: u64 = 1_000_000;
/// The file of violations: how large it may be, and how many full ones are kept.
const FILE_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
const FILES_KEPT_DEFAULT: u64 = 4;
const FILES_KEPT_MAX: u64 = 100;
const LEASES_MAX: u64 = 1_000_000;
const BUFFERED_BYTES_MIN: u64 = 1024 * 1024;
const BUFFERED_BYTES_MAX: u64 = 1 << 40;
const THROUGHPUT_MAX: u64 = 1_000_000;

/// A configuration and where it came from. The default is what applies without a file.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub config: Config,
    pub file: Option<PathBuf>,
    pub text: String,
}

/// The configuration in a file; environment variables that it names are read now.
pub fn load(file: &Path, table: &Table) -> Result<Loaded, ConfigErrors> {
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
    let config = read(&text, file, table, &|variable| std::env::var(variable).ok())?;
    Ok(Loaded { config, file: Some(file.to_owned()), text })
}

/// The configuration in a text that came from `file`.
pub fn read(
    text: &str,
    file: &Path,
    table: &Table,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    let mut findings = Findings::default();
    let sources = Sources { environment, folder: file.parent().unwrap_or(Path::new("")) };
    let config = document(text, table, &sources, &mut findings);
    match config {
        Some(config) if findings.errors.is_empty() => Ok(config),
        _ => Err(errors(findings.errors, file, text)),
    }
}

/// Every key that can be written, as `listen.address` or `group.name`: what a documentation must name.
pub fn known_keys() -> BTreeSet<String> {
    let mut findings = Findings::default();
    let sources = Sources { environment: &|_| None, folder: Path::new("") };
    let one_of_each = "[listen.users.one]\n[[group]]\ncommands = [{}]\n[[ttl]]\n[[expect]]\n[[guard]]\n[[degrade]]\n";
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

/// What the text means, as far as it can be read; whatever is wrong is in `findings`.
fn document(text: &str, table: &Table, sources: &Sources<'_>, findings: &mut Findings) -> Option<Config> {
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    for error in &syntax_errors {
        let message = error.message().replace('\n', ", ");
        findings.add_at(error.span().unwrap_or_default(), "", message, "TOML");
    }
    if !syntax_errors.is_empty() {
        return None;
    }
    let mut root = Section::root(document.get_ref());
    let workers = root.number("workers", 0..=WORKERS_MAX, 0, findings);
    let listen = listen(root.section("listen", findings), sources, findings);
    let upstream = upstream(root.section("upstream", findings), sources, findings);
    let admin = admin(root.section("admin", findings), sources, findings);
    let breaker = breaker(root.section("breaker", findings), findings);
    let (pipeline, drain_timeout) = pipeline(root.section("pipeline", findings), findings);
    let violations = violations(root.section("violations", findings), sources, findings);
    let written = rules::read(&mut root, pipeline, findings);
    root.end(findings);
    security::check(&listen, &upstream, findings);
    refuse_loops(&upstream, &listen, &admin, findings);
    if upstream.sharing == Sharing::Never && !written.degrades.is_empty() {
        // A client whose own connection is lost is closed: there is nobody left to answer.
        findings.add("degrade[0]", "a rule for clients that share connections", "sharing = \"auto\"");
    }
    let policy = match compile(&written, table) {
        Ok(policy) => policy,
        Err(errors) => {
            add_rule_errors(errors, findings);
            Policy::passive()
        }
    };
    let workers = usize::try_from(workers).ok()?;
    Some(Config { workers, listen, upstream, admin, breaker, drain_timeout, violations, policy })
}

/// Rules are compiled even where keys of them could not be read; what only follows from that is left out.
fn add_rule_errors(errors: Vec<crate::engine::policy::RuleError>, findings: &mut Findings) {
    let news: Vec<_> = errors.into_iter().filter(|error| !findings.covers(&error.path)).collect();
    for error in news {
        findings.add(&error.path, error.message, error.expected);
    }
}

fn listen(mut section: Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> Listen {
    let defaults = Listen::default();
    let clients_max = section.number("clients_max", 1..=CLIENTS_MAX, defaults.clients_max as u64, findings);
    let range = BUFFERED_BYTES_MIN..=BUFFERED_BYTES_MAX;
    let buffered_bytes_max = section.number("buffered_bytes_max", range, defaults.buffered_bytes_max as u64, findings);
    let listen = Listen {
        address: address(&mut section, findings).unwrap_or(defaults.address),
        clients_max: usize::try_from(clients_max).unwrap_or(defaults.clients_max),
        users: security::users(&mut section, sources, findings),
        tls: security::listen_tls(&mut section, sources, findings),
        buffered_bytes_max: usize::try_from(buffered_bytes_max).unwrap_or(defaults.buffered_bytes_max),
    };
    section.end(findings);
    listen
}

fn upstream(mut section: Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> Upstream {
    let defaults = Upstream::default();
    let credentials = sources.upstream(&mut section, findings);
    let leases_max = section.number("leases_max", 1..=LEASES_MAX, defaults.leases_max as u64, findings);
    let upstream = Upstream {
        address: address(&mut section, findings).unwrap_or(defaults.address),
        credentials,
        tls: security::upstream_tls(&mut section, sources, findings),
        sharing: section.word("sharing", findings).unwrap_or_default(),
        connect_timeout: timeout(&mut section, "connect_timeout_ms", defaults.connect_timeout, findings),
        request_timeout: timeout(&mut section, "request_timeout_ms", defaults.request_timeout, findings),
        stall_timeout: timeout(&mut section, "stall_timeout_ms", defaults.stall_timeout, findings),
        queue_timeout: timeout(&mut section, "queue_timeout_ms", defaults.queue_timeout, findings),
        heartbeat: timeout(&mut section, "heartbeat_ms", defaults.heartbeat, findings),
        heartbeat_timeout: timeout(&mut section, "heartbeat_timeout_ms", defaults.heartbeat_timeout, findings),
        leases_max: usize::try_from(leases_max).unwrap_or(defaults.leases_max),
    };
    if matches!(upstream.address, Address::Tcp { port: 0, .. }) {
        findings.add("upstream.address", "port 0 is no server's port", "a port from 1 to 65535");
    }
    section.end(findings);
    upstream
}

fn admin(mut section: Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> Admin {
    let admin = Admin {
        address: address(&mut section, findings).unwrap_or(Admin::default().address),
        token: sources.environment_secret(&mut section, "token_env", findings),
    };
    section.end(findings);
    admin
}

fn breaker(mut section: Section<'_>, findings: &mut Findings) -> Option<Thresholds> {
    let defaults = THRESHOLDS;
    let is_wanted = section.truth("enabled", true, findings);
    let throughput = section.number("throughput_min", 1..=THROUGHPUT_MAX, defaults.throughput_min.into(), findings);
    let thresholds = Thresholds {
        failure_ratio: section.ratio("failure_ratio", defaults.failure_ratio, findings),
        throughput_min: u32::try_from(throughput).unwrap_or(defaults.throughput_min),
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

fn violations(mut section: Section<'_>, sources: &Sources<'_>, findings: &mut Findings) -> Option<durable::Settings> {
    let file = section.text("file", findings);
    let bytes_max = section.number("file_bytes_max", 1024..=FILE_BYTES_MAX, FILE_BYTES_DEFAULT, findings);
    let kept_max = section.number("files_kept", 0..=FILES_KEPT_MAX, FILES_KEPT_DEFAULT, findings);
    if file.as_ref().is_some_and(String::is_empty) {
        findings.add(&section.path_of("file"), "the name is empty", "a file's path, or no such key");
    }
    section.end(findings);
    let kept_max = usize::try_from(kept_max).ok()?;
    Some(durable::Settings { file: sources.folder.join(file?), bytes_max, kept_max })
}

fn address(section: &mut Section<'_>, findings: &mut Findings) -> Option<Address> {
    let text = section.text("address", findings)?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(error) => {
            let error: AddressError = error;
            findings.add(&section.path_of("address"), error.to_string(), AddressError::EXPECTED);
            None
        }
    }
}

fn timeout(section: &mut Section<'_>, key: &'static str, default: Duration, findings: &mut Findings) -> Duration {
    let default_ms = u64::try_from(default.as_millis()).unwrap_or(TIMEOUT_MS_MAX);
    Duration::from_millis(section.number(key, 1..=TIMEOUT_MS_MAX, default_ms, findings))
}

/// Two sockets cannot have one address, and a proxy that is its own upstream would never answer.
fn refuse_loops(upstream: &Upstream, listen: &Listen, admin: &Admin, findings: &mut Findings) {
    if upstream.address == listen.address {
        findings.add("upstream.address", "this is where the proxy itself listens", "the address of a Redis server");
    }
    let chosen_by_system = matches!(listen.address, Address::Tcp { port: 0, .. });
    if admin.address == listen.address && !chosen_by_system {
        findings.add("admin.address", "this is where clients connect", "an address of its own");
    }
}

impl Word for Sharing {
    const ALL: &'static [Self] = &[Self::Auto, Self::Never];

    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Never => "never",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variable: &str) -> Option<String> {
        match variable {
            "PASSWORD" => Some("hunter2".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn config(text: &str) -> Config {
        read(text, Path::new("f.toml"), &Table::builtin(), &environment).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The errors, one line each.
    fn refusal(text: &str) -> String {
        read(text, Path::new("f.toml"), &Table::builtin(), &environment).err().unwrap().to_string()
    }

    #[test]
    fn every_key_reaches_the_configuration() {
        let config = config(concat!(
            "mode = \"observe\"\nworkers = 256\n",
            "[listen]\naddress = \"unix:/run/s\"\nclients_max = 1\nbuffered_bytes_max = 1048576\n",
            "[upstream]\naddress = \"[::1]:1\"\nsharing = \"never\"\nconnect_timeout_ms = 1\nrequest_timeout_ms = 2\n",
            "stall_timeout_ms = 3\nqueue_timeout_ms = 4\nusername = \"u\"\npassword_env = \"PASSWORD\"\n",
            "heartbeat_ms = 5\nheartbeat_timeout_ms = 6\nleases_max = 7\n",
            "[breaker]\nfailure_ratio = 1.0\nthroughput_min = 8\nsampling_ms = 9\nbreak_ms = 10\n",
            "[admin]\naddress = \"0.0.0.0:0\"\ntoken_env = \"PASSWORD\"\n",
            "[pipeline]\nreport = false\nhold_ms = 0\nhold_max_ms = 0\ndrain_timeout_ms = 0x10\n",
        ));
        assert_eq!(config.policy.mode, crate::engine::policy::Mode::Observe);
        assert_eq!((config.workers, config.listen.clients_max), (256, 1));
        assert_eq!(config.listen.address.to_string(), "unix:/run/s");
        let upstream = &config.upstream;
        assert_eq!((upstream.address.to_string(), upstream.sharing), ("[::1]:1".to_owned(), Sharing::Never));
        let timeouts = [upstream.connect_timeout, upstream.request_timeout, upstream.stall_timeout, upstream.queue_timeout];
        assert_eq!(timeouts.map(|timeout| timeout.as_millis()), [1, 2, 3, 4]);
        assert_eq!([upstream.heartbeat, upstream.heartbeat_timeout].map(|timeout| timeout.as_millis()), [5, 6]);
        assert_eq!((upstream.leases_max, config.listen.buffered_bytes_max), (7, 1_048_576));
        let breaker = config.breaker.unwrap();
        assert_eq!((breaker.failure_ratio, breaker.throughput_min), (1.0, 8));
        assert_eq!([breaker.sampling, breaker.longest_break].map(|time| time.as_millis()), [9, 10]);
        let credentials = upstream.credentials.as_ref().unwrap();
        assert_eq!((credentials.username.as_deref(), credentials.password.expose()), (Some("u"), "hunter2"));
        assert_eq!(config.admin.token.as_ref().unwrap().expose(), "hunter2");
        assert!(!config.policy.report_pipelines && config.policy.hold.gap.is_zero());
        assert_eq!(config.drain_timeout.as_millis(), 16);
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn an_error_names_file_line_column_key_and_what_was_expected() {
        assert_eq!(
            refusal("\n[listen]\nclients_max = 0\n"),
            "f.toml:3:15: listen.clients_max: 0 is out of range (expected a whole number from 1 to 1000000)"
        );
        assert_eq!(
            refusal("[listen]\n  adress = \"127.0.0.1:1\"\n"),
            "f.toml:2:3: listen.adress: the key is unknown (expected perhaps `address`)"
        );
        assert_eq!(
            refusal("mode = \"off\"\n"),
            "f.toml:1:8: mode: \"off\" is not known here (expected \"enforce\" or \"observe\")"
        );
        assert_eq!(
            refusal("workers = \"2\"\n"),
            "f.toml:1:11: workers: this is a string (expected a whole number from 0 to 256)"
        );
    }

    #[test]
    fn an_error_in_a_rule_has_the_line_of_the_very_member() {
        let text = concat!(
            "[[group]]\nname = \"a\"\ncommands = [\"SET a *\", \"SET b *\"]\n",
            "[[group]]\nname = \"b\"\ncommands = [\n  \"SET a *\",\n  { match = \"SETXE b\", optional = true },\n]\n",
        );
        let refusal = refusal(text);
        assert!(refusal.starts_with("f.toml:8:3: group[1].commands[1]: \"SETXE\" is not a known command"), "{refusal}");
    }

    #[test]
    fn what_is_missing_has_the_line_of_its_table() {
        let refusal = refusal("workers = 1\n[[group]]\ncommands = [\"SET a *\", \"SET b *\"]\n");
        assert_eq!(refusal, "f.toml:2:1: group[0].name: the key is missing (expected a string)");
    }

    #[test]
    fn errors_are_reported_together_in_the_order_of_the_file() {
        let text = "workers = 999\nmood = 1\n[listen]\naddress = \"x\"\n[[group]]\nname = \"A\"\nkeys = [1]\n[[ttl]]\n";
        let refusal = refusal(text);
        let starts = ["f.toml:1:11: workers:", "f.toml:2:1: mood:", "f.toml:4:11: listen.address:"];
        let rules = ["f.toml:6:8: group[0].name:", "f.toml:7:9: group[0].keys[0]:", "f.toml:8:1: ttl[0].name:"];
        let lines: Vec<&str> = refusal.lines().collect();
        for (line, start) in lines.iter().zip(starts.iter().chain(&rules)) {
            assert!(line.starts_with(start), "{line} begins with {start}");
        }
        assert_eq!(lines.len(), 7, "{refusal}");
    }

    #[test]
    fn wrong_types_are_refused_everywhere() {
        let texts = [
            "mode = 1",
            "workers = true",
            "workers = 1.5",
            "workers = -1",
            "listen = 1",
            "[[listen]]",
            "listen.address = 1",
            "group = 1",
            "[group]",
            "group = [1]",
            "[pipeline]\nreport = \"yes\"",
            "[[group]]\nname = 1\nkeys = [\"a\"]",
            "[[group]]\nname = \"a\"\ncommands = \"SET\"",
            "[[group]]\nname = \"a\"\ncommands = [\"SET a *\", 1]",
            "[[ttl]]\nname = \"a\"\nkeys = \"a\"",
            "[[ttl]]\nname = \"a\"\nkeys = [\"a\"]\nmax = 5",
            "expect = 1",
            "[[group]]\nname = \"a\"\ncommands = [\"SET a *\", { match = \"SET b *\", optional = 1 }]",
        ];
        for text in texts {
            assert_eq!(refusal(text).lines().count(), 1, "{text}: {}", refusal(text));
        }
    }

    #[test]
    fn broken_toml_is_refused_with_its_line() {
        assert!(refusal("workers = 1\n[listen\n").starts_with("f.toml:2:"));
        assert!(refusal("workers = 1\nworkers = 2\n").starts_with("f.toml:2:"));
    }

    #[test]
    fn numbers_at_the_edges_of_their_ranges_fit() {
        for key in ["connect_timeout_ms", "request_timeout_ms", "stall_timeout_ms", "queue_timeout_ms"] {
            let with = |value: &str| format!("[upstream]\n{key} = {value}\n");
            config(&with("1"));
            config(&with("3_600_000"));
            refusal(&with("0"));
            refusal(&with("3600001"));
        }
        config("workers = 256");
        refusal("workers = 257");
        config("[pipeline]\ndrain_timeout_ms = 1");
        refusal("[pipeline]\ndrain_timeout_ms = 0");
        refusal("workers = 99999999999999999999999999");
    }

    #[test]
    fn a_degrade_rule_that_cannot_work_is_refused() {
        let rule = |keys: &str| format!("[[degrade]]\nname = \"d\"\n{keys}\n");
        config(&rule("keys = [\"a:*\"]\nreads = \"nil\""));
        config(&rule("keys = [\"a:*\"]\nwrites = \"ok\""));
        assert!(refusal(&rule("keys = [\"a:*\"]")).contains("degrade[0]: the rule changes nothing"));
        assert!(refusal(&rule("keys = [\"a:*\"]\nreads = \"error\"\nwrites = \"error\"")).contains("changes nothing"));
        assert!(refusal(&rule("keys = []\nreads = \"nil\"")).contains("degrade[0].keys"));
        assert!(refusal(&rule("keys = [\"a:{x}\"]\nreads = \"nil\"")).contains("no captures"));
        assert!(refusal(&rule("keys = [\"a\"]\nreads = \"empty\"")).contains("degrade[0].reads"));
        assert!(refusal(&rule("keys = [\"a\"]\nwrites = \"nil\"")).contains("degrade[0].writes"));
        let never = format!("[upstream]\nsharing = \"never\"\n{}", rule("keys = [\"a\"]\nreads = \"nil\""));
        assert!(refusal(&never).contains("sharing"));
    }

    #[test]
    fn a_ratio_is_above_0_and_at_most_1() {
        let with = |value: &str| format!("[breaker]\nfailure_ratio = {value}\n");
        for good in ["0.001", "1.0", "1"] {
            config(&with(good));
        }
        for bad in ["0", "0.0", "-0.5", "1.01", "nan", "inf", "\"0.5\""] {
            assert!(refusal(&with(bad)).contains("breaker.failure_ratio"), "{bad}");
        }
        assert_eq!(config("[breaker]\nenabled = false\n").breaker, None);
    }

    #[test]
    fn credentials_that_are_not_there_are_refused_by_name() {
        let upstream = |keys: &str| refusal(&format!("[upstream]\n{keys}\n"));
        assert!(upstream("password_env = \"NOWHERE\"").contains("\"NOWHERE\" is not set"));
        assert!(upstream("password_env = \"EMPTY\"").contains("\"EMPTY\" is empty"));
        assert!(upstream("password_file = \"/no/such/file\"").contains("/no/such/file cannot be read"));
        assert!(upstream("username = \"u\"").contains("a user without a password"));
        assert!(refusal("[admin]\ntoken_env = \"NOWHERE\"").contains("admin.token_env"));
    }

    #[test]
    fn a_password_file_lies_beside_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "hunter2\n").unwrap();
        let file = folder.path().join("f.toml");
        std::fs::write(&file, "[upstream]\npassword_file = \"password\"\n").unwrap();
        let config = load(&file, &Table::builtin()).unwrap().config;
        assert_eq!(config.upstream.credentials.unwrap().password.expose(), "hunter2");
        std::fs::write(&file, "[upstream]\npassword_file = \"password\"\npassword_env = \"PATH\"\n").unwrap();
        let both = load(&file, &Table::builtin()).unwrap_err().to_string();
        assert!(both.contains("both password_env and password_file"), "{both}");
        let missing = load(&folder.path().join("none"), &Table::builtin()).unwrap_err().to_string();
        assert!(missing.contains("the file cannot be read"), "{missing}");
    }

    #[test]
    fn static_credentials_are_lent_only_to_this_machine() {
        let text = |address: &str| format!("[upstream]\npassword_env = \"PASSWORD\"\n[listen]\naddress = \"{address}\"\n");
        for address in ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/s"] {
            config(&text(address));
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "redis.example:1"] {
            let refusal = refusal(&text(address));
            assert!(refusal.starts_with("f.toml:4:11: listen.address:") && refusal.contains("open relay"), "{refusal}");
        }
        config("[listen]\naddress = \"0.0.0.0:1\"\n");
    }

    #[test]
    fn a_proxy_is_not_its_own_upstream() {
        assert!(refusal("[upstream]\naddress = \"127.0.0.1:6380\"").contains("where the proxy itself listens"));
        assert!(refusal("[upstream]\naddress = \"127.0.0.1:0\"").contains("port 0"));
        assert!(refusal("[admin]\naddress = \"127.0.0.1:6380\"").contains("where clients connect"));
        config("[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(\\[\\[?(group|ttl|listen|expect)\\]?\\]\n|(name|keys|commands|mode|match) = [\\[\\]{}\"a*1,\n]{0,9}\n|.{0,9}\n){0,6}") {
            let _ = read(&text, Path::new("f.toml"), &Table::builtin(), &environment);
        }
    }
}
