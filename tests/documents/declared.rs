//! What is declared about the documents: which command lines are not run and why, what stands for what in the others.

/// Command lines that are not run: where, which, and why.
pub const NOT_RUN: [(&str, &str, &str); 27] = [
    ("README.md", "make demo     # six stories, straight to Redis and through respguard, side by side", DEMO),
    ("README.md", "make test     # everything that is tested", "this test is a part of it"),
    ("README.md", "make demo", DEMO),
    ("README.md", "make demo STAY=1", "leaves servers running; its stories are run"),
    ("README.md", "cargo build --release", BUILT),
    ("README.md", "make bench", BENCH),
    ("docs/atomicity.md", "make demo", DEMO),
    ("docs/clients.md", "make clients", "takes a quarter of an hour; parts of it are run by tests/clients.rs"),
    ("docs/getting-started.md", "cargo build --release", BUILT),
    ("docs/getting-started.md", "make clients", "takes a quarter of an hour; parts of it are run by tests/clients.rs"),
    ("docs/install.md", "cargo install --locked --path .", BUILT),
    ("docs/install.md", "kubectl apply -k", "there is no cluster; the manifests are held against their schemas"),
    ("docs/install.md", "systemctl reload", "there is no systemd; what the unit runs is `kill -HUP`"),
    ("docs/performance.md", "make bench", BENCH),
    ("docs/performance.md", "make bench                             # about ten minutes; the whole of it", BENCH),
    (
        "docs/performance.md",
        "make bench PEERS=install               # HAProxy, twemproxy and Webdis from Debian's packages first",
        BENCH,
    ),
    (
        "docs/performance.md",
        "PREDIXY=/path/to/predixy make bench    # or predixy in PATH; Envoy is measured if it is in PATH",
        BENCH,
    ),
    (
        "docs/performance.md",
        "make bench SECTIONS=\"throughput idle\"  # only these; the other sections keep what is known of them",
        BENCH,
    ),
    ("docs/performance.md", "make bench ROUNDS=1 SECONDS=0.2        # tries it; writes to target/bench", BENCH),
    ("docs/performance.md", "cargo bench --bench codec", BENCH),
    ("docs/performance.md", "cargo bench --package respguard-engine --bench instructions", BENCH),
    ("docs/performance.md", "cargo bench --bench holds", BENCH),
    ("docs/rest.md", "make demo", DEMO),
    ("docs/servers.md", "make servers", SERVERS),
    ("docs/transparency.md", "make test", "this test is a part of it"),
    ("docs/transparency.md", "make soak", "takes as long as one likes; each of its parts runs shortly as a test"),
    ("docs/upgrade.md", "respguard run --takeover --config FILE", "tests/it/upgrade.rs runs it, beside the one before"),
];

const BUILT: &str = "what it builds is what is tested, with other optimisation";
const BENCH: &str = "measures for minutes; that it compiles is checked, and its figures are one run's";
const SERVERS: &str = "fetches servers and runs the integration tests on each for minutes";
const DEMO: &str = "builds a release first; its stories are run by this test with the program at hand";

/// What stands for something else in a command line of running text.
pub const PLACEHOLDERS: [(&str, &str); 8] = [
    ("FILE", "config.toml"),
    ("COMMANDS", "commands.txt"),
    ("RECORDING", "recording"),
    ("NAME", "blob"),
    ("PID", "$PID"),
    ("--seconds N", "--seconds 1"),
    ("--seconds 30", "--seconds 1"),
    ("--for 60s", "--for 1s"),
];

/// The ports of the documents; the test has others.
pub const REDIS_PORT: &str = "6379";
pub const PROXY_PORT: &str = "6380";
pub const ADMIN_PORT: &str = "9121";
pub const REST_PORT: &str = "8079";
