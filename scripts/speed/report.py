"""Writes docs/performance/results.md from what was measured."""

import inspect
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

import clusters
import goals
from stage import ROOT
from ways import DIRECT, PLAIN

NAME = "results.md"
HEAD = """# Measured

Written by `make bench` from [results.csv](results.csv); not by hand. How it was measured and what it means is in
[performance](../performance.md). Each section says when it was measured, on what and under which conditions.
"""


def note_conditions(records, section, wishes, versions):
    """What a reader must know of the machine and of this run; nothing that tells one machine from another of its kind."""
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024 // 1024
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    records.note(section, date=time.strftime("%Y-%m-%d"), cores=os.cpu_count(), cpu=cpu, memory_gib=memory,
                 kernel=platform.release().split("-")[0], load_before=os.getloadavg()[0], rounds=wishes.rounds, seconds=wishes.seconds,
                 large_mib=wishes.large_mib, commit=commit, versions=", ".join(f"{name} {version}" for name, version in versions.items()))


def write(records, folder):
    """Writes the document; what it says comes back."""
    parts = [HEAD]
    parts += [part for part in (goals.table(records), *(with_conditions(records, *part) for part in SECTIONS.items())) if part]
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    (folder / NAME).write_text(text)
    return text


def with_conditions(records, make, sections):
    """The part of the document, with the line about its conditions behind its heading."""
    part = make(records).strip()
    if not part:
        return ""
    heading, _, rest = part.partition("\n")
    return "\n\n".join(text for text in (heading, measured(records, *sections), rest.strip()) if text)


def measured(records, *sections):
    """When each of these sections was measured, on what, and under which conditions: once where they are the same."""
    lines = {}
    for section in sections:
        if at := records.conditions(section):
            lines.setdefault(conditions(at), []).append(section)
    names = len(lines) > 1
    return "  \n".join(f"*{', '.join(parts) + ': ' if names else ''}{line}*" for line, parts in lines.items())


def conditions(at):
    when = f"{at['date']}, " if at.get("date") else ""
    return (f"{when}respguard {at.get('commit')}; {at.get('versions')}; {at.get('cores')} cores ({at.get('cpu')}), {at.get('memory_gib')} GiB, "
            f"Linux {at.get('kernel')}; load average {float(at.get('load_before', 0)):.1f} before, {float(at.get('load_after', 0)):.1f} after; "
            f"{at.get('rounds')} rounds of {at.get('seconds')} s.")


def throughput(records):
    ways, depths = records.seen("throughput"), records.seen("throughput", "case")
    if not ways:
        return ""
    rate = [[way, *(ratio(records.paired("throughput", depth, way, DIRECT, "per_second")) for depth in depths)] for way in ways]
    cpu = [[way, *(spread(records.values("throughput", depth, way, "cpu_us"), 2) for depth in depths)] for way in ways if way != DIRECT]
    redis = [[way, *(spread(records.values("throughput", depth, way, "redis_us"), 2) for depth in depths)] for way in ways]
    late = [[way, *(f"{records.median('throughput', depth, way, 'p50_us'):.0f} / {records.median('throughput', depth, way, 'p99_us'):.0f}"
                    for depth in depths)] for way in ways]
    absolute = ", ".join(f"{records.median('throughput', depth, DIRECT, 'per_second'):,.0f} at {depth}" for depth in depths)
    return "\n\n".join([
        "## GET of 64 B, 50 clients",
        f"Requests per second as a ratio to direct in the same round, median (least to most). Direct: {absolute}.",
        markdown(["", *depths], rate),
        "CPU of the proxy for each request, all threads, in microseconds: median (least to most).",
        markdown(["", *depths], cpu),
        "CPU of Redis for each request, in microseconds: a proxy that joins clients costs it less.",
        markdown(["", *depths], redis),
        "How long a batch took, in microseconds: median over the rounds of p50 / p99.",
        markdown(["", *depths], late),
        "![rate](throughput.png)", "![CPU](cpu.png)",
    ])


def groups(records):
    ways, cases = records.seen("groups"), records.seen("groups", "case")
    if not ways:
        return ""
    rows = [[case, way, ratio(records.paired("groups", case, way, DIRECT, "per_second")),
             spread(records.values("groups", case, way, "cpu_us"), 2),
             spread(records.values("groups", case, way, "redis_us"), 2)] for case in cases for way in ways]
    return "\n\n".join([
        "## Groups", "Each batch is one or several groups of four commands that a rule wraps, at each level; direct, the client "
        "itself sends `MULTI` and `EXEC`. The rate as a ratio to that in the same round; CPU in microseconds for each group.",
        markdown(["groups in a batch", "", "rate", "CPU of respguard", "CPU of Redis"], rows)])


def tails(records):
    cases, ways = records.seen("tails", "case"), records.seen("tails")
    parts = [f"{case.capitalize()}:\n\n" + markdown(["", "p50", "p99", "p50 of direct's", "p99 of direct's", "CPU"], [
        [way, *(spread(records.values("tails", case, way, metric), 0) for metric in ("p50_us", "p99_us")),
         *(ratio(records.paired("tails", case, way, DIRECT, metric)) for metric in ("p50_us", "p99_us")),
         "" if way == DIRECT else spread(records.values("tails", case, way, "cpu_us"), 1)] for way in ways]) for case in cases]
    text = "A GET of 64 B that is sent alone: microseconds until it is answered, the ratio to direct in the same round, and the proxy's CPU in microseconds."
    return "\n\n".join(["## Tails", text, *parts]) if cases else ""


def neighbour(records):
    ways = records.seen("neighbour")
    if not ways:
        return ""
    rows = []
    for way in ways:
        factor = [beside / quiet for beside, quiet in zip(*(records.values("neighbour", "1 client", way, metric)
                                                            for metric in ("beside_p99_us", "quiet_p99_us")))]
        rows.append([way, *(spread(records.values("neighbour", "1 client", way, metric), 0) for metric in ("quiet_p99_us", "beside_p99_us")),
                     ratio(factor), spread(records.values("neighbour", "1 client", way, "bulk_mb_per_second"), 0)])
    return "\n\n".join(["## Beside a client with pipelines of 100 KB", "p99 in microseconds of one client at depth 1, alone and beside another "
                        "that sends pipelines of 100 KB (SETs of 1,000 B) without a pause, and how many MB per second that one moves.",
                        markdown(["", "alone", "beside it", "factor", "MB/s"], rows)])


def idle(records):
    parts = []
    for case in records.seen("idle", "case"):
        rows = [[way, f"{records.median('idle', case, way, 'bytes_per_client') / 1024:.2f}"] for way in records.seen("idle")]
        parts += [f"{case.capitalize()} that have asked once and are silent: KiB of resident memory for each, without the kernel's.",
                  markdown(["", "KiB"], rows)]
    for case in records.seen("burst", "case"):
        rows = [[way, *(f"{records.median('burst', case, way, metric):.1f}" for metric in ("peak_mib", "left_mib"))]
                for way in records.seen("burst")]
        parts += [f"Then {case} of them send 100 KB of requests at once: MiB at the peak, and three seconds later.",
                  markdown(["", "peak", "left"], rows)]
    return "\n\n".join(["## Memory of idle clients", *parts]) if parts else ""


def slow_readers(records):
    rows = [[case, *(f"{records.values('slow readers', case, 'respguard', metric)[0]:.0f}"
                     for metric in ("before_mib", "peak_mib", "after_mib", "other_longest_ms", "other_failed"))] for case in records.seen("slow readers", "case")]
    parts = ["## Slow readers", "Clients that ask for 10 MiB each and read nothing, at two values of `buffered_bytes_max`: resident "
             "MiB before, at the peak and after they have gone, and the longest wait in milliseconds and the errors of another client that asks one small thing after the other.",
             markdown(["", "before", "peak", "after", "longest wait", "errors"], rows)]
    for case in records.seen("crowd", "case"):
        waits = [[way, f"{records.median('crowd', case, way, 'longest_ms'):,.0f}", f"{records.median('crowd', case, way, 'failed'):.0f}"]
                 for way in records.seen("crowd")]
        parts += [f"The same wait beside {case}, without the idle clients, over each way.", markdown(["", "longest wait", "errors"], waits)]
    return "\n\n".join(parts) if rows else ""


def large(records):
    rows = [[command, way, ratio(records.paired("large values", command, way, DIRECT, "mib_per_second")),
             spread(records.values("large values", command, way, "grown_mib"), 1)]
            for command in records.seen("large values", "case") for way in records.seen("large values")
            if way != DIRECT and records.values("large values", command, way, "mib_per_second")]
    for row in rows:
        row += [spread(records.values("large values", row[0], row[1], metric), 0) for metric in ("cpu_ms_per_gib", "redis_ms_per_gib")]
    return "\n\n".join([f"## Values of {records.conditions('large').get('large_mib')} MiB", "A client that keeps up: the rate as a ratio to direct in the same "
                        "round, by how many MiB the proxy's resident memory grew at the peak, and CPU of the proxy and of Redis in milliseconds for each GiB.",
                        markdown(["", "", "rate", "grown", "CPU of the proxy", "CPU of Redis"], rows)]) if rows else ""


def tls(records):
    ways, cases = records.seen("tls"), records.seen("tls", "case")
    if not ways:
        return ""
    rows = [[case, way, ratio(records.paired("tls", case, way, DIRECT, "per_second")),
             spread(records.values("tls", case, way, "cpu_us"), 2) if way != DIRECT else "",
             spread(records.values("tls", case, way, "redis_us"), 2),
             f"{records.median('tls', case, way, 'p50_us'):.0f} / {records.median('tls', case, way, 'p99_us'):.0f}"]
            for case in cases for way in ways if records.values("tls", case, way, "per_second")]
    return "\n\n".join(["## TLS", "GET of 64 B over 50 connections of TLS 1.3 (AES-128-GCM); before each depth, what the proxy speaks to the server. Direct, "
                        "Redis ends the TLS itself. The rate as a ratio to that in the same round; CPU of the proxy and of Redis for each request in "
                        "microseconds; p50 / p99 of a batch in microseconds.",
                        markdown(["server's side", "", "rate", "CPU of the proxy", "CPU of Redis", "p50 / p99"], rows)])


def stalled(records):
    wait = lambda way, metric: ", ".join(f"{value:,.1f}" for value in records.values("stalled", "100 MiB", way, metric))
    rows = [[way, *(wait(way, metric) for metric in ("alone_ms", "longest_ms", "late_ms")),
             f"{records.median('stalled', '100 MiB', way, 'failed'):.0f}"] for way in records.seen("stalled")]
    parts = ["## Beside a client that does not read", "The longest wait in milliseconds of a client that asks one small thing after "
             "the other, alone and while another has asked for 100 MiB and reads nothing; and of ten that begin to "
             "ask 200 ms after that.",
             markdown(["", "alone", "beside it", "later", "errors"], rows)]
    for case in records.seen("paused", "case"):
        waits = [[way, *(f"{records.median('paused', case, way, metric):,.2f}" for metric in ("p99_ms", "longest_ms"))]
                 for way in records.seen("paused")]
        parts += [f"Reads beside {case} that wait for the end of `CLIENT PAUSE .. WRITE`, in milliseconds.",
                  markdown(["", "99 of 100", "longest"], waits)]
    return "\n\n".join(parts) if rows else ""


def audit(records):
    ways = records.seen("audit")
    if not ways:
        return ""
    value = lambda way, metric, digits: spread(records.values("audit", "1 client", way, metric), digits)
    factor = lambda way: [beside / quiet for beside, quiet in zip(*(records.values("audit", "1 client", way, metric)
                                                                     for metric in ("beside_p99_us", "quiet_p99_us")))]
    rows = [[way, *(value(way, metric, 0) for metric in ("quiet_p99_us", "beside_p99_us")), ratio(factor(way)),
             value(way, "keys_per_second", 0), value(way, "cpu_percent", 1), value(way, "redis_percent", 1)] for way in ways]
    parts = ["## Beside an audit", "p99 in microseconds of one client at depth 1, alone and while an audit of a relation walks at the default "
             "budget; keys that it walked in a second, and what of a core respguard and Redis used meanwhile, in percent, the client's requests included.",
             markdown(["the client's way", "alone", "beside it", "factor", "keys/s", "respguard", "Redis"], rows)]
    if cases := records.seen("audit of all", "case"):
        whole = [[case, *(f"{records.median('audit of all', case, 'respguard', metric):,.{digits}f}"
                          for metric, digits in (("keys_per_second", 0), ("cpu_us", 2), ("redis_us", 2), ("grown_mib", 1)))] for case in cases]
        parts += ["One audit of all keys without a budget: keys in a second, CPU in microseconds for each key, and by how many MiB the "
                  "resident memory of respguard grew at the peak.",
                  markdown(["", "keys/s", "CPU of respguard", "CPU of Redis", "MiB grown"], whole)]
    return "\n\n".join(parts)


def rest(records):
    ways, cases = records.seen("rest"), records.seen("rest", "case")
    rows = [[case, way, ratio(records.paired("rest", case, way, PLAIN, "per_second")),
             spread(records.values("rest", case, way, "cpu_us"), 2) if way != DIRECT else "",
             ratio(records.paired("rest", case, way, PLAIN, "cpu_us")) if way != DIRECT else "",
             f"{records.median('rest', case, way, 'p50_us'):.0f} / {records.median('rest', case, way, 'p99_us'):.0f}"]
            for case in cases for way in ways if records.values("rest", case, way, "per_second")]
    return "\n\n".join(["## REST", "GET of 64 B over 50 kept connections, one command or 16 in a `/pipeline`, beside the same commands by RESP through the "
                        "same process: the rate and the CPU as ratios to those by RESP in the same round, CPU of the proxy for each "
                        "command in microseconds, p50 / p99 of a request in microseconds.",
                        markdown(["", "", "rate", "CPU", "of RESP's", "p50 / p99"], rows)]) if rows else ""


def cluster(records):
    cases = records.seen("cluster", "case")
    if not cases:
        return ""
    ways = records.seen("cluster")
    def row(case, way):
        rate, cpu, p99 = (records.median("cluster", case, way, metric) for metric in ("per_second", "cpu_us", "p99_us"))
        return "" if rate is None else f"{rate:,.0f}/s, {cpu:.2f} us, {p99:,.0f} us"
    rows = [[case, *(row(case, way) for way in ways)] for case in cases]
    return "\n\n".join(["## Before a cluster", f"{inspect.getdoc(clusters.cluster)} Rate, CPU of the proxy for each request, and the 99th percentile "
                        "of its time; depth behind the command.", markdown(["", *ways], rows)])


def scaling(records):
    parts = []
    if ways := records.seen("workers"):
        cases = records.seen("workers", "case")
        rows = [[way, *(f"{ratio(records.paired('workers', case, way, DIRECT, 'per_second'))}, {records.median('workers', case, way, 'cpu_us'):.2f} us"
                        for case in cases)] for way in ways if way != DIRECT]
        parts += ["Workers: the rate as a ratio to direct, and CPU for each request.", markdown(["", *cases], rows)]
    if ways := records.seen("connections"):
        cases = records.seen("connections", "case")
        rows = [[way, *(spread(records.values("connections", case, way, "cpu_us"), 2) for case in cases)] for way in ways if way != DIRECT]
        parts += ["Connections, all of them busy at depth 1: CPU for each request in microseconds.", markdown(["", *cases], rows),
                  "![connections](connections.png)"]
    if ways := records.seen("rules"):
        case = records.seen("rules", "case")[0]
        parts += [f"Rules of which none matches (half of them groups that begin with the command sent, a quarter TTL rules, a quarter guards), {case}: "
                  "CPU for each request in microseconds.",
                  markdown(ways, [[spread(records.values("rules", case, way, "cpu_us"), 3) for way in ways]]), "![rules](rules.png)"]
    return "\n\n".join(["## Scaling", *parts]) if parts else ""


def compress(records):
    ways, cases = records.seen("compress"), records.seen("compress", "case")
    if not ways:
        return ""
    rows = [[case, way, ratio(records.paired("compress", case, way, DIRECT, "per_second")),
             *(spread(records.values("compress", case, way, metric), digits) for metric, digits in (("cpu_us", 0), ("redis_us", 0))),
             *(f"{records.median('compress', case, way, metric):,.1f}" for metric in ("to_server_kb", "from_server_kb", "memory_kb"))]
            for case in cases for way in ways]
    parts = ["## Compressed values", "A SET and a GET of one value of JSON, by 8 clients: the rate as a ratio to direct in the same round, "
             "CPU in microseconds for both together, KB that they put on the wire to the server and from it, and KB of memory that the value takes there.",
             markdown(["value", "", "rate", "CPU of respguard", "CPU of Redis", "to Redis", "from Redis", "memory"], rows)]
    for case in records.seen("compress beside", "case"):
        rows = [[way, *(spread(records.values("compress beside", case, way, metric), digits)
                        for metric, digits in (("quiet_p99_us", 0), ("beside_p99_us", 0), ("values_per_second", 1)))]
                for way in records.seen("compress beside")]
        parts += [f"p99 in microseconds of another client at depth 1, alone and while one client writes and reads values of {case}, and how many "
                  "of these that one moves in a second.", markdown(["", "alone", "beside it", "values/s"], rows)]
    return "\n\n".join(parts)


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def ratio(values):
    return spread(values, 2)


def spread(values, digits):
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:,.{digits}f}"
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


SECTIONS = {
    throughput: ("throughput",), groups: ("groups",), tails: ("tails",), neighbour: ("neighbour",), idle: ("idle",), slow_readers: ("slow-readers",),
    large: ("large",), stalled: ("stalled",), rest: ("rest",), audit: ("audit",), compress: ("compress",), cluster: ("cluster",), tls: ("tls",),
    scaling: ("workers", "connections", "rules"),
}  # fmt: skip
