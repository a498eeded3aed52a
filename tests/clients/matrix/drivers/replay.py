"""Clients that cannot be installed from a package registry, played from what is known of their bytes: replay.py CLIENT.

Each writes its own handshake, and its commands in the pieces that it would write: one `send` here is one of the client's.
"""

import asyncio
import random
import socket
import sys

from player import SECONDS, Group, Watch, groups, serve


def encode(*words):
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


class ReplyError(Exception):
    """An error reply."""


class Connection:
    """One socket, and a future for each reply owed, in order."""

    @classmethod
    async def open(cls, port):
        self = cls()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        self.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.owed = asyncio.Queue()
        self.reading = asyncio.create_task(self.read_all())
        return self

    def send(self, data, replies=0):
        """Hands bytes to the socket; gives futures for the replies that they end."""
        self.writer.write(data)
        futures = [asyncio.get_running_loop().create_future() for _ in range(replies)]
        for future in futures:
            self.owed.put_nowait(future)
        return futures

    async def ask(self, *commands):
        """Commands in one write; their replies, errors among them."""
        futures = self.send(b"".join(encode(*command) for command in commands), len(commands))
        return await asyncio.gather(*futures, return_exceptions=True)

    async def read_all(self):
        while True:
            future = await self.owed.get()
            try:
                reply = await self.read()
            except asyncio.IncompleteReadError as error:
                reply = ConnectionError(f"closed: {error}")
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    async def read(self):
        line = (await self.reader.readuntil(b"\r\n"))[:-2]
        kind, text = line[:1], line[1:]
        if kind == b"-":
            return ReplyError(text.decode())
        if kind == b":":
            return int(text)
        if kind in b"+_":
            return text
        length = int(text)
        if kind in b"$=":
            return None if length < 0 else (await self.reader.readexactly(length + 2))[:-2]
        return [await self.read() for _ in range(length * 2 if kind == b"%" else length)]

    def close(self):
        self.reading.cancel()
        self.writer.close()


def members(group):
    return [
        ("SETEX", group.key, SECONDS, group.value), ("SADD", group.sessions, group.token),
        ("EXPIRE", group.sessions, SECONDS), ("SMEMBERS", group.sessions),
    ]  # fmt: skip


# Handshakes.

MOVING = ("CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "external-ip")


def library(name, command="CLIENT", attributes=("LIB-NAME", "LIB-VER")):
    return [(command, "SETINFO", attribute, value) for attribute, value in zip(attributes, (name, "1.0"))]


async def go_redis(connection):
    await connection.ask(("hello", "3"))
    await connection.ask(*library("go-redis(,go1.25)", "client"))


async def jedis(connection):
    await connection.ask(*library("jedis"))


async def lettuce(connection):
    await connection.ask(("HELLO", "3"))
    await connection.ask(*library("Lettuce", attributes=("lib-name", "lib-ver")), MOVING)


async def stack_exchange(connection):
    """One burst that ends with a tracer: the connection is of use only when that comes back."""
    tracer = random.randbytes(16)
    replies = await connection.ask(
        ("HELLO", "3"), ("CLIENT", "SETNAME", "app"), *library("SE.Redis", attributes=("lib-name", "lib-ver")), ("CLIENT", "ID"),
        ("CONFIG", "GET", "timeout"), ("CONFIG", "GET", "replica-read-only"), ("CONFIG", "GET", "databases"),
        ("SENTINEL", "MASTERS"), ("INFO", "replication"), ("INFO", "server"), ("CLUSTER", "NODES"),
        ("GET", "__Booksleeve_TieBreak"), ("ECHO", tracer),
    )  # fmt: skip
    assert replies[-1] == tracer, replies


# Ways to write a group.


class GoBuffer:
    """bufio.Writer: what does not fit fills the buffer up, and goes directly when the buffer is empty."""

    def __init__(self, send, size):
        self.send, self.size, self.kept = send, size, b""

    def write(self, data):
        while len(data) > self.size - len(self.kept):
            taken = len(data) if not self.kept else self.size - len(self.kept)
            self.send(self.kept + data[:taken])
            self.kept, data = b"", data[taken:]
        self.kept += data

    def flush(self):
        if self.kept:
            self.send(self.kept)
        self.kept = b""


class JedisBuffer(GoBuffer):
    """RedisOutputStream: what does not fit flushes the buffer, and goes directly when it is larger than that."""

    def write(self, data):
        if len(data) >= self.size:
            self.flush()
            self.send(data)
            return
        if len(data) >= self.size - len(self.kept):
            self.flush()
        self.kept += data


def words(command):
    """A command in the pieces in which buffered clients write it: each length with its line, each word, each line's end."""
    yield b"*%d\r\n" % len(command)
    for word in command:
        word = str(word).encode()
        yield b"$%d\r\n" % len(word)
        yield word
        yield b"\r\n"


def buffered(kind, size, pause=None):
    """A pipeline through a buffer, with `pause` seconds of the application's work behind each command."""

    async def send(connection, group):
        buffer = kind(connection.send, size)
        futures = []
        for command in members(group):
            futures += connection.send(b"", 1)
            for piece in words(command):
                buffer.write(piece)
            if pause is not None:
                await asyncio.sleep(pause)
        buffer.flush()
        return await asyncio.gather(*futures)

    return send


async def in_one_write(connection, group):
    return await asyncio.gather(*connection.send(b"".join(encode(*command) for command in members(group)), 4))


async def turn():
    """Lets other callers go first, now and then more than once."""
    for _ in range(random.choice((1, 1, 2))):
        await asyncio.sleep(0)


async def each_flushed(connection, group):
    """A write for each command, with those of other callers in between, and a command that is no group's behind them."""
    futures = []
    for command in members(group):
        futures += connection.send(encode(*command), 1)
        await turn()
    futures += connection.send(encode("GET", f"cache:{group.sessions}"), 1)
    return (await asyncio.gather(*futures))[:4]


async def with_checksums(connection, group):
    """highIntegrity: an ECHO of four bytes behind each command."""
    futures = []
    for command in members(group):
        futures += connection.send(encode(*command) + encode("ECHO", random.randbytes(4)), 2)
        await turn()
    return (await asyncio.gather(*futures))[::2]


CLIENTS = {
    "go-redis-9.5": (go_redis, {"pipeline": buffered(GoBuffer, 4096)}),
    "go-redis-9.14": (go_redis, {"pipeline": buffered(GoBuffer, 32768)}),
    "jedis": (jedis, {"pipeline": buffered(JedisBuffer, 8192), "building": buffered(JedisBuffer, 8192, pause=0.0005)}),
    "lettuce": (lettuce, {"pipeline": in_one_write, "loose": each_flushed, "loose-many": each_flushed}),
    "stackexchange": (stack_exchange, {"pipelines": in_one_write, "loose": each_flushed, "loose-many": each_flushed}),
    "stackexchange-integrity": (stack_exchange, {"loose": with_checksums, "loose-many": with_checksums}),
}


def style(handshake, send):
    async def play(connection, job, caller):
        watch = Watch()
        for group in groups(job, caller):
            with watch:
                replies = await send(connection, group)
            group.check(replies)
        return watch.took_us

    async def all_callers(job):
        connection = await Connection.open(job["port"])
        await handshake(connection)
        try:
            played = await asyncio.gather(*(play(connection, job, caller) for caller in range(job["callers"])))
        finally:
            connection.close()
        return sum(played, [])

    return lambda job: asyncio.run(all_callers(job))


def error_in_a_group(handshake, send):
    async def look(port):
        connection = await Connection.open(port)
        await handshake(connection)
        group = Group({"name": "bad", "bytes": 1}, 0)
        await connection.ask(("SET", group.sessions, "text"))
        try:
            return repr(await send(connection, group))
        except ReplyError as error:
            return repr(error)
        finally:
            connection.close()

    return lambda port: asyncio.run(look(port))


def main(client):
    handshake, styles = CLIENTS[client]
    first = next(iter(styles.values()))
    serve(None, {name: style(handshake, send) for name, send in styles.items()},
          {"error in a group": error_in_a_group(handshake, first)})


main(sys.argv[1])
