"""The stage: a private redis-server, respguard in front of it, and how both end."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from resp import Client

ROOT = Path(__file__).resolve().parent.parent
SERVERS = ("redis-server", "valkey-server")
START_SECONDS_MAX = 15


class Missing(Exception):
    """Something that the demo cannot do without; the text says what to do about it."""


class Stage:
    """Both processes and the ports that the system gave them."""

    def __init__(self):
        self.processes = []
        self.folder = Path(tempfile.mkdtemp(prefix="respguard-demo-"))
        try:
            self.start_redis(find_redis())
            self.start_respguard(find_respguard())
        except BaseException:
            self.end()
            raise

    def start_redis(self, program):
        self.redis_port = free_port()
        options = {"port": self.redis_port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self.folder}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self.start("redis", [program, *words])
        self.wait_for_last(lambda: answers_ping(self.redis_port))

    def start_respguard(self, program):
        self.admin_port = free_port()
        self.config = self.folder / "config.toml"
        self.config.write_text(self.placed(Path(__file__).with_name("config.toml").read_text()))
        self.program = program
        self.start("respguard", [program, "run", "--config", self.config, "--log-format", "json"])
        self.wait_for_last(self.learn_port)

    def placed(self, config):
        """The demo's configuration with addresses of this run; respguard's own port is left to the system."""
        ports = {"6380": 0, "6379": self.redis_port, "9121": self.admin_port, "8079": 0}
        for usual, port in ports.items():
            config = config.replace(f'"127.0.0.1:{usual}"', f'"127.0.0.1:{port}"')
        return config

    def learn_port(self):
        for event in self.log():
            if "listen" in event:
                # Not everyone who uses this has a REST front.
                ports = (event.get(name) for name in ("listen", "rest"))
                self.proxy_port, self.rest_port = (port and int(port.rsplit(":", 1)[1]) for port in ports)
                return answers_ping(self.proxy_port)
        return False

    def start(self, name, words):
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        process.title = name
        self.processes.append(process)

    def wait_for_last(self, is_there):
        process = self.processes[-1]
        end = time.monotonic() + START_SECONDS_MAX
        while not is_there():
            if process.poll() is not None or time.monotonic() > end:
                log = (self.folder / f"{process.title}.log").read_text()
                raise Missing(f"{process.title} did not start:\n{log}")
            time.sleep(0.02)

    def log(self):
        """What respguard has logged so far, one event per line."""
        lines = (self.folder / "respguard.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def metrics(self):
        """Every sample of /metrics by its name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def end(self):
        """Ends what was started, the proxy first; returns its exit code."""
        code = None
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                ended = process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                ended = process.wait()
            if process.title == "respguard":
                code = ended
        shutil.rmtree(self.folder, ignore_errors=True)
        return code


def find_redis():
    if not any(map(shutil.which, SERVERS)):
        install_redis()
    for name in SERVERS:
        if found := shutil.which(name):
            return found
    raise Missing("redis-server is missing and could not be installed. Install it: apt-get install redis-server, "
                  "dnf install redis, or brew install redis.")


def install_redis():
    """Installs redis-server where that is possible without asking anybody."""
    if not shutil.which("apt-get"):
        return
    if os.geteuid() == 0:
        prefix = []
    elif shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        prefix = ["sudo", "-n"]
    else:
        return
    print("redis-server is missing: installing it through apt-get", flush=True)
    # A run level of 1 keeps the package from starting a server of its own.
    apt = [*prefix, "env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    subprocess.run([*apt, "update"], stdout=subprocess.DEVNULL)
    subprocess.run([*apt, "install", "-y", "redis-server"], stdout=subprocess.DEVNULL)


def find_respguard():
    """The binary: RESPGUARD names one, otherwise it is the release build, made first where it is missing."""
    if named := os.environ.get("RESPGUARD"):
        if not shutil.which(named):
            raise Missing(f"RESPGUARD names {named}, which cannot be run.")
        return named
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    binary = target / "release" / "respguard"
    if not binary.exists():
        if not shutil.which("cargo"):
            raise Missing(f"{binary} is missing and so is cargo. Install Rust (https://rustup.rs), then run it again.")
        print("respguard is not built yet: cargo build --release", flush=True)
        if subprocess.run(["cargo", "build", "--release"], cwd=ROOT).returncode != 0:
            raise Missing("cargo build --release failed; its messages are above.")
    return binary


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers_ping(port):
    try:
        client = Client(port)
    except OSError:
        return False
    try:
        return client.must("PING") == "PONG"
    finally:
        client.close()
