"""Values compressed by rule: what that costs, what it saves, and what another client notices of values of 10 MB."""

import statistics

from rates import close, connect, measured, turned
from stage import await_reply, loopback, request

CLIENTS = 8
#: KB of JSON in each value: what is compressed on the worker's thread, and what is not.
SIZES_KB = (20, 500)
LARGE_KB = 10_000
KEY = "page:bench"
ALGORITHMS = {"zstd": 'algorithm = "zstd"\n', "lz4": 'algorithm = "lz4"\n'}


def compress(run):
    """SET and GET of JSON by 8 clients with a compress rule and without one; then another client beside values of 10 MB."""
    ways = run.ways
    through = [ways.respguard(), *(ways.respguard(f"respguard, {name}", rule(name)) for name in ALGORITHMS)]
    all_ways = [ways.direct(), *through]
    connect(run, all_ways, CLIENTS)
    for size in SIZES_KB:
        values(run, all_ways, size)
    close(run, all_ways)
    beside(run, all_ways)
    ways.stop(*through)
    with loopback(ways.redis_port) as wire:
        wire.sendall(request("DEL", KEY))
        await_reply(wire, b":1\r\n")


def rule(name):
    return f'[[compress]]\nname = "pages"\nkeys = ["page:*"]\n{ALGORITHMS[name]}'


def values(run, ways, size):
    """Each batch is a SET and a GET of one value, which counts as one unit."""
    case = f"{size} KB"
    for round in range(run.fewer_rounds):
        for way in turned(ways, round):
            run.records.add("compress", case, way.name, round, **measured(run, way, f"json:{size}"), memory_kb=memory(run) / 1000)
    for way in ways:
        wire_kb(run, way, size)
    run.say("compress", case, ways)


def wire_kb(run, way, size):
    """What one SET and one GET of the value put on the wire to the server and from it, in KB."""
    with loopback(way.port) as wire:
        value = json_value(size)
        before = traffic(run)
        wire.sendall(request("SET", KEY, value) + request("GET", KEY))
        await_reply(wire, b"+OK\r\n$%d\r\n%s\r\n" % (len(value), value))
        sent, received = (after - known for after, known in zip(traffic(run), before))
    run.records.add("compress", f"{size} KB", way.name, 0, to_server_kb=sent / 1000, from_server_kb=received / 1000)


def beside(run, ways):
    """One client at depth 1, alone and while another one writes and reads values of 10 MB."""
    seconds = run.wishes.seconds
    connect(run, ways, 1)
    for round in range(run.fewer_rounds):
        for way in turned(ways, round):
            name = way.name.replace(" ", "_")
            quiet = run.load.ask("play", name, "get:1", seconds, seconds=seconds)
            run.bulk.tell("json", way.port, LARGE_KB, seconds * 1.2)
            busy = run.load.ask("play", name, "get:1", seconds, seconds=seconds)
            large = run.bulk.hear(seconds * 1.2)
            run.records.add("compress beside", f"{LARGE_KB // 1000} MB", way.name, round, quiet_p99_us=quiet["p99_us"],
                            beside_p99_us=busy["p99_us"], values_per_second=large["pipelines"] / large["seconds"])
    close(run, ways)
    for way in ways:
        p99 = statistics.median(run.records.values("compress beside", f"{LARGE_KB // 1000} MB", way.name, "beside_p99_us"))
        print(f"{'compress':<12}{'10 MB':<12}{way.name:<20}{p99:>12,.0f} us p99 of another client", flush=True)


def traffic(run):
    """Bytes that the server has received and sent so far."""
    said = info(run)
    return int(said["total_net_input_bytes"]), int(said["total_net_output_bytes"])


def info(run):
    with loopback(run.ways.redis_port) as wire:
        wire.sendall(request("INFO", "stats"))
        came = b""
        while not came.endswith(b"\r\n") or len(came) < 100:
            came += wire.recv(65536)
    return dict(line.split(":", 1) for line in came.decode().splitlines() if ":" in line)


def memory(run):
    """What the value takes at the server."""
    with loopback(run.ways.redis_port) as wire:
        wire.sendall(request("MEMORY", "USAGE", KEY))
        return int(wire.recv(64).strip(b":\r\n"))


def json_value(size):
    """The same bytes as the load generator's: JSON with numbers and words in no order."""
    out, state = bytearray(b"["), 1
    while len(out) < size * 1000:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        number = state >> 33
        out += b'{"id":%d,"user":"u%06x","state":"%s","price":%d.%02d,"tags":["new","sale"]},' % (
            number % 1_000_000, number % 0xFFFFFF, (b"paid", b"open", b"sent", b"void")[number % 4], number % 997, number % 100)
    return bytes(out[: size * 1000])
