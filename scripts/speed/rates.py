"""Throughput, CPU and latency: the same batches over every way, in rounds that each begin with another one."""

from stage import Failed, cpu_seconds
from ways import PREDIXY, RULES, WEBDIS, group_rule, idle_rules, many_rules

CLIENTS = 50
DEPTHS = (1, 16, 64)
GROUPS = (1, 4)
WORKERS = (1, 2, 4)
CONNECTIONS = (10, 50, 500, 1000, 5000)
#: Of `tails`: one client has nobody to share a turn with, fifty wait for each other.
TAILS = (1, CLIENTS)
RULE_COUNTS = (0, 10, 100, 1000)
RULES_DEPTH = 16
REST_DEPTHS = (1, 16)
BULK_BYTES = 100_000
#: Of each round, what is played before it is measured.
WARM_UP = 0.2


def throughput(run):
    """GET of 64 B over 50 connections at each depth, over every way."""
    ways = run.ways
    through = [ways.respguard(), ways.respguard(RULES, idle_rules()), *ways.peers(run.wishes.peers)]
    all_ways = [ways.direct(), *through]
    connect(run, all_ways, CLIENTS)
    for depth in DEPTHS:
        play(run, "throughput", f"depth {depth}", all_ways, f"get:{depth}")
    close(run, all_ways)
    ways.stop(*through)


def groups(run):
    """Batches of groups that a rule wraps, beside a client that itself sends MULTI and EXEC straight to Redis."""
    ways = run.ways
    through = [ways.respguard(f"respguard, {atomic}", group_rule(atomic)) for atomic in ("transaction", "guarded", "rollback")]
    direct = ways.direct()
    all_ways = [direct, *through]
    connect(run, all_ways, CLIENTS)
    for count in GROUPS:
        jobs = {direct.name: f"transactions:{count}"}
        play(run, "groups", f"{count} of 4", all_ways, f"groups:{count}", jobs)
    close(run, all_ways)
    ways.stop(*through)


def workers(run):
    """One worker and more."""
    ways = run.ways
    through = [ways.respguard(f"workers = {count}", workers=count) for count in WORKERS]
    all_ways = [ways.direct(), *through]
    connect(run, all_ways, CLIENTS)
    for depth in DEPTHS:
        play(run, "workers", f"depth {depth}", all_ways, f"get:{depth}", rounds=run.fewer_rounds)
    close(run, all_ways)
    ways.stop(*through)


def connections(run):
    """What a request costs by how many clients there are, all of them busy."""
    ways = run.ways
    through = [ways.respguard(), *ways.peers([PREDIXY])]
    all_ways = [ways.direct(), *through]
    for count in CONNECTIONS:
        if count * 2 + 200 > run.files:
            print(f"connections: {count} are more than the limit of {run.files} open files allows")
            continue
        connect(run, all_ways, count)
        play(run, "connections", count, all_ways, "get:1", rounds=run.fewer_rounds)
        close(run, all_ways)
    ways.stop(*through)


def rules(run):
    """What a request costs by how many rules there are, none of which matches."""
    ways = run.ways
    through = [ways.respguard(f"{count} rules", many_rules(count)) for count in RULE_COUNTS]
    connect(run, through, CLIENTS)
    play(run, "rules", f"depth {RULES_DEPTH}", through, f"get:{RULES_DEPTH}", rounds=run.fewer_rounds)
    close(run, through)
    ways.stop(*through)


def rest(run):
    """GET of 64 B over 50 kept connections: by RESP and by REST to one respguard, and by other gateways; alone and 16 in a pipeline."""
    ways = run.ways
    resp, front = ways.rest()
    webdis = ways.webdis()
    connect(run, [ways.direct(), resp], CLIENTS)
    connect(run, [way for way in (front, webdis) if way], CLIENTS, "connect-http")
    for depth in REST_DEPTHS:
        # Webdis has no pipelines.
        gateways = [front, webdis] if webdis and depth == 1 else [front]
        jobs = {front.name: f"rest:{depth}", WEBDIS: "webdis:1"}
        play(run, "rest", f"depth {depth}", [ways.direct(), resp, *gateways], f"get:{depth}", jobs)
    close(run, [way for way in (ways.direct(), resp, front, webdis) if way])
    ways.stop(*(way for way in (resp, webdis) if way))


def neighbour(run):
    """The latency of one client at depth 1, alone and while another one sends pipelines of 100 KB without a pause."""
    ways, seconds = run.ways, run.wishes.seconds
    through = [ways.respguard(), *ways.peers([PREDIXY, "haproxy"])]
    all_ways = [ways.direct(), *through]
    connect(run, all_ways, 1)
    for round in range(run.wishes.rounds):
        for way in turned(all_ways, round):
            quiet = run.load.ask("play", way.name.replace(" ", "_"), "get:1", seconds, seconds=seconds)
            run.bulk.tell("bulk", way.port, BULK_BYTES, seconds * 1.2)
            beside = run.load.ask("play", way.name.replace(" ", "_"), "get:1", seconds, seconds=seconds)
            bulk = run.bulk.hear(seconds * 1.2)
            run.records.add("neighbour", "1 client", way.name, round, quiet_p99_us=quiet["p99_us"], beside_p99_us=beside["p99_us"],
                            quiet_p50_us=quiet["p50_us"], beside_p50_us=beside["p50_us"],
                            bulk_mb_per_second=bulk["pipelines"] * BULK_BYTES / 1e6 / bulk["seconds"])
    close(run, all_ways)
    ways.stop(*through)


def tails(run):
    """How long a GET takes that is sent alone, by one client and by fifty: the median and the longest of a hundred."""
    ways = run.ways
    through = [ways.respguard(), *ways.peers([PREDIXY, "haproxy"])]
    all_ways = [ways.direct(), *through]
    for clients in TAILS:
        connect(run, all_ways, clients)
        play(run, "tails", tails_case(clients), all_ways, "get:1")
        close(run, all_ways)
    ways.stop(*through)


def tails_case(clients):
    return "1 client" if clients == 1 else f"{clients} clients"


def connect(run, ways, clients, word="connect"):
    for way in ways:
        run.load.ask(word, way.name.replace(" ", "_"), way.port, clients)


def close(run, ways):
    for way in ways:
        run.load.ask("close", way.name.replace(" ", "_"))


def play(run, section, case, ways, job, jobs=None, rounds=None):
    """Every way in every round; `jobs` are those of ways that play another one."""
    jobs = jobs or {}
    for round in range(rounds or run.wishes.rounds):
        for way in turned(ways, round):
            run.records.add(section, case, way.name, round, **measured(run, way, jobs.get(way.name, job)))
    run.say(section, case, ways)


def turned(ways, round):
    """The same ways, beginning with another one in each round."""
    first = round % len(ways)
    return ways[first:] + ways[:first]


def measured(run, way, job):
    seconds, name = run.wishes.seconds, way.name.replace(" ", "_")
    run.load.ask("play", name, job, seconds * WARM_UP, seconds=seconds)
    redis_before, own_before = cpu_seconds(run.ways.redis.pid), cpu_seconds(way.pid) if way.pid else 0
    played = run.load.ask("play", name, job, seconds, seconds=seconds)
    own = cpu_seconds(way.pid) - own_before if way.pid else 0
    redis = cpu_seconds(run.ways.redis.pid) - redis_before
    if not played["units"]:
        raise Failed(f"nothing went over {way.name}")
    return {
        "per_second": played["units"] / played["seconds"],
        "cpu_us": own * 1e6 / played["units"],
        "redis_us": redis * 1e6 / played["units"],
        **{metric: played[metric] for metric in ("p50_us", "p99_us")},
    }
