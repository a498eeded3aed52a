"""Plays each style of a client straight to Redis and through respguard in turns, and counts what respguard made of it."""

import json
import os
import re
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from clients import ROOT

sys.path.insert(0, str(ROOT / "demo"))
from resp import Client as Wire  # noqa: E402
from stage import Stage, free_port  # noqa: E402

#: Callers at the same time in each style.
CALLERS = {
    "pipeline": 1, "building": 1, "pipelines": 20, "loose": 1, "loose-many": 20, "auto": 20, "gather": 1, "sequential": 1,
    "sequential-many": 20,
}  # fmt: skip
SIZES = (1, 1_000, 20_000)
#: The default comes first.
BETWEEN = ["carry", "pass"]
GROUP = "refresh-token"
CONFIG = """
[listen]
address = "127.0.0.1:0"

[upstream]
address = "127.0.0.1:{redis}"

[admin]
address = "127.0.0.1:{admin}"

{hold}
[[group]]
name = "refresh-token"
between = "{between}"
commands = ["SETEX rt:{{user}}:{{token}} {{ttl}} *", "SADD sess:{{user}} {{token}}", "EXPIRE sess:{{user}} *", "SMEMBERS sess:{{user}}"]
"""


class Failed(Exception):
    """A driver that could not do what was asked, or told of something that it should not have seen."""


class Matrix(Stage):
    """A private redis-server, and respguard before it with one group and defaults otherwise."""

    def __init__(self, hold_ms=None, between=BETWEEN[0]):
        self.between = between
        self.hold = f"[pipeline]\nhold_ms = {hold_ms}\nhold_max_ms = {hold_ms}\n" if hold_ms else ""
        super().__init__()

    def start_respguard(self, program):
        self.admin_port = free_port()
        self.config = self.folder / "config.toml"
        self.config.write_text(CONFIG.format(redis=self.redis_port, admin=self.admin_port, hold=self.hold, between=self.between))
        self.start("respguard", [program, "run", "--config", self.config, "--log-format", "json"])
        self.wait_for_last(self.learn_port)

    def counts(self):
        """What respguard has counted so far, by what the table shows."""
        found = {"wrapped": 0, "split": 0, "sequential": 0}
        for sample, value in self.metrics().items():
            name, labels = sample.split("{")[0], dict(re.findall(r'(\w+)="([^"]*)"', sample))
            if name == "respguard_groups_total" and labels.get("outcome") == "applied":
                found["wrapped"] += value
            elif name == "respguard_violations_total" and labels.get("rule") == GROUP and labels.get("kind") in found:
                found[labels["kind"]] += value
            elif name in ("respguard_out_of_sync_total", "respguard_timeouts_total") and value:
                raise Failed(f"{sample} is {value}")
        return found

    def flush(self):
        wire = Wire(self.redis_port)
        wire.must("FLUSHALL")
        wire.close()


class Driver:
    """A client's process, which does one job for each line."""

    def __init__(self, client):
        command, environment = client.start()
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **environment}, cwd=environment.get("PWD"),
        )  # fmt: skip
        hello = self.answer()
        self.styles, self.version = hello["styles"], client.version or hello["version"]

    def ask(self, **job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = self.answer()
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"the driver ended: {self.process.stderr.read()[-2000:]}")
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.stderr.close()
        self.process.kill()
        self.process.wait()


@dataclass
class Row:
    """One line of the table: shares of the groups sent, and latencies as ratios to the same rounds straight to Redis."""

    client: str
    version: str
    style: str
    bytes: int
    groups: int
    wrapped: int
    split: int
    sequential: int
    median_us: int
    direct_median_us: int
    p99_us: int
    direct_p99_us: int
    #: Processes that ran or wanted to, for each core: above 1, some waited, and so did the groups. 0: not noted.
    load_per_core: float = 0.0
    #: What became of commands between a group's members.
    between: str = "pass"

    def cells(self):
        return asdict(self)


def measure(stage, client, rounds, groups, wish):
    """All styles and sizes of one client that `wish` includes."""
    driver = Driver(client)
    try:
        for style in driver.styles:
            for size in SIZES:
                if wish(client.name, style, size):
                    yield cell(stage, driver, client.name, style, size, rounds, groups)
    finally:
        driver.end()


def cell(stage, driver, name, style, size, rounds, groups):
    took = {stage.redis_port: [], stage.proxy_port: []}
    wrapped = split = sequential = 0
    for turn in range(rounds + 1):
        # The first turn, a short one, warms both ways up.
        sent = groups if turn else max(groups // 5, CALLERS[style])
        for port in sorted(took, key=lambda port: (port == stage.proxy_port) == bool(turn % 2)):
            stage.flush()
            before = stage.counts()
            job = {"style": style, "port": port, "bytes": size, "groups": sent, "name": f"r{turn}", "callers": CALLERS[style]}
            took_us = driver.ask(**job)["took_us"]
            if len(took_us) != sent:
                raise Failed(f"{len(took_us)} groups of {sent} were played")
            if not turn:
                continue
            took[port] += took_us
            if port == stage.proxy_port:
                after = stage.counts()
                wrapped += after["wrapped"] - before["wrapped"]
                split += after["split"] - before["split"]
                sequential += after["sequential"] - before["sequential"]
    (direct, direct_p99), (through, p99) = map(percentiles, (took[stage.redis_port], took[stage.proxy_port]))
    load = round(os.getloadavg()[0] / os.cpu_count(), 1)
    counted = (int(wrapped), int(split), int(sequential))
    return Row(name, driver.version, style, size, rounds * groups, *counted, through, direct, p99, direct_p99, load, stage.between)


def percentiles(took_us):
    """The median and the 99th percentile."""
    cuts = statistics.quantiles(took_us, n=100)
    return round(statistics.median(took_us)), round(cuts[98])


def compare_checks(stage, client):
    """What the client shows its user, straight and through respguard: each check that differs, with both."""
    driver = Driver(client)
    try:
        said = []
        for port in (stage.redis_port, stage.proxy_port):
            stage.flush()
            said.append(driver.ask(style="checks", port=port, bytes=1, groups=1, name="check")["said"])
    finally:
        driver.end()
    direct, through = said
    return {name: (direct[name], through[name]) for name in direct if direct[name] != through[name]}, sorted(direct)
