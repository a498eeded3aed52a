"""Every client of the matrix: its name and version, how it is installed, and how its driver is started."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
DRIVERS = HERE / "drivers"
CACHE = ROOT / ".clients"


class Absent(Exception):
    """A client that is not here; the text says what would bring it."""


@dataclass
class Client:
    """`start` gives the driver's command and environment, installing into the cache what a package registry has."""

    name: str
    version: str
    start: callable
    #: Debian's packages without which it is not measured; they are installed on request.
    packages: tuple = ()


def python(version, driver):
    def start():
        folder = CACHE / f"redis-py-{version}"
        if not folder.exists():
            run(pip(), "install", "--quiet", "--target", folder, f"redis=={version}")
        return [sys.executable, "-B", DRIVERS / driver], {"PYTHONPATH": str(folder)}

    return start


def pip():
    """A pip of the cache's own: the system's Python may have none."""
    tool = CACHE / "pip" / "bin" / "pip"
    if not tool.exists():
        run(sys.executable, "-m", "venv", tool.parents[1])
    return tool


def node(driver, package):
    def start():
        wanted, folder = HERE / "package-lock.json", CACHE / "node"
        if not (folder / "package-lock.json").exists() or (folder / "package-lock.json").read_text() != wanted.read_text():
            folder.mkdir(parents=True, exist_ok=True)
            for file in ("package.json", "package-lock.json"):
                shutil.copy(HERE / file, folder)
            run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=folder)
        return ["node", DRIVERS / driver, package], {"PWD": str(folder)}

    return start


def rust(crate):
    def start():
        # In the tests' profile, in which the crates are built anyway.
        run("cargo", "build", "--quiet", "--locked", "--example", "play-clients", cwd=ROOT)
        return [target() / "debug" / "examples" / "play-clients", crate], {}

    return start


def interpreted(interpreter, driver, *arguments):
    def start():
        if not shutil.which(interpreter):
            raise Absent(interpreter)
        return [interpreter, DRIVERS / driver, *arguments], {}

    return start


def compiled(name, *command, **environment):
    """A program built into the cache from one source file."""

    def start():
        if not shutil.which(command[0]):
            raise Absent(command[0])
        CACHE.mkdir(exist_ok=True)
        program = CACHE / name
        words = [str(program) if word == "OUTPUT" else word for word in command]
        run(*words, environment={**environment, "GOCACHE": str(CACHE / "go")})
        return [program], {}

    return start


def replay(name):
    return lambda: ([sys.executable, "-B", DRIVERS / "replay.py", name], {})


def target():
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")


def run(*words, cwd=None, environment=None):
    done = subprocess.run([str(word) for word in words], cwd=cwd, env={**os.environ, **(environment or {})}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise Absent(f"{' '.join(map(str, words[:4]))} ..: {done.stdout.strip()[-300:]}")


def crate_version(name):
    """The version of a crate in Cargo.lock; of two, the newest."""
    lines = (ROOT / "Cargo.lock").read_text().splitlines()
    versions = [lines[at + 1].split('"')[1] for at, line in enumerate(lines) if line == f'name = "{name}"']
    return max(versions, key=lambda version: [int(part) for part in version.split(".")])


def node_version(package):
    dependency = json.loads((HERE / "package.json").read_text())["dependencies"][package]
    return dependency.rsplit("@", 1)[1]


def everything():
    """All of them, in the order of the table."""
    clients = []
    for version in ("5.3.1", "6.4.0", "7.4.1", "8.1.0"):
        clients.append(Client("redis-py", version, python(version, "redis_py_sync.py")))
    for version in ("5.3.1", "6.4.0", "7.4.1", "8.1.0"):
        clients.append(Client("redis-py asyncio", version, python(version, "redis_py_asyncio.py")))
    for package in ("redis4", "redis5", "redis6"):
        clients.append(Client("node-redis", node_version(package), node("node_redis.mjs", package)))
    for package in ("ioredis5", "ioredis6"):
        clients.append(Client("ioredis", node_version(package), node("ioredis.mjs", package)))
    clients += [
        Client("redis-rs", crate_version("redis"), rust("redis")),
        Client("fred", crate_version("fred"), rust("fred")),
        Client("go-redis", "5.2.9", compiled("go-redis", "go", "build", "-o", "OUTPUT", str(DRIVERS / "go_redis.go"),
               GO111MODULE="off", GOPATH="/usr/share/gocode"), ("golang-go", "golang-gopkg-redis.v5-dev")),
        Client("hiredis", "", compiled("hiredis", "cc", "-O1", "-o", "OUTPUT", str(DRIVERS / "hiredis.c"), "-lhiredis"),
               ("libhiredis-dev",)),
        Client("phpredis", "", interpreted("php", "phpredis.php"), ("php-cli", "php-redis")),
        Client("predis", "", interpreted("php", "predis.php"), ("php-cli", "php-predis")),
        Client("redis-rb", "", interpreted("ruby", "redis_rb.rb"), ("ruby", "ruby-redis")),
        Client("Redis.pm", "", interpreted("perl", "redis_perl.pl", "Redis"), ("libredis-perl",)),
        Client("Redis::Fast", "", interpreted("perl", "redis_perl.pl", "Redis::Fast"), ("libredis-fast-perl",)),
        Client("go-redis (replayed)", "9.5", replay("go-redis-9.5")),
        Client("go-redis (replayed)", "9.14", replay("go-redis-9.14")),
        Client("Jedis (replayed)", "5", replay("jedis")),
        Client("Lettuce (replayed)", "6", replay("lettuce")),
        Client("StackExchange.Redis (replayed)", "2.8", replay("stackexchange")),
        Client("StackExchange.Redis, highIntegrity (replayed)", "2.8", replay("stackexchange-integrity")),
    ]  # fmt: skip
    return clients
