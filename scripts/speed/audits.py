"""Audits of relations: what another client notices of one at the default budget, and what a large keyspace costs without any."""

import http.client
import json
import statistics
import threading
import time

from rates import close, connect, turned
from stage import Failed, cpu_seconds, forget_peak, loopback, memory_bytes, request

MIB = 1024 * 1024
#: Pairs of keys beside which the other client is measured: many more than are looked at meanwhile.
PAIRS = 200_000
FILL = "for i = ARGV[1], ARGV[2] do redis.call('SET', 'blobs:' .. i, 'v') redis.call('SET', 'info:' .. i, 'v') end"
FILL_AT_ONCE = 20_000
RELATION = '[[relation]]\nname = "pairs"\nkeys = ["blobs:{id}", "info:{id}"]\n'
BUDGET = ""
UNBOUND = "keys_per_second = 1000000\n"
BEGIN_SECONDS_MAX = 10
AUDIT_SECONDS_MAX = 3600


def audit(run):
    """The latency of one client at depth 1, alone and while an audit runs at the default budget; then an audit without one."""
    fill(run, PAIRS)
    way = audited(run, BUDGET)
    beside(run, [run.ways.direct(), way], way)
    run.ways.stop(way)
    pairs = run.wishes.audit_keys // 2
    fill(run, pairs)
    whole(run, pairs)
    empty(run)


def audited(run, budget):
    return run.ways.respguard("respguard", f'[audit]\nevery = "off"\n{budget}{RELATION}')


def beside(run, ways, way):
    """`ways` are those of the other client; the audit is always that of `way`."""
    seconds = run.wishes.seconds
    connect(run, ways, 1)
    for round in range(run.wishes.rounds):
        for other in turned(ways, round):
            name = other.name.replace(" ", "_")
            quiet = run.load.ask("play", name, "get:1", seconds, seconds=seconds)
            running = Audit(way)
            before, own, redis = running.begun(), cpu_seconds(way.pid), cpu_seconds(run.ways.redis.pid)
            begun = time.monotonic()
            busy = run.load.ask("play", name, "get:1", seconds, seconds=seconds)
            walked, passed = running.walked() - before, time.monotonic() - begun
            run.records.add("audit", "1 client", other.name, round, quiet_p99_us=quiet["p99_us"], beside_p99_us=busy["p99_us"],
                            quiet_p50_us=quiet["p50_us"], beside_p50_us=busy["p50_us"], keys_per_second=walked / passed,
                            cpu_percent=100 * (cpu_seconds(way.pid) - own) / passed,
                            redis_percent=100 * (cpu_seconds(run.ways.redis.pid) - redis) / passed)
            running.cancel()
    close(run, ways)
    for other in ways:
        factor, walked = (statistics.median(values) for values in (factors(run.records, other.name),
                                                                   run.records.values("audit", "1 client", other.name, "keys_per_second")))
        print(f"{'audit':<12}{'1 client':<12}{other.name:<20}{factor:>9.2f} of the p99 alone, {walked:,.0f} keys/s", flush=True)


def factors(records, way):
    return [busy / quiet for busy, quiet in zip(*(records.values("audit", "1 client", way, metric)
                                                  for metric in ("beside_p99_us", "quiet_p99_us")))]


def whole(run, pairs):
    """One audit of all keys, as fast as it can be: how fast that is, and what memory it takes."""
    way = audited(run, UNBOUND)
    time.sleep(1)
    before = memory_bytes(way.pid)
    forget_peak(way.pid)
    own, redis, begun = cpu_seconds(way.pid), cpu_seconds(run.ways.redis.pid), time.monotonic()
    report = Audit(way).report()
    passed = time.monotonic() - begun
    if (report["outcome"], report["walked"]) != ("clean", 2 * pairs):
        raise Failed(f"an audit of {2 * pairs} keys came to {report['outcome']} of {report['walked']}")
    keys = 2 * pairs
    run.records.add("audit of all", f"{keys:,} keys", way.name, 0, keys_per_second=keys / passed,
                    cpu_us=1e6 * (cpu_seconds(way.pid) - own) / keys, redis_us=1e6 * (cpu_seconds(run.ways.redis.pid) - redis) / keys,
                    grown_mib=(memory_bytes(way.pid, "VmHWM") - before) / MIB)
    grown = run.records.median("audit of all", f"{keys:,} keys", way.name, "grown_mib")
    print(f"{'audit':<12}{f'{keys:,} keys':<12}{way.name:<20}{keys / passed:>12,.0f} keys/s, {grown:.1f} MiB grown", flush=True)
    run.ways.stop(way)


def fill(run, pairs):
    with loopback(run.ways.redis_port, timeout=120) as wire:
        for first in range(0, pairs, FILL_AT_ONCE):
            wire.sendall(request("EVAL", FILL, 0, first, min(first + FILL_AT_ONCE, pairs) - 1))
            if wire.recv(16) != b"$-1\r\n":
                raise Failed("the keys of an audit cannot be set")


def empty(run):
    """Leaves the sections behind this one the one key that they read."""
    with loopback(run.ways.redis_port, timeout=120) as wire:
        wire.sendall(request("FLUSHALL"))
        wire.recv(16)
    run.ways_set("key", 64)


class Audit:
    """An audit that was begun, and is carried out by the respguard that was asked."""

    def __init__(self, way):
        self.way, self.answer = way, None
        self.thread = threading.Thread(target=self.post, daemon=True)
        self.thread.start()

    def post(self):
        self.answer = self.ask("POST", "/audit")

    def ask(self, method, path):
        wire = http.client.HTTPConnection("127.0.0.1", self.way.admin, timeout=AUDIT_SECONDS_MAX)
        try:
            wire.request(method, path, body=b"" if method == "POST" else None)
            answer = wire.getresponse()
            said = answer.read()
            if answer.status != 200:
                raise Failed(f"{method} {path} is answered {answer.status}: {said[:200]!r}")
            return json.loads(said)
        finally:
            wire.close()

    def walked(self):
        running = self.ask("GET", "/audit")["running"]
        return running["walked"] if running else 0

    def begun(self):
        end = time.monotonic() + BEGIN_SECONDS_MAX
        while not (walked := self.walked()):
            if time.monotonic() > end:
                raise Failed("no audit begins")
            time.sleep(0.02)
        return walked

    def cancel(self):
        self.ask("POST", "/audit/cancel")
        self.report()

    def report(self):
        self.thread.join(AUDIT_SECONDS_MAX)
        if self.answer is None:
            raise Failed("an audit was not answered")
        return self.answer
