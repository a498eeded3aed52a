"""A cluster of three primaries on this machine: straight by a client that knows of clusters, and through proxies by one that does not."""

import csv
import os
import shutil
import subprocess
import time

from rates import CLIENTS, DEPTHS, turned
from stage import Failed, cpu_seconds, free_port, loopback, request
from ways import PLAIN, PREDIXY, Way

PRIMARIES, KEYS, BYTES = 3, 100_000, 64
STRAIGHT = "redis-benchmark --cluster"
COMMANDS = ("set", "get")
#: Requests of one second, for how many are sent in a run of so many seconds.
REQUESTS = {1: 40_000, 16: 250_000, 64: 500_000}

ENVOY, ONE_SERVER = "envoy", "respguard, one server"
ENVOY_CONFIG = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: redis
          settings: {{op_timeout: 5s, enable_redirection: true}}
          prefix_routes: {{catch_all_route: {{cluster: redis}}}}
  clusters:
  - name: redis
    connect_timeout: 1s
    cluster_type:
      name: envoy.clusters.redis
      typed_config:
        "@type": type.googleapis.com/google.protobuf.Struct
        value: {{cluster_refresh_rate: 1s, cluster_refresh_timeout: 1s}}
    load_assignment:
      cluster_name: redis
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {node}}}}}}}
"""


def cluster(run):
    """SET and GET of 64 B over 100,000 keys at each depth on three primaries, straight and through proxies that stand for the cluster."""
    nodes = Nodes(run.ways.stage)
    through = [way for way in (respguard(run.ways, nodes), predixy(run.ways.stage, nodes), envoy(run.ways.stage, nodes)) if way]
    single = run.ways.respguard(ONE_SERVER)
    ways = [Way(STRAIGHT, nodes.ports[0]), *through, single]
    try:
        for depth in DEPTHS:
            for command in COMMANDS:
                for round in range(run.wishes.rounds):
                    for way in turned(ways, round):
                        measure(run, way, command, depth, round)
                run.say("cluster", f"{command} {depth}", ways)
    finally:
        run.ways.stop(*through, single)
        nodes.stop()


def measure(run, way, command, depth, round):
    count = max(1000, int(REQUESTS[depth] * run.wishes.seconds))
    words = ["redis-benchmark", "-p", way.port, "-t", command, "-d", BYTES, "-r", KEYS, "-c", CLIENTS, "-P", depth, "-n", count, "--csv"]
    if way.name == STRAIGHT:
        words.append("--cluster")
    before = cpu_seconds(way.pid) if way.pid else 0
    ended = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=600)
    used = cpu_seconds(way.pid) - before if way.pid else 0
    rows = [row for row in csv.reader(ended.stdout.splitlines()) if row and row[0].lower().startswith(command)]
    if ended.returncode or not rows:
        raise Failed(f"{way.name}: {ended.stdout[-300:]}{ended.stderr[-300:]}")
    rate, p99_ms = float(rows[0][1]), float(rows[0][6])
    run.records.add("cluster", f"{command} {depth}", way.name, round, per_second=rate, cpu_us=used / count * 1e6, p99_us=p99_ms * 1e3)


class Nodes:
    """The primaries; each serves as many slots."""

    def __init__(self, stage):
        self.stage, self.processes = stage, []
        self.ports = [free_port() for _ in range(PRIMARIES)]
        for port in self.ports:
            folder = stage.folder / f"node-{port}"
            folder.mkdir()
            options = {"port": port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": folder, "cluster-enabled": "yes",
                       "cluster-port": free_port()}
            words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
            self.processes.append(stage.start(f"node-{port}", ["redis-server", *words], port=port, is_up=is_there))
        words = ["redis-cli", "--cluster", "create", *(f"127.0.0.1:{port}" for port in self.ports), "--cluster-yes"]
        made = subprocess.run(words, capture_output=True, text=True, timeout=60)
        if made.returncode:
            raise Failed(f"no cluster: {made.stdout[-300:]}")
        for port in self.ports:
            self.await_slots(port)

    def await_slots(self, port):
        for _ in range(600):
            with loopback(port) as wire:
                wire.sendall(request("CLUSTER", "INFO"))
                if b"cluster_state:ok" in wire.recv(65536):
                    return
            time.sleep(0.05)
        raise Failed(f"the node at {port} does not serve")

    def stop(self):
        for process in self.processes:
            self.stage.stop(process)


def is_there(port):
    """A node that serves no slot yet answers PING alone."""
    try:
        with loopback(port, timeout=1) as wire:
            wire.sendall(request("PING"))
            return wire.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def respguard(ways, nodes):
    port, admin = free_port(), free_port()
    config = ways.stage.folder / f"respguard-{port}.toml"
    seeds = ", ".join(f'"127.0.0.1:{node}"' for node in nodes.ports)
    config.write_text(
        f'workers = 1\nlisten.address = "127.0.0.1:{port}"\nupstream.cluster = [{seeds}]\nadmin.address = "127.0.0.1:{admin}"\n'
    )
    words = [ways.program, "run", "--config", config, "--log-level", "error"]
    return Way(PLAIN, port, ways.stage.start(f"respguard-{port}", words, port=port), admin)


def predixy(stage, nodes):
    program = os.environ.get("PREDIXY") or shutil.which("predixy")
    if not program:
        return None
    port, config = free_port(), stage.folder / "predixy-cluster.conf"
    servers = "".join(f"    + 127.0.0.1:{node}\n" for node in nodes.ports)
    config.write_text(
        f"Name bench\nBind 127.0.0.1:{port}\nWorkerThreads 1\nClientTimeout 0\nLogVerbSample 0\nLogDebugSample 0\n"
        "LogInfoSample 0\nLogNoticeSample 0\nAuthority {\n  Auth {\n    Mode admin\n  }\n}\n"
        f"ClusterServerPool {{\n  RefreshInterval 1\n  Servers {{\n{servers}  }}\n}}\n"
    )
    return Way(PREDIXY, port, stage.start("predixy-cluster", [program, config], port=port))


def envoy(stage, nodes):
    if not shutil.which("envoy"):
        return None
    port, config = free_port(), stage.folder / "envoy-cluster.yaml"
    config.write_text(ENVOY_CONFIG.format(port=port, node=nodes.ports[0]))
    words = ["envoy", "-c", config, "--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id"]
    return Way(ENVOY, port, stage.start("envoy-cluster", words, port=port))
