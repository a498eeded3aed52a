//! The proxy as a process of its own, with its log and its metrics.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::redis::free_port;
use super::{Http, PATIENCE, RedisServer, Wire, eventually, signal, within};

const EXIT_CANNOT_LISTEN: i32 = 3;

/// What a proxy is started with; each text is TOML for its section.
pub struct Setup {
    listen_address: String,
    upstream_address: String,
    log_level: &'static str,
    pub top: String,
    pub listen: String,
    pub upstream: String,
    pub admin: String,
    pub pipeline: String,
    rest: Option<String>,
    pub rules: String,
    pub environment: Vec<(String, String)>,
}

impl Setup {
    /// Two workers, no rules.
    pub fn new(redis: &RedisServer) -> Setup {
        Setup::before(redis.port())
    }

    /// Likewise, before whatever listens there.
    pub fn before(port: u16) -> Setup {
        Setup {
            listen_address: "127.0.0.1:0".to_owned(),
            upstream_address: format!("127.0.0.1:{port}"),
            log_level: "info",
            top: "workers = 2".to_owned(),
            listen: String::new(),
            upstream: String::new(),
            admin: String::new(),
            pipeline: String::new(),
            rest: None,
            rules: String::new(),
            environment: Vec::new(),
        }
    }

    /// The server is reached through this port.
    pub fn through(self, port: u16) -> Setup {
        self.reach(&format!("127.0.0.1:{port}"))
    }

    /// Where it listens, if not on a port of the loopback address.
    pub fn listen_on(mut self, address: &str) -> Setup {
        self.listen_address = address.to_owned();
        self
    }

    /// How it reaches the server, if not over plain TCP.
    pub fn reach(mut self, address: &str) -> Setup {
        self.upstream_address = address.to_owned();
        self
    }

    /// It is found by these sentinels, which `upstream` goes on about.
    pub fn found_by(self, sentinels: &[u16], upstream: &str) -> Setup {
        let sentinels: Vec<_> = sentinels.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        self.found_at(&sentinels, upstream)
    }

    /// It stands before the cluster of these nodes, and `upstream` goes on about it.
    pub fn cluster(self, seeds: &[u16], upstream: &str) -> Setup {
        let seeds: Vec<_> = seeds.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        self.cluster_at(&seeds, upstream)
    }

    /// The same, of nodes that are reached by these addresses.
    pub fn cluster_at(self, seeds: &[String], upstream: &str) -> Setup {
        let written = format!("cluster = {seeds:?}\n{upstream}");
        self.reach("").upstream(&written)
    }

    /// The same for sentinels.
    pub fn found_at(self, sentinels: &[String], upstream: &str) -> Setup {
        let written = format!("sentinels = {sentinels:?}\nservice = \"m\"\n{upstream}");
        self.reach("").upstream(&written)
    }

    /// How much it logs, if not `info`.
    pub fn log_level(mut self, level: &'static str) -> Setup {
        self.log_level = level;
        self
    }

    /// Keys of the file's top.
    pub fn top(mut self, toml: &str) -> Setup {
        self.top = toml.to_owned();
        self
    }

    /// Keys of `[listen]`.
    pub fn listen(mut self, toml: &str) -> Setup {
        self.listen = toml.to_owned();
        self
    }

    /// Keys of `[upstream]`.
    pub fn upstream(mut self, toml: &str) -> Setup {
        self.upstream = toml.to_owned();
        self
    }

    /// Keys of `[admin]`.
    pub fn admin(mut self, toml: &str) -> Setup {
        self.admin = toml.to_owned();
        self
    }

    /// Keys of `[pipeline]`.
    pub fn pipeline(mut self, toml: &str) -> Setup {
        self.pipeline = toml.to_owned();
        self
    }

    /// A REST front on a port of the loopback address, with these keys of `[rest]`.
    pub fn rest(mut self, toml: &str) -> Setup {
        self.rest = Some(toml.to_owned());
        self
    }

    /// Groups and other rules, whole tables.
    pub fn rules(mut self, toml: &str) -> Setup {
        self.rules = toml.to_owned();
        self
    }

    /// A variable of the proxy's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until it listens.
    pub fn start(self) -> Proxy {
        for _ in 0..10 {
            if let Some(proxy) = Proxy::launch(&self) {
                return proxy;
            }
        }
        panic!("the proxy found no port that stays free");
    }

    /// The configuration file's text.
    pub fn toml(&self, listen: &str, admin_port: u16) -> String {
        let reached = match self.upstream_address.as_str() {
            "" => String::new(),
            address => format!("address = \"{address}\""),
        };
        // On a busy machine connecting takes its time.
        let default = |key: &str| if self.upstream.contains(key) { String::new() } else { format!("{key} = 4000\n") };
        let times = format!("{}{}", default("connect_timeout_ms"), default("queue_timeout_ms"));
        let rest = self.rest.as_ref().map(|keys| format!("[rest]\naddress = \"127.0.0.1:0\"\n{keys}\n")).unwrap_or_default();
        format!(
            "{}\n[listen]\naddress = \"{listen}\"\n{}\n[upstream]\n{reached}\n{times}{}\n\
             [admin]\naddress = \"127.0.0.1:{admin_port}\"\n{}\n{rest}[pipeline]\n{}\n{}\n",
            self.top, self.listen, self.upstream, self.admin, self.pipeline, self.rules
        )
    }
}

/// A proxy that runs.
pub struct Proxy {
    process: Child,
    port: u16,
    admin_port: u16,
    directory: tempfile::TempDir,
}

/// How a proxy ended.
pub struct Ended {
    pub status: ExitStatus,
    pub took: Duration,
}

impl Proxy {
    /// A proxy with these rules before `redis`.
    pub fn start(rules: &str, redis: &RedisServer) -> Proxy {
        Setup::new(redis).rules(rules).start()
    }

    /// A server without data, and a proxy with these rules before it.
    pub fn with_redis(rules: &str) -> (RedisServer, Proxy) {
        let redis = RedisServer::start(&[]);
        let proxy = Proxy::start(rules, &redis);
        (redis, proxy)
    }

    fn launch(setup: &Setup) -> Option<Proxy> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let admin_port = free_port();
        let config = directory.path().join("config.toml");
        std::fs::write(&config, setup.toml(&setup.listen_address, admin_port)).expect("a temporary file");
        let log = File::create(directory.path().join("log")).expect("a temporary file");
        let process = command()
            .args(["run", "--log-level", setup.log_level, "--log-format", "json", "--config"])
            .arg(&config)
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the proxy is built");
        let mut proxy = Proxy { process, port: 0, admin_port, directory };
        let mut exit = None;
        eventually("the proxy is ready", || {
            exit = proxy.process.try_wait().expect("a child of ours");
            let logged = proxy.logged_address();
            proxy.port = logged.as_ref().and_then(|address| address.rsplit(':').next()?.parse().ok()).unwrap_or(0);
            exit.is_some() || logged.is_some()
        });
        match exit {
            Some(status) if status.code() == Some(EXIT_CANNOT_LISTEN) => None,
            Some(status) => panic!("the proxy ended with {status}: {}", proxy.log()),
            None => Some(proxy),
        }
    }

    fn logged_address(&self) -> Option<String> {
        let log = self.log();
        let ready = log.lines().find(|line| line.contains("respguard is ready for clients"))?;
        ready.split("\"listen\":\"").nth(1)?.split('"').next().map(str::to_owned)
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of the REST front.
    pub fn rest_port(&self) -> u16 {
        let log = self.log();
        let ready = log.lines().find(|line| line.contains("respguard is ready for clients")).expect("it is ready");
        let address = ready.split("\"rest\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("it has a REST front");
        address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    /// A new HTTP client of the REST front.
    pub fn rest(&self) -> Http {
        Http::connect(self.rest_port())
    }

    /// The port of the admin endpoint.
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// The process' id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A new client of the proxy.
    pub fn wire(&self) -> Wire {
        Wire::connect(self.port)
    }

    /// Everything written to standard error so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).expect("the log is there")
    }

    /// Waits for `text` in the log, which a thread of its own writes, and returns everything written so far.
    pub fn logs(&self, text: &str) -> String {
        assert!(within(PATIENCE, || self.log().contains(text)), "not logged: {text}\n{}", self.log());
        self.log()
    }

    /// The log's events about violations.
    pub fn violations(&self) -> Vec<String> {
        self.log().lines().filter(|line| line.contains("\"message\":\"violation\"")).map(str::to_owned).collect()
    }

    /// The first violation of this kind, once it is logged.
    pub fn logged(&self, kind: &str) -> String {
        let kind = format!("\"kind\":\"{kind}\"");
        let mut told = None;
        let is_told = within(PATIENCE, || {
            told = self.violations().into_iter().find(|line| line.contains(&kind));
            told.is_some()
        });
        assert!(is_told, "no violation of {kind} is logged:\n{}", self.log());
        told.unwrap_or_default()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    /// Writes the configuration file anew, as another setup would, with the addresses that the proxy has.
    pub fn rewrite(&self, setup: &Setup) {
        std::fs::write(self.config(), setup.toml("127.0.0.1:0", self.admin_port)).expect("a temporary file");
    }

    /// The sum of the metric's series with all these labels; 0 when there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200);
        let series = body.lines().filter(|line| {
            line.split(['{', ' ']).next() == Some(name)
                && labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Violations counted so far, of one kind and by one rule.
    pub fn violated(&self, kind: &str, rule: &str) -> f64 {
        self.metric("respguard_violations_total", &[("kind", kind), ("rule", rule)])
    }

    /// Groups that came to this outcome.
    pub fn groups(&self, group: &str, outcome: &str) -> f64 {
        self.metric("respguard_groups_total", &[("group", group), ("outcome", outcome)])
    }

    /// What the admin endpoint answers: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.http("GET", path, &[])
    }

    /// What the admin endpoint answers to a request with these headers: status and body.
    pub fn http(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut socket = TcpStream::connect(("127.0.0.1", self.admin_port)).expect("the admin endpoint listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        write!(socket, "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{headers}Content-Length: 0\r\n\r\n").expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer that ends");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        (status, body)
    }

    /// Tells it to end, without waiting.
    pub fn terminate(&self) {
        signal(self.process.id(), "TERM");
    }

    /// SIGTERM, and how it ended.
    pub fn stop(self) -> Ended {
        self.terminate();
        self.ended()
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Ended {
        let start = Instant::now();
        let mut status = None;
        let over = within(PATIENCE, || {
            status = self.process.try_wait().expect("a child of ours");
            status.is_some()
        });
        assert!(over, "the proxy does not end: {}", self.log());
        Ended { status: status.expect("it has ended"), took: start.elapsed() }
    }

    /// The most memory that the process ever had, in bytes.
    pub fn memory_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.log());
        }
    }
}

/// The proxy's binary.
pub fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_respguard"))
}
