//! A reader who does what a document says: in a folder of his own, before a Redis of his own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::declared::{ADMIN_PORT, PLACEHOLDERS, PROXY_PORT, REDIS_PORT, REST_PORT};
use crate::harness::{Authority, PATIENCE, RedisServer, signal, within};

const TOKEN: &str = "a-token-for-the-documents";
const REST_TOKEN: &str = "a-token-for-requests";
/// A command that takes longer hangs.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
const READY: &str = "respguard is ready for clients";

/// The folder, the servers, and what stands for the documents' ports.
pub struct Session {
    redis: RedisServer,
    folder: tempfile::TempDir,
    port: u16,
    admin_port: u16,
    rest_port: u16,
    running: Option<Running>,
    /// Proxies that were started, to tell their logs apart.
    started: usize,
}

/// What a command line came to.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub output: String,
}

impl Session {
    pub fn new() -> Session {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let session = Session {
            redis: RedisServer::start(&[]),
            port: own_port(),
            admin_port: own_port(),
            rest_port: own_port(),
            folder,
            running: None,
            started: 0,
        };
        session.furnish();
        session
    }

    /// The files that the documents take for granted.
    fn furnish(&self) {
        fs::create_dir(self.path("demo")).expect("a folder");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for file in ["config.toml", "demo/config.toml"] {
            let text = fs::read_to_string(root.join(file)).expect(file);
            self.write(file, &self.with_ports(&text).replace("# token_env = ", "token_env = "));
        }
        let addresses = "[listen]\naddress = \"127.0.0.1:6380\"\n[upstream]\naddress = \"127.0.0.1:6379\"\n\
                         [admin]\naddress = \"127.0.0.1:9121\"\ntoken_env = \"RESPGUARD_ADMIN_TOKEN\"\n";
        self.write("defaults.toml", &self.with_ports(addresses));
        self.write("commands.txt", "GET profile:7\n");
        self.write("batch-password", "secret");
        self.write("reader.token", "a-token-that-reads");
        let cli = format!("exec {} --no-raw -p {} \"$@\"", found("redis-cli"), self.redis.port());
        self.program("redis-cli", &cli);
        // What means the defaults where no configuration is named means them with this session's ports.
        let defaults = "case \"$*\" in *--config*) ;; run*|record*|healthcheck*) set -- \"$@\" --config defaults.toml ;; esac";
        self.program("respguard", &format!("{defaults}\nexec {} \"$@\"", env!("CARGO_BIN_EXE_respguard")));
        self.certify();
    }

    /// A script on the session's own path; programs look to it as they do on a terminal, with the usual ports.
    fn program(&self, name: &str, script: &str) {
        let file = format!("bin/{name}");
        self.write(&file, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.path(&file), fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// The certificates that configurations name.
    fn certify(&self) {
        let authority = Authority::new();
        for name in ["proxy", "proxy-client"] {
            let issued = authority.issue(name, &["localhost"]);
            fs::copy(&issued.cert, self.path(&format!("{name}.crt"))).expect("a certificate");
            fs::copy(&issued.key, self.path(&format!("{name}.key"))).expect("a key");
        }
        for name in ["clients-ca.crt", "redis-ca.crt"] {
            fs::copy(authority.ca(), self.path(name)).expect("a CA");
        }
    }

    pub fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("the folder takes files");
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// A text of a document with this session's ports in the place of the usual ones.
    pub fn with_ports(&self, text: &str) -> String {
        let ports = [
            (REDIS_PORT, self.redis.port()),
            (PROXY_PORT, self.port),
            (ADMIN_PORT, self.admin_port),
            (REST_PORT, self.rest_port),
        ];
        ports.iter().fold(text.to_owned(), |text, (usual, own)| text.replace(usual, &own.to_string()))
    }

    /// Runs one script of a document to its end.
    pub fn run(&self, script: &str) -> Outcome {
        let output = self.path("output");
        let file = File::create(&output).expect("a file");
        let child = self.shell(&self.with_ports(script)).stdout(file.try_clone().expect("a file")).stderr(file).spawn();
        let mut child = Running { process: child.expect("bash is there"), log: output.clone() };
        let mut code = None;
        let ended = within(COMMAND_TIMEOUT, || {
            let status = child.process.try_wait().expect("a child of ours");
            code = status.and_then(|status| status.code());
            status.is_some()
        });
        let output = child.log();
        assert!(ended, "it does not end: {script}{output}");
        Outcome { code, output }
    }

    fn shell(&self, script: &str) -> Command {
        let script = PLACEHOLDERS.iter().fold(script.to_owned(), |script, (word, meant)| replace_word(&script, word, meant));
        let mut command = Command::new("bash");
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        command.args(["-euo", "pipefail", "-c", &script]).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("PATH", path).env("ADMIN", format!("http://127.0.0.1:{}", self.admin_port)).env_remove("RESPGUARD_LOG");
        for (name, value) in [
            ("RESPGUARD_ADMIN_TOKEN", TOKEN),
            ("APP_PASSWORD", "secret"),
            ("REDIS_PASSWORD", "secret"),
            ("REST_TOKEN", REST_TOKEN),
        ] {
            command.env(name, value);
        }
        command.env("PID", self.running.as_ref().map_or(String::new(), |running| running.process.id().to_string()));
        command
    }

    /// Starts a proxy that runs until the next one does; one that takes over is there before the other ends.
    pub fn start(&mut self, command: &str) {
        if !command.contains("--takeover") {
            self.stop();
        }
        self.started += 1;
        let log = self.path(&format!("log-{}", self.started));
        let file = File::create(&log).expect("a file");
        let child = self.shell(&format!("exec {}", command.trim())).stderr(file).stdout(Stdio::null()).spawn();
        let mut running = Running { process: child.expect("bash is there"), log };
        let ready = within(PATIENCE, || {
            let ended = running.process.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "{command} has ended: {}", running.log());
            running.log().contains(READY)
        });
        assert!(ready, "{command} is not ready: {}", running.log());
        self.stop();
        self.running = Some(running);
    }

    /// Ends the proxy as its users do; it must end in good order.
    pub fn stop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        signal(running.process.id(), "TERM");
        let mut status = None;
        let ended = within(PATIENCE, || {
            status = running.process.try_wait().expect("a child of ours");
            status.is_some()
        });
        assert!(ended && status.is_some_and(|status| status.success()), "{status:?}: {}", running.log());
    }

    /// What the proxy has logged so far.
    pub fn log(&self) -> String {
        self.running.as_ref().map(Running::log).unwrap_or_default()
    }

    /// What one command answers, straight from Redis.
    pub fn ask(&self, command: &str) -> String {
        self.redis.ask(command)
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

/// A process that ends when dropped.
struct Running {
    process: Child,
    log: PathBuf,
}

impl Running {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has mostly ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that stays free while no proxy has it: below those that the system gives to outgoing connections.
fn own_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 199).unwrap_or_default() * 100;
    loop {
        let port = 10_000 + first + GIVEN.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Where a program is.
fn found(program: &str) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(program));
    places.find(|place| place.is_file()).unwrap_or_else(|| panic!("{program} is missing")).display().to_string()
}

/// The text with each word that is exactly `word` replaced; a word is no part of a longer one.
fn replace_word(text: &str, word: &str, meant: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let mut replaced = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(word) {
        let stands_alone = !before.ends_with(is_part) && !behind.starts_with(is_part);
        replaced += before;
        replaced += if stands_alone { meant } else { word };
        rest = behind;
    }
    replaced + rest
}
