"""The stage: a private redis-server, respguard in front of it, and how both end."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from resp import Client

ROOT = Path(__file__).resolve().parent.parent
SERVERS = ("redis-server", "valkey-server")
START_SECONDS_MAX = 15
#: The levels at which each story is played; the first is that of demo/config.toml.
LEVELS = ("guarded", "transaction", "rollback")


class Missing(Exception):
    """Something that the demo cannot do without; the text says what to do about it."""


@dataclass
class Proxy:
    """A respguard: its ports and its configuration."""

    port: int
    rest_port: int
    admin_port: int
    config: Path


class Stage:
    """The processes and the ports that the system gave them."""

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
        """One respguard for each level. What is not said of which one is about the first."""
        self.program, self.proxies = program, {}
        for level in LEVELS:
            self.admin_port = free_port()
            self.config = self.folder / f"{level}.toml"
            self.config.write_text(self.placed(Path(__file__).with_name("config.toml").read_text(), level))
            name = "respguard" if level == LEVELS[0] else f"respguard-{level}"
            self.start(name, [program, "run", "--config", self.config, "--log-format", "json"])
            self.wait_for_last(lambda: self.learn_port(name))
            self.proxies[level] = Proxy(self.proxy_port, self.rest_port, self.admin_port, self.config)
        first = self.proxies[LEVELS[0]]
        self.proxy_port, self.rest_port, self.admin_port, self.config = first.port, first.rest_port, first.admin_port, first.config

    def placed(self, config, level):
        """The demo's configuration at this level, with addresses of this run; respguard's own ports are left to the system."""
        ports = {"6380": 0, "6379": self.redis_port, "9121": self.admin_port, "8079": 0}
        for usual, port in ports.items():
            config = config.replace(f'"127.0.0.1:{usual}"', f'"127.0.0.1:{port}"')
        config = config.replace('"repair.jsonl"', f'"repair-{level}.jsonl"')
        return config.replace(f'atomic = "{LEVELS[0]}"', f'atomic = "{level}"')

    def learn_port(self, name="respguard"):
        for event in self.log(name):
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

    def log(self, name="respguard"):
        """What respguard has logged so far, one event per line."""
        lines = (self.folder / f"{name}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def metrics(self, admin_port=None):
        """Every sample of /metrics by its name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{admin_port or self.admin_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def end(self):
        """Ends what was started, the proxies first; returns their exit code, or that of one that is not 0."""
        code = None
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                ended = process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                ended = process.wait()
            if process.title.startswith("respguard"):
                code = code or ended
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
    """The binary: RESPGUARD names one, otherwise it is built here, with a profile that is quick to build, unless there is a
    release build, which is brought up to date instead."""
    if named := os.environ.get("RESPGUARD"):
        if not shutil.which(named):
            raise Missing(f"RESPGUARD names {named}, which cannot be run.")
        return named
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    profile = "release" if (target / "release" / "respguard").exists() else "demo"
    binary = target / profile / "respguard"
    if shutil.which("cargo"):
        build(profile)
    elif not binary.exists():
        raise Missing(f"{binary} is missing and so is cargo. Install Rust (https://rustup.rs), then run it again.")
    return binary


def build(profile):
    """What cargo says is shown only where it fails; one line says how far it is."""
    command = ["cargo", "build", "--locked", "--profile", profile]
    began, crates, said, shown = time.monotonic(), 0, [], False
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as building:
        for line in building.stderr:
            said.append(line)
            if not line.lstrip().startswith("Compiling"):
                continue
            crates += 1
            seconds = int(time.monotonic() - began)
            if sys.stdout.isatty():
                print(f"\rbuilding respguard: crate {crates}, {seconds // 60}:{seconds % 60:02}", end="", flush=True)
            elif not shown:
                print("building respguard, which takes minutes the first time", flush=True)
            shown = True
    if sys.stdout.isatty() and shown:
        print("\r\033[K", end="")
    if building.returncode != 0:
        raise Missing(f"{' '.join(command)} failed:\n{''.join(said)}")


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
