"""The ways to Redis that are compared: straight, through respguard, and through whatever other proxy the machine has."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from stage import answers_http, free_port, raise_file_limit

#: Debian's packages of proxies, by the program in each.
PACKAGES = {"haproxy": "haproxy", "nutcracker": "nutcracker", "webdis": "webdis"}

DIRECT, PLAIN, RULES = "direct", "respguard", "respguard, rules"
REST, WEBDIS = "respguard, REST", "webdis"
PREDIXY = "predixy"
HAPROXY_SPLICE = "haproxy, splice"


@dataclass
class Way:
    """A port that leads to Redis, and the process behind it if that is not Redis itself."""

    name: str
    port: int
    process: object = None
    #: Where respguard is asked about itself.
    admin: int | None = None

    @property
    def pid(self):
        return self.process.pid if self.process else None


class Ways:
    """Starts ways to one private redis-server."""

    def __init__(self, stage, program):
        self.stage, self.program = stage, program
        self.redis_port = free_port()
        options = {"port": self.redis_port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": stage.folder}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self.redis = stage.start("redis", ["redis-server", *words], port=self.redis_port)

    def direct(self):
        return Way(DIRECT, self.redis_port)

    def respguard(self, name=PLAIN, rules="", workers=1, listen="", upstream_port=None, is_up=None):
        port, admin = free_port(), free_port()
        config = self.stage.folder / f"respguard-{port}.toml"
        config.write_text(
            f'workers = {workers}\nlisten.address = "127.0.0.1:{port}"\n{listen}'
            f'upstream.address = "127.0.0.1:{upstream_port or self.redis_port}"\nadmin.address = "127.0.0.1:{admin}"\n{rules}'
        )
        words = [self.program, "run", "--config", config, "--log-level", "error"]
        return Way(name, port, self.stage.start(f"respguard-{port}", words, port=port, is_up=is_up), admin)

    def rest(self):
        """The RESP front and the REST front of one process: two ways, of which the first stops it."""
        front = free_port()
        resp = self.respguard(rules=f'[rest]\naddress = "127.0.0.1:{front}"\n')
        return resp, Way(REST, front, resp.process)

    def webdis(self):
        if not shutil.which("webdis"):
            return None
        port, config = free_port(), self.stage.folder / "webdis.json"
        config.write_text(json.dumps({
            "redis_host": "127.0.0.1", "redis_port": self.redis_port, "http_host": "127.0.0.1", "http_port": port, "threads": 1,
            "pool_size": 8, "daemonize": False, "websockets": False, "database": 0, "verbosity": 0,
            "logfile": str(self.stage.folder / "webdis.log"),
        }))
        return Way(WEBDIS, port, self.stage.start("webdis", ["webdis", config], port=port, is_up=answers_http))

    def peers(self, only=None):
        """Every other proxy that is here."""
        starts = {"haproxy": self.haproxy, "twemproxy": self.twemproxy, PREDIXY: self.predixy, "envoy": self.envoy}
        ways = [start() for name, start in starts.items() if (only is None or name in only)]
        return [way for way in ways if way]

    def haproxy(self, name="haproxy", bind="", server="", upstream_port=None, is_up=None, more="", files=2):
        if not shutil.which("haproxy"):
            return None
        port, config = free_port(), self.stage.folder / "haproxy.cfg"
        most = (raise_file_limit() - 500) // files
        config.write_text(
            f"global\n  nbthread 1\n  maxconn {most}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 10m\n"
            f"  timeout server 10m\n{more}listen redis\n  bind 127.0.0.1:{port} maxconn {most}{bind}\n"
            f"  server redis 127.0.0.1:{upstream_port or self.redis_port}{server}\n"
        )
        return Way(name, port, self.stage.start("haproxy", ["haproxy", "-db", "-f", config], port=port, is_up=is_up))

    def haproxy_splice(self):
        """The same, told to move bytes from socket to socket; it wants files for its pipes, too."""
        return self.haproxy(HAPROXY_SPLICE, files=3,
                            more="  option splice-auto\n  option splice-request\n  option splice-response\n")

    def twemproxy(self):
        if not shutil.which("nutcracker"):
            return None
        port, config = free_port(), self.stage.folder / "nutcracker.yml"
        config.write_text(
            f"redis:\n  listen: 127.0.0.1:{port}\n  redis: true\n  servers:\n    - 127.0.0.1:{self.redis_port}:1\n"
        )
        words = ["nutcracker", "-c", config, "-a", "127.0.0.1", "-s", free_port(), "-v", "0"]
        return Way("twemproxy", port, self.stage.start("nutcracker", words, port=port))

    def predixy(self):
        program = os.environ.get("PREDIXY") or shutil.which("predixy")
        if not program:
            return None
        port, config = free_port(), self.stage.folder / "predixy.conf"
        config.write_text(
            f"Name bench\nBind 127.0.0.1:{port}\nWorkerThreads 1\nClientTimeout 0\nLogVerbSample 0\nLogDebugSample 0\n"
            "LogInfoSample 0\nLogNoticeSample 0\nAuthority {\n  Auth {\n    Mode admin\n  }\n}\n"
            "StandaloneServerPool {\n  Databases 1\n  Hash crc16\n  Distribution modula\n  RefreshMethod fixed\n"
            f"  Group redis {{\n    + 127.0.0.1:{self.redis_port}\n  }}\n}}\n"
        )
        return Way(PREDIXY, port, self.stage.start("predixy", [program, config], port=port))

    def envoy(self, listener="", cluster="", upstream_port=None, is_up=None):
        if not shutil.which("envoy"):
            return None
        port, config = free_port(), self.stage.folder / "envoy.yaml"
        config.write_text(ENVOY.format(port=port, redis=upstream_port or self.redis_port, listener=listener, cluster=cluster))
        words = ["envoy", "-c", config, "--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id"]
        return Way("envoy", port, self.stage.start("envoy", words, port=port, is_up=is_up))

    def stop_all(self):
        """Ends every way that is still open, whatever became of who opened it."""
        for process in [process for process in self.stage.processes if process.title not in ("redis", "load")]:
            self.stage.stop(process)

    def stop(self, *ways):
        for way in ways:
            if way.process:
                self.stage.stop(way.process)


def install():
    """Installs what Debian has; as root, or where sudo asks for no password."""
    missing = sorted(package for program, package in PACKAGES.items() if not shutil.which(program))
    if missing:
        as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        # The packages' services must not start: what is measured is started here.
        subprocess.run([*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "install", "-y", "-qq",
                        "--no-install-recommends", *missing], check=True, stdout=subprocess.DEVNULL)


def version(words, pattern):
    """The first number that looks like a version in what a program says; nothing if it is not there."""
    if not shutil.which(words[0]):
        return ""
    said = subprocess.run(words, capture_output=True, text=True)
    found = re.search(pattern, said.stdout + said.stderr)
    return found.group(1) if found else ""


def package_version(name):
    """The version of a program that tells none."""
    if not (shutil.which(name) and shutil.which("dpkg-query")):
        return ""
    said = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True).stdout
    found = re.match(r"\d+\.\d+[.\d]*", said)
    return found.group(0) if found else ""


def versions():
    number = r"(\d+\.\d+[.\d]*)"
    found = {
        "redis": version(["redis-server", "--version"], f"v={number}"),
        "haproxy": version(["haproxy", "-v"], f"version {number}"),
        "twemproxy": version(["nutcracker", "-V"], f"nutcracker-{number}"),
        PREDIXY: version([os.environ.get("PREDIXY") or "predixy", "-v"], number),
        WEBDIS: package_version("webdis"),
        "envoy": version(["envoy", "--version"], number),
    }
    return {name: number for name, number in found.items() if number}


def group_rule(atomic):
    return f'[[group]]\nname = "order"\natomic = "{atomic}"\n' \
           'commands = ["SET order:{id} *", "HSET order-info:{id} state *", "SADD orders {id}", "EXPIRE order-info:{id} *"]\n'


def idle_rules():
    """Ten groups, five TTL rules and five guards of which none matches what is sent; three groups begin with GET."""
    groups = [
        '"GET lease:{id}", "SET lease:{id} *"',
        '"GET token:{id}", "DEL token:{id}", "SADD tokens {id}"',
        '"GET profile:{id}", "HSET seen {id} *"',
        '"SETEX session:{user}:{id} * *", "SADD sessions:{user} {id}", "EXPIRE sessions:{user} *"',
        '"INCR rate:{id}", "EXPIRE rate:{id} *"',
        '"HSET blob:{id} bytes *", "HSET blob-info:{id} ..."',
        '"SET snapshot:{id} *", "SET latest {id}", "ZADD snapshots * {id}"',
        '"HSET cart:{id} ...", "EXPIRE cart:{id} *"',
        '"LPUSH jobs {id}", "SET job:{id} *"',
        '"SET info:{id} *", "SADD about:{id} *"',
    ]
    ttls = ["session:*", "token:*", "rate:*", "cart:*", "lease:*"]
    guards = ["KEYS *", "FLUSHALL ...", "GET secret:*", "DEL session:*", "SMEMBERS sessions:*"]
    rules = [f'[[group]]\nname = "group-{at}"\ncommands = [{commands}]\n' for at, commands in enumerate(groups)]
    rules += [f'[[ttl]]\nname = "ttl-{at}"\nkeys = ["{keys}"]\n' for at, keys in enumerate(ttls)]
    rules += [f'[[guard]]\nname = "guard-{at}"\ncommands = ["{command}"]\naction = "reject"\n' for at, command in enumerate(guards)]
    return "".join(rules)


def many_rules(count):
    """So many rules, half of them groups that begin with the command that is sent and a quarter each TTL rules and guards."""
    rules = []
    for at in range(count):
        if at % 4 < 2:
            rules.append(f'[[group]]\nname = "r{at}"\ncommands = ["GET family{at}:{{id}}", "SET family{at}:{{id}} *"]\n')
        elif at % 4 == 2:
            rules.append(f'[[ttl]]\nname = "r{at}"\nkeys = ["family{at}:*"]\n')
        else:
            rules.append(f'[[guard]]\nname = "r{at}"\ncommands = ["GET family{at}:*"]\naction = "reject"\n')
    return "".join(rules)


ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: redis
          settings: {{op_timeout: 5s}}
          prefix_routes: {{catch_all_route: {{cluster: redis}}}}
      {listener}
  clusters:
  - name: redis
    type: STATIC
    {cluster}
    load_assignment:
      cluster_name: redis
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {redis}}}}}}}}}]}}]
"""
