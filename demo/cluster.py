#!/usr/bin/env python3
"""Plays groups of a plain client against a cluster of three primaries while one of them is replaced and another one dies.

Ends with 1 where the data is not what the client was told.
"""

import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from resp import Client
from stage import Missing, Stage, answers_ping, find_redis, find_respguard, free_port

SECONDS_MAX = 30
CONFIG = """
[listen]
address = "127.0.0.1:0"
[upstream]
cluster = [{seeds}]
[admin]
address = "127.0.0.1:{admin}"
[[group]]
name = "order"
atomic = "guarded"
commands = ["INCR count:{{{{{{user}}}}}}", "SADD orders:{{{{{{user}}}}}} *"]
"""


def main():
    try:
        stage = ClusterStage()
    except Missing as missing:
        print(f"demo: {missing}", file=sys.stderr)
        return 1
    try:
        return play(stage)
    finally:
        stage.end()


def play(stage):
    print("Three primaries with a replica each; respguard in front, to its client one server.")
    print("A client that knows nothing of clusters sends groups: INCR count:{user} and SADD orders:{user} TOKEN,")
    print("for 30 users over all shards, as fast as it can.\n")
    writer = Writer(stage.proxy_port)
    writer.start()
    time.sleep(1)
    say(writer, "the cluster is well")
    replaced = stage.nodes[3]
    replaced.must("CLUSTER", "FAILOVER")
    wait("the replica is the primary", lambda: replaced.must("ROLE")[0] == b"master")
    say(writer, "CLUSTER FAILOVER: a replica has taken its primary's place")
    time.sleep(1)
    stage.kill(1)
    wait("the other replica is, too", lambda: stage.nodes[4].must("ROLE")[0] == b"master")
    wait("its slots are served", lambda: writer.has_gone_on())
    say(writer, "kill -9 of another primary: its replica has taken its place")
    time.sleep(1)
    writer.end()
    return judge(stage, writer)


def judge(stage, writer):
    client = Client(stage.proxy_port)
    torn = lost = 0
    for user, acknowledged in writer.acknowledged.items():
        count = int(client.must("GET", f"count:{{{user}}}") or 0)
        torn += count != client.must("SCARD", f"orders:{{{user}}}")
        lost += max(0, acknowledged - count)
    print(f"\n{sum(writer.acknowledged.values()):>8} groups acknowledged, {writer.unknown} with an unknown outcome (-TIMEOUT)")
    print(f"{writer.longest:>8.2f} s the longest pause, {writer.redirects} redirects or cluster errors that the client saw")
    print(f"{torn:>8} users of whom a part of a group is there")
    print(f"{lost:>8} acknowledged groups lost with the primary that was killed before it had replicated them")
    good = torn == 0 and writer.redirects == 0 and writer.failure is None
    if writer.failure:
        print(f"the client was told: {writer.failure}")
    print("\nEvery group is there whole or not at all." if good else "\nThis is not as it should be.")
    return 0 if good else 1


def say(writer, what):
    print(f"{sum(writer.acknowledged.values()):>8} groups  {what}", flush=True)


def wait(what, holds):
    end = time.monotonic() + SECONDS_MAX
    while not holds():
        if time.monotonic() > end:
            raise Missing(f"not within {SECONDS_MAX} s: {what}")
        time.sleep(0.02)


class Writer(threading.Thread):
    """One client over one connection."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.client = Client(port)
        self.acknowledged = {f"u{n}": 0 for n in range(30)}
        self.unknown = self.redirects = 0
        self.longest, self.last = 0.0, time.monotonic()
        self.failure, self.over = None, False
        self.since = 0

    def run(self):
        number = 0
        while not self.over and self.failure is None:
            for user in self.acknowledged:
                number += 1
                replies = self.client.ask(("INCR", f"count:{{{user}}}"), ("SADD", f"orders:{{{user}}}", f"t{number}"))
                self.note(user, replies)

    def note(self, user, replies):
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now
        if all(isinstance(reply, int) for reply in replies):
            self.acknowledged[user] += 1
            self.since += 1
        elif any(word in str(reply) for reply in replies for word in ("MOVED", "ASK ", "CLUSTERDOWN", "TRYAGAIN")):
            self.redirects += 1
        elif any("TIMEOUT" in str(reply) for reply in replies):
            self.unknown += 1
        else:
            self.failure = replies

    def has_gone_on(self):
        """Every user has been served twice since this was asked first."""
        if self.since > 60 * 30:
            self.since = 0
        return self.since >= 60

    def end(self):
        self.over = True
        self.join(timeout=SECONDS_MAX)


class ClusterStage(Stage):
    """Six nodes and respguard, on ports that the system gave."""

    def __init__(self):
        self.processes = []
        self.folder = Path(tempfile.mkdtemp(prefix="respguard-demo-"))
        try:
            self.ports, buses = [[free_port() for _ in range(6)] for _ in range(2)]
            program = find_redis()
            for port, bus in zip(self.ports, buses):
                self.start_node(program, port, bus)
            self.nodes = [Client(port) for port in self.ports]
            self.join(buses)
            self.start_proxy()
        except BaseException:
            self.end()
            raise

    def start_node(self, program, port, bus):
        folder = self.folder / str(port)
        folder.mkdir()
        options = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": folder, "cluster-enabled": "yes",
                   "cluster-port": bus, "cluster-node-timeout": 1000, "repl-diskless-sync-delay": 0}
        self.start(f"node-{port}", [program, *(word for name, value in options.items() for word in (f"--{name}", value))])
        self.wait_for_last(lambda: answers_ping(port))

    def join(self, buses):
        for at, node in enumerate(self.nodes):
            node.must("CLUSTER", "SET-CONFIG-EPOCH", str(at + 1))
            if at < 3:
                node.must("CLUSTER", "ADDSLOTSRANGE", str(at * 5461), str((at + 1) * 5461 - (at < 2)))
            if at > 0:
                node.must("CLUSTER", "MEET", "127.0.0.1", str(self.ports[0]), str(buses[0]))
        wait("the nodes know each other", lambda: self.all_say("cluster_known_nodes:6", "CLUSTER", "INFO"))
        for at in range(3):
            self.nodes[at + 3].must("CLUSTER", "REPLICATE", self.nodes[at].must("CLUSTER", "MYID").decode())
        wait("all serve", lambda: self.all_say("cluster_state:ok", "CLUSTER", "INFO"))
        wait("the replicas follow", lambda: self.all_say("master_link_status:up", "INFO", "replication", nodes=self.nodes[3:]))

    def all_say(self, what, *question, nodes=None):
        return all(what in node.must(*question).decode() for node in nodes or self.nodes)

    def start_proxy(self):
        self.admin_port = free_port()
        self.config = self.folder / "config.toml"
        seeds = ", ".join(f'"127.0.0.1:{port}"' for port in self.ports[:3])
        self.config.write_text(CONFIG.format(seeds=seeds, admin=self.admin_port))
        self.start("respguard", [find_respguard(), "run", "--config", self.config, "--log-format", "json"])
        self.wait_for_last(self.learn_port)

    def kill(self, at):
        process = next(process for process in self.processes if process.title == f"node-{self.ports[at]}")
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
