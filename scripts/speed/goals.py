"""What respguard wants to reach, each beside what was measured."""

import statistics

from clusters import ENVOY, ONE_SERVER
from rates import CLIENTS, tails_case
from ways import DIRECT, HAPROXY_SPLICE, PLAIN, PREDIXY, REST, RULES

DEPTHS = ("depth 1", "depth 16", "depth 64")


def table(records):
    """Every goal that this run can tell of, and whether it was reached."""
    finders = (rates, processor, ahead, rules, groups, tails, memory, large, rest, tls, audit, cluster, others)
    rows = [row for find in finders for row in find(records)]
    if not rows:
        return ""
    lines = ["| goal | wanted | measured | |", "|---|---|---|---|"]
    lines += [f"| {goal} | {wanted} | {measured} | {'reached' if reached else '**missed**'} |" for goal, wanted, measured, reached in rows]
    return "## Goals\n\n" + "\n".join(lines)


def at_least(goal, value, wanted):
    return [] if value is None else [(goal, f"at least {wanted:g}", f"{value:.2f}", value >= wanted)]


def at_most(goal, value, wanted, unit=""):
    return [] if value is None else [(goal, f"at most {wanted:g}{unit}", f"{value:.2f}{unit}", value <= wanted)]


def paired(records, section, case, way, other, metric):
    ratios = records.paired(section, case, way, other, metric)
    return statistics.median(ratios) if ratios else None


def rates(records):
    return [row for depth, wanted in zip(DEPTHS, (0.88, 0.80, 0.88))
            for row in at_least(f"rate without rules, of direct, {depth}", paired(records, "throughput", depth, PLAIN, DIRECT, "per_second"), wanted)]


def processor(records):
    return [row for depth, wanted in zip(DEPTHS, (0.85, 0.45, 0.33))
            for row in at_most(f"CPU for each request, of predixy's, {depth}", paired(records, "throughput", depth, PLAIN, PREDIXY, "cpu_us"), wanted)]


def ahead(records):
    """Ahead of every other proxy, in rate and in CPU."""
    rows = []
    for depth in DEPTHS:
        others = [way for way in records.seen("throughput") if way not in (DIRECT, PLAIN, RULES)]
        if not others:
            continue
        rate = {way: paired(records, "throughput", depth, PLAIN, way, "per_second") for way in others}
        cpu = {way: paired(records, "throughput", depth, PLAIN, way, "cpu_us") for way in others}
        slowest, dearest = min(rate, key=rate.get), max(cpu, key=cpu.get)
        rows.append((f"rate beside the fastest other proxy ({slowest}), {depth}", "above 1", f"{rate[slowest]:.2f}", rate[slowest] > 1))
        rows.append((f"CPU beside the cheapest other proxy ({dearest}), {depth}", "below 1", f"{cpu[dearest]:.2f}", cpu[dearest] < 1))
    return rows


def rules(records):
    return [row for depth in DEPTHS
            for row in at_most(f"CPU with 20 rules that do not match, of that without, {depth}",
                               paired(records, "throughput", depth, RULES, PLAIN, "cpu_us"), 1.05)]


def groups(records):
    wanted = {"respguard, transaction": (0.92, 0.97), "respguard, guarded": (0.62, 0.48)}
    return [row for way, goals in wanted.items() for case, least in zip(records.seen("groups", "case"), goals)
            for row in at_least(f"rate of groups by {way}, of the client's own MULTI, {case}",
                                paired(records, "groups", case, way, DIRECT, "per_second"), least)]


def tails(records):
    alone, many = tails_case(1), tails_case(CLIENTS)
    rows = at_most(f"p99 at depth 1, {many}, of predixy's", paired(records, "tails", many, PLAIN, PREDIXY, "p99_us"), 1)
    rows += at_most(f"p50 at depth 1, {alone}, of direct", paired(records, "tails", alone, PLAIN, DIRECT, "p50_us"), 1.15)
    rows += at_most(f"CPU for each request, {alone}, of predixy's", paired(records, "tails", alone, PLAIN, PREDIXY, "cpu_us"), 0.95)
    factors = [beside / quiet for beside, quiet in zip(records.values("neighbour", "1 client", PLAIN, "beside_p99_us"),
                                                       records.values("neighbour", "1 client", PLAIN, "quiet_p99_us"))]
    return rows + at_most("p99 beside pipelines of 100 KB, of that alone", statistics.median(factors) if factors else None, 2)


def memory(records):
    cases = records.seen("idle", "case")
    value = records.median("idle", cases[0], PLAIN, "bytes_per_client") if cases else None
    return at_most(f"memory of each of {cases[0]}", value / 1024, 2, " KiB") if value is not None else []


def large(records):
    rows = []
    size = records.conditions("large").get("large_mib", "")
    for command in ("GET", "SET"):
        grown = records.values("large values", command, PLAIN, "grown_mib")
        rows += at_most(f"memory grown by a {command} of {size} MiB", max(grown) if grown else None, 16, " MiB")
        rows += at_least(f"rate of a {command} of {size} MiB, of direct", paired(records, "large values", command, PLAIN, DIRECT, "mib_per_second"), 0.85)
        rows += at_most(f"CPU of a {command} of {size} MiB, of HAProxy's that splices",
                        paired(records, "large values", command, PLAIN, HAPROXY_SPLICE, "cpu_ms_per_gib"), 1)
    return rows


def audit(records):
    """What another client notices of an audit at the default budget, and the memory that a whole one takes."""
    rows = []
    for way in records.seen("audit"):
        factors = [beside / quiet for beside, quiet in zip(records.values("audit", "1 client", way, "beside_p99_us"),
                                                           records.values("audit", "1 client", way, "quiet_p99_us"))]
        rows += at_most(f"p99 beside an audit, of that alone, {way}", statistics.median(factors) if factors else None, 1.2)
    for case in records.seen("audit of all", "case"):
        rows += at_most(f"memory grown by an audit of {case}", records.median("audit of all", case, PLAIN, "grown_mib"), 64, " MiB")
    return rows


def rest(records):
    rows = []
    for depth, wanted in (("depth 1", 3), ("depth 16", 1.5)):
        rows += at_most(f"CPU for each command by REST, of that by RESP, {depth}", paired(records, "rest", depth, REST, PLAIN, "cpu_us"), wanted)
        rows += at_most(f"p99 by REST, of that by RESP, {depth}", paired(records, "rest", depth, REST, PLAIN, "p99_us"), 2)
    return rows


def cluster(records):
    """Ahead of the other proxies that stand for a cluster, and not far from what one server costs."""
    rows = []
    for case in records.seen("cluster", "case"):
        for other in (PREDIXY, ENVOY):
            rate, cpu = (paired(records, "cluster", case, PLAIN, other, metric) for metric in ("per_second", "cpu_us"))
            if rate is not None:
                rows.append((f"before a cluster, rate beside {other}, {case}", "above 1", f"{rate:.2f}", rate > 1))
                rows.append((f"before a cluster, CPU beside {other}, {case}", "below 1", f"{cpu:.2f}", cpu < 1))
        if not case.endswith(" 64"):
            cpu = paired(records, "cluster", case, PLAIN, ONE_SERVER, "cpu_us")
            rows += at_most(f"before a cluster, CPU of that before one server, {case}", cpu, 1.25)
    return rows


def tls(records):
    """Ahead of the other proxies that end TLS, in CPU."""
    return [(f"CPU for each request with TLS, of {way}'s, server {case}", "below 1", f"{value:.2f}", value < 1)
            for case in records.seen("tls", "case") for way in records.seen("tls") if way not in (DIRECT, PLAIN)
            if (value := paired(records, "tls", case, PLAIN, way, "cpu_us")) is not None]


def others(records):
    """Growth that should be flat is stated as the ratio of the most to the least."""
    rows = []
    counts = records.seen("connections", "case")
    for count in (count for count in counts if count in ("500", "5000")):
        cpu = paired(records, "connections", count, PLAIN, PREDIXY, "cpu_us")
        rows += at_most(f"CPU for each request with {count} connections, of predixy's", cpu, 0.95)
    if len(counts) > 1:
        first, last = (records.median("connections", case, PLAIN, "cpu_us") for case in (counts[0], counts[-1]))
        rows.append((f"CPU for each request with {counts[-1]} connections, of that with {counts[0]}", "flat", f"{last / first:.2f}", last <= first * 1.15))
    ways = records.seen("rules")
    if len(ways) > 1:
        case = records.seen("rules", "case")[0]
        first, last = (records.median("rules", case, way, "cpu_us") for way in (ways[1], ways[-1]))
        rows.append((f"CPU for each request with {ways[-1]}, of that with {ways[1]}", "at most 1.05", f"{last / first:.2f}", last <= first * 1.05))
    return rows
