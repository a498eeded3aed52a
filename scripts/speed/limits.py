"""Memory and large values: what idle clients, bursts, slow readers and values of half a gigabyte cost."""

import socket
import time

from stage import Failed, await_reply, cpu_seconds, forget_peak, loopback, memory_bytes, request
from ways import PREDIXY

MIB = 1024 * 1024
GIB = 1024 * MIB
IDLE_CLIENTS = 5000
#: After the last reply, before memory is looked at.
SETTLE_SECONDS = 1.0
#: The same after a burst: what it has left may be kept for a while.
BURST_SETTLE_SECONDS = 3.0
BURST_CLIENTS = 200
BURST_BYTES = 100_000
SLOW_READERS = 100
SLOW_BYTES = 10 * MIB
SLOW_SECONDS = 3
CHUNK_BYTES = MIB
#: After the beginning of the stall the first of those begin to ask that were silent until then; and so many are there.
LATE_SECONDS = 0.2
LATE_CLIENTS = 10
#: Beside writes that wait for the end of `CLIENT PAUSE`.
PAUSED_CLIENTS = 6
PAUSED_SECONDS = 3


def idle(run):
    """What each of many clients costs that has once asked something and is now silent; then what bursts leave behind."""
    count = run.clients(IDLE_CLIENTS)
    for start in (run.ways.respguard, *peer_starts(run)):
        way = start()
        before = settled(way)
        wires = [loopback(way.port) for _ in range(count)]
        for wire in wires:
            wire.sendall(request("GET", "nothing"))
            await_reply(wire, b"$-1\r\n")
        after = settled(way)
        run.records.add("idle", f"{count} clients", way.name, 0, bytes_per_client=(after - before) / count)
        burst(run, way, wires[:BURST_CLIENTS], after)
        for wire in wires:
            wire.close()
        run.ways.stop(way)


def burst(run, way, wires, before):
    """Many of the clients send a long pipeline at once; afterwards all of them are silent again."""
    pipeline = request("SET", "burst", b"v" * 1000) * (BURST_BYTES // 1000)
    replies = b"+OK\r\n" * (BURST_BYTES // 1000)
    forget_peak(way.pid)
    for wire in wires:
        wire.sendall(pipeline)
    for wire in wires:
        await_reply(wire, replies)
    peak, after = memory_bytes(way.pid, "VmHWM"), settled(way, BURST_SETTLE_SECONDS)
    run.records.add("burst", f"{len(wires)} clients", way.name, 0, peak_mib=(peak - before) / MIB, left_mib=(after - before) / MIB)


def slow_readers(run):
    """Many idle clients, and a hundred that ask for 10 MiB each and read nothing: the peak, and how long others wait."""
    idle_count, readers = run.clients(IDLE_CLIENTS), run.clients(SLOW_READERS)
    run.ways_set("big", SLOW_BYTES)
    for bound in (512, 64):
        way = run.ways.respguard(listen=f"listen.buffered_bytes_max = {bound * MIB}\n")
        wires = [loopback(way.port) for _ in range(idle_count)]
        other = loopback(way.port)
        before = settled(way)
        forget_peak(way.pid)
        slow = [reader(way.port) for _ in range(readers)]
        for wire in slow:
            wire.sendall(request("GET", "big"))
        longest, asked, failed = longest_wait(other, SLOW_SECONDS)
        peak = memory_bytes(way.pid, "VmHWM")
        for wire in slow:
            wire.close()
        after = settled(way)
        run.records.add("slow readers", f"{idle_count} idle, {readers} slow, bound {bound} MiB", way.name, 0,
                        before_mib=before / MIB, peak_mib=peak / MIB, after_mib=after / MIB, other_longest_ms=longest * 1e3, other_failed=failed)
        for wire in wires:
            wire.close()
        run.ways.stop(way)
    crowd(run, readers)


def crowd(run, readers):
    """How long another client waits beside as many slow readers, over each way."""
    for start in (run.ways.direct, run.ways.respguard, *peer_starts(run, (PREDIXY, "haproxy"))):
        way = start()
        other, slow = loopback(way.port, timeout=60), [reader(way.port) for _ in range(readers)]
        longest_wait(other, 0)
        for wire in slow:
            wire.sendall(request("GET", "big"))
        try:
            longest, _, failed = longest_wait(other, SLOW_SECONDS)
            run.records.add("crowd", f"{readers} readers", way.name, 0, longest_ms=longest * 1e3, failed=failed)
        except (Failed, OSError) as why:
            print(f"slow readers: {way.name} does not serve others: {why}")
        for wire in (other, *slow):
            wire.close()
        # The server forgets what it has kept for them.
        time.sleep(SETTLE_SECONDS)
        run.ways.stop(way)


def large(run):
    """GET and SET of one large value by a client that keeps up: the rate beside the direct one, CPU for each GiB, and the growth of memory."""
    size = run.wishes.large_mib * MIB
    run.ways_set("large", size)
    for round in range(run.fewer_rounds):
        for start in turned((run.ways.direct, run.ways.respguard, *peer_starts(run, (PREDIXY, "haproxy", "haproxy_splice"))), round):
            way = start()
            for command in ("GET", "SET"):
                wire = loopback(way.port, timeout=120)
                wire.sendall(request("GET", "nothing"))
                await_reply(wire, b"$-1\r\n")
                before = memory_bytes(way.pid) if way.pid else 0
                if way.pid:
                    forget_peak(way.pid)
                own_before, redis_before = cpu_seconds(way.pid) if way.pid else 0, cpu_seconds(run.ways.redis.pid)
                begun = time.monotonic()
                try:
                    (get_large if command == "GET" else set_large)(wire, size)
                except (Failed, OSError) as why:
                    print(f"large values: {way.name} cannot {command} {run.wishes.large_mib} MiB: {why}")
                    wire.close()
                    continue
                took = time.monotonic() - begun
                grown = (memory_bytes(way.pid, "VmHWM") - before) / MIB if way.pid else 0.0
                own = cpu_seconds(way.pid) - own_before if way.pid else 0
                redis = cpu_seconds(run.ways.redis.pid) - redis_before
                run.records.add("large values", command, way.name, round, mib_per_second=size / MIB / took, grown_mib=grown,
                                cpu_ms_per_gib=own * 1e3 * GIB / size, redis_ms_per_gib=redis * 1e3 * GIB / size)
                wire.close()
            run.ways.stop(way)


def stalled(run):
    """How long others wait while a client reads nothing of a large value on the connection that it shares with them."""
    size = 100 * MIB
    run.ways_set("large", size)
    for start in (run.ways.direct, run.ways.respguard, *peer_starts(run, (PREDIXY,))):
        way = start()
        other, slow = loopback(way.port), reader(way.port)
        alone, _, _ = longest_wait(other, SLOW_SECONDS / 3)
        slow.sendall(request("GET", "large"))
        longest, _, failed = longest_wait(other, SLOW_SECONDS)
        slow.close()
        late = late_wait(way, other)
        run.records.add("stalled", "100 MiB", way.name, 0, alone_ms=alone * 1e3, longest_ms=longest * 1e3, late_ms=late * 1e3, failed=failed)
        other.close()
        run.ways.stop(way)
    paused(run)


def paused(run):
    """How long reads wait while the server lets no write pass and more and more writers wait."""
    control = loopback(run.ways.direct().port)
    for start in (run.ways.direct, run.ways.respguard, *peer_starts(run, (PREDIXY, "haproxy"))):
        way = start()
        readers, writers = ([loopback(way.port, timeout=60) for _ in range(PAUSED_CLIENTS)] for _ in range(2))
        for wire in (*readers, *writers):
            longest_wait(wire, 0)
        control.sendall(request("CLIENT", "PAUSE", str(int(PAUSED_SECONDS * 1500)), "WRITE"))
        await_reply(control, b"+OK\r\n")
        waits, begun = [], time.monotonic()
        try:
            for writer in writers:
                writer.sendall(request("INCR", "counter"))
                end = time.monotonic() + PAUSED_SECONDS / len(writers)
                while time.monotonic() < end:
                    waits += [longest_wait(wire, 0)[0] for wire in readers]
            waits.sort()
            run.records.add("paused", f"{PAUSED_CLIENTS} writers", way.name, 0, p99_ms=waits[len(waits) * 99 // 100] * 1e3,
                            longest_ms=waits[-1] * 1e3)
        except (Failed, OSError) as why:
            print(f"paused writes: {way.name} serves no reads for {time.monotonic() - begun:.1f} s: {why}")
        control.sendall(request("CLIENT", "UNPAUSE"))
        await_reply(control, b"+OK\r\n")
        for wire in (*readers, *writers):
            wire.close()
        run.ways.stop(way)
    control.close()


def late_wait(way, other):
    """The longest wait of clients that begin to ask, one after the other, only when another is already in the way."""
    quick, slow = [loopback(way.port) for _ in range(LATE_CLIENTS)], reader(way.port)
    for wire in (other, *quick):
        longest_wait(wire, 0)
    slow.sendall(request("GET", "large"))
    time.sleep(LATE_SECONDS)
    longest = max(longest_wait(wire, 0)[0] for wire in quick)
    for wire in (slow, *quick):
        wire.close()
    return longest


def peer_starts(run, only=None):
    """A starter for each other proxy that is here."""
    known = ("haproxy", "twemproxy", PREDIXY) if only is None else only
    names = [name for name in known if run.wishes.peers is None or name.split("_")[0] in run.wishes.peers]
    starts = []
    for name in names:
        found = getattr(run.ways, name)()
        if found:
            run.ways.stop(found)
            starts.append(getattr(run.ways, name))
    return starts


def settled(way, seconds=SETTLE_SECONDS):
    time.sleep(seconds)
    return memory_bytes(way.pid)


def reader(port):
    """A client that has little room for what it does not read."""
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    wire.connect(("127.0.0.1", port))
    return wire


def longest_wait(wire, seconds):
    """Asks one small thing after the other, at least one: how long the longest took, how many there were, and how many of them failed."""
    longest, asked, failed, end = 0.0, 0, 0, time.monotonic() + seconds
    while not asked or time.monotonic() < end:
        begun = time.monotonic()
        wire.sendall(request("GET", "nothing"))
        failed += not read_line(wire).startswith(b"$")
        longest, asked = max(longest, time.monotonic() - begun), asked + 1
    return longest, asked, failed


def read_line(wire):
    came = b""
    while not came.endswith(b"\n"):
        piece = wire.recv(256)
        if not piece:
            raise Failed("a connection was closed")
        came += piece
    return came


def get_large(wire, size):
    wire.sendall(request("GET", "large"))
    head = b"$%d\r\n" % size
    expected = len(head) + size + 2
    chunk, came = memoryview(bytearray(CHUNK_BYTES)), 0
    while came < expected:
        read = wire.recv_into(chunk)
        if not read:
            raise Failed("the connection was closed")
        if came == 0 and not head.startswith(bytes(chunk[: min(read, len(head))])):
            raise Failed(f"an error: {bytes(chunk[:80])!r}")
        came += read


def set_large(wire, size):
    wire.sendall(b"*3\r\n$3\r\nSET\r\n$5\r\nother\r\n$%d\r\n" % size)
    chunk = b"v" * CHUNK_BYTES
    for _ in range(size // CHUNK_BYTES):
        wire.sendall(chunk)
    wire.sendall(b"\r\n")
    await_reply(wire, b"+OK\r\n")


def turned(starts, round):
    first = round % len(starts)
    return starts[first:] + starts[:first]
