"""The processes that are measured: started on ports that the system gives, watched, and ended by their ids on any exit."""

import atexit
import ctypes
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS_MAX = 15
#: A line of the load generator that takes so much longer than it was told to is stuck.
PATIENCE_SECONDS = 30
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """What makes the whole run worth nothing; the text says why."""


class Stage:
    """A folder and the processes that live in it, until the script ends in whatever way."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="respguard-bench-"))
        self.processes = []
        atexit.register(self.end)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit("bench: told to end"))

    def start(self, name, words, port=None, is_up=None, **options):
        """Starts a process; with a port, waits until it answers there."""
        with open(self.folder / f"{name}.log", "ab") as log:
            options = {"stdin": subprocess.DEVNULL, "stdout": log, **options}
            process = subprocess.Popen([str(word) for word in words], stderr=log, preexec_fn=die_with_parent, **options)
        process.title = name
        self.processes.append(process)
        if port:
            self.await_answer(process, port, is_up or answers)
        return process

    def await_answer(self, process, port, is_up):
        end = time.monotonic() + START_SECONDS_MAX
        while not is_up(port):
            if process.poll() is not None or time.monotonic() > end:
                log = (self.folder / f"{process.title}.log").read_text(errors="replace")
                raise Failed(f"{process.title} did not start:\n{log[-2000:]}")
            time.sleep(0.02)

    def stop(self, process):
        if process in self.processes:
            self.processes.remove(process)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def end(self):
        for process in reversed(list(self.processes)):
            self.stop(process)
        shutil.rmtree(self.folder, ignore_errors=True)


class Generator:
    """A process of the load generator: one line to it, one line back."""

    def __init__(self, stage, program):
        self.stage = stage
        self.process = stage.start("load", [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self, *words):
        self.process.stdin.write((" ".join(str(word) for word in words) + "\n").encode())
        self.process.stdin.flush()

    def hear(self, seconds=0):
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(PATIENCE_SECONDS + seconds):
                raise Failed("the load generator is stuck")
        line = self.process.stdout.readline()
        if not line:
            said = (self.stage.folder / "load.log").read_text(errors="replace")
            raise Failed(f"the load generator ended: {said[-500:]}")
        return json.loads(line)

    def ask(self, *words, seconds=0):
        self.tell(*words)
        return self.hear(seconds)


def die_with_parent():
    """The child ends with the script even where the script is killed."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as wire:
            wire.sendall(request("GET", "nothing"))
            return wire.recv(16).startswith(b"$")
    except OSError:
        return False


def answers_http(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as wire:
            wire.sendall(b"GET /PING HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return wire.recv(16).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def request(*words):
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    """What all threads of a process have run so far, by the scheduler's own count in nanoseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def memory_bytes(pid, field="VmRSS"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"no {field} of process {pid}")


def forget_peak(pid):
    """VmHWM begins anew at what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def raise_file_limit():
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def loopback(port, timeout=60):
    wire = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def await_reply(wire, expected):
    came = b""
    while len(came) < len(expected):
        piece = wire.recv(len(expected) - len(came))
        if not piece:
            raise Failed("a connection was closed")
        came += piece
    if came != expected:
        raise Failed(f"{came[:80]!r} instead of {expected[:80]!r}")


def is_busy():
    return os.getloadavg()[0] > os.cpu_count()
