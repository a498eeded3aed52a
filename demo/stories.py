"""The four stories: what each writes, what a reader must never see, what goes wrong, and what is expected of that."""

from dataclasses import dataclass, field
from typing import Callable

PASSWORD = "demo"
# Redis reads a connection in pieces and serves others in between: a pipeline beyond some 16 KiB is not one moment.
UPLOAD = b"x" * 48 * 1024
PREVIEW = b"p" * 20 * 1024
RECORDING = b"r" * 40 * 1024
LIFETIME = 900
# What clients with auto-pipelining put into one write: the commands of requests that came at the same time.
AT_ONCE = 50


@dataclass
class Failure:
    """One way in which a member of the group fails."""

    title: str
    # Makes the ground for it, with a client that may do everything.
    prepare: Callable
    # What the client sends.
    commands: list
    # Reads what is left, with a client that may do everything: a sentence, and whether the data is torn.
    left: Callable
    # What must come out: first words of the replies straight, through a guarded group and, where that differs, a transaction.
    straight: list
    guarded: list
    # Metrics of the guarded group that move, by how much.
    metrics: dict
    transaction: list | None = None
    # The levels at which the data stays torn, as it does straight.
    torn: tuple = ()
    user: str | None = None
    # How long the proxy may take to notice.
    patience: float = 0
    plainly: str = ""


@dataclass
class Story:
    name: str
    about: str
    group: str
    # The harmless case: round n as a list of commands, and how many groups they are.
    commands: Callable
    groups: int
    # What the reader reads at one moment, and whether that is torn.
    look: list
    is_torn: Callable
    # Undone between two rounds, in one transaction, straight at Redis.
    between: Callable = lambda n: []
    failures: list = field(default_factory=list)


def number(value):
    """The round that a document was written in: its first eight bytes."""
    return int(value[:8]) if value else None


def document(n):
    return b"%08d" % n + RECORDING


BLOB = Story(
    name="Blob upload",
    about=f"HSET blobs:1 <{len(UPLOAD) // 1024} KiB>, HSET info:1 <type and a preview of {len(PREVIEW) // 1024} KiB>: one pipeline, one write",
    group="blob",
    groups=1,
    commands=lambda n: [
        ("HSET", "blobs:1", "version", n, "bytes", UPLOAD),
        ("HSET", "info:1", "version", n, "type", "image/png", "preview", PREVIEW),
    ],
    look=[("HGET", "blobs:1", "version"), ("HGET", "info:1", "version")],
    is_torn=lambda seen: seen[0] != seen[1],
    failures=[
        Failure(
            title="the user may not write info:* (refused while it is queued)",
            user="uploader",
            prepare=lambda redis: redis.must(
                "ACL", "SETUSER", "uploader", "on", f">{PASSWORD}", "+@all", "~blobs:*", "%R~info:*", "~respguard:*"
            ),
            commands=[("HSET", "blobs:2", "version", 1, "bytes", UPLOAD), ("HSET", "info:2", "version", 1, "type", "image/png")],
            left=lambda redis: orphan(redis, "blobs:2", "info:2"),
            straight=[":2", "-NOPERM"],
            guarded=["-EXECABORT", "-NOPERM"],
            metrics={
                'respguard_groups_total{group="blob",outcome="aborted"}': 1,
                'respguard_violations_total{kind="aborted",rule="blob"}': 1,
            },
        )
    ],
)


def orphan(redis, first, second):
    there = redis.must("EXISTS", first), redis.must("EXISTS", second)
    if there == (1, 0):
        return f"{first} without {second}: an orphan", True
    return ("nothing", False) if there == (0, 0) else ("both keys", False)


# The recordings of the last minutes are kept: a ring.
RING = 4


def snapshot(n):
    return [
        ("SET", f"snap:time:{n % RING}", document(n)),
        ("SET", f"snap:id:s{n}", document(n)),
        ("SET", "snap:latest", document(n)),
        ("ZADD", "snap:index", n, f"s{n}"),
        ("ZREMRANGEBYSCORE", "snap:index", "-inf", n - 10),
        ("DEL", "snap:live"),
    ]


def snapshot_is_torn(seen):
    latest, newest, live, *ring = seen
    latest = number(latest)
    indexed = int(newest[0][1:]) if newest else None
    by_time = max((number(each) for each in ring if each), default=None)
    return not latest == indexed == by_time or (latest is not None and latest == number(live))


def snapshot_left(redis):
    latest = number(redis.must("GETRANGE", "snap:latest", 0, 7))
    live = redis.must("EXISTS", "snap:live")
    if latest == 7 and redis.must("TYPE", "snap:index") == "string" and not live:
        return "7 is the latest, is in no index and is not live any more: torn", True
    return f"latest {latest}, live {live}", False


def break_index(redis):
    redis.must("SET", "snap:index", "written by an old release")
    redis.must("SET", "snap:live", document(7))


SNAPSHOT = Story(
    name="Snapshot",
    about=f"SET by time, SET by id, SET latest ({len(RECORDING) // 1024} KiB each), ZADD index, ZREMRANGEBYSCORE index, DEL live: one write",
    group="snapshot",
    groups=1,
    commands=snapshot,
    look=[
        ("GETRANGE", "snap:latest", 0, 7),
        ("ZREVRANGE", "snap:index", 0, 0),
        ("GETRANGE", "snap:live", 0, 7),
        *(("GETRANGE", f"snap:time:{place}", 0, 7) for place in range(RING)),
    ],
    is_torn=snapshot_is_torn,
    # The next recording goes live; the one that the index has forgotten goes.
    between=lambda n: [("SET", "snap:live", document(n + 1)), ("DEL", f"snap:id:s{n - 10}")],
    failures=[
        Failure(
            title="the index is of another type (fails while it runs)",
            prepare=break_index,
            commands=snapshot(7),
            left=snapshot_left,
            straight=["+OK", "+OK", "+OK", "-WRONGTYPE", "-WRONGTYPE", ":1"],
            guarded=["-EXECABORT"] * 3 + ["-WRONGTYPE"] + ["-EXECABORT"] * 2,
            transaction=["-PARTIAL"] * 6,
            torn=("transaction",),
            metrics={
                'respguard_groups_total{group="snapshot",outcome="refused"}': 1,
                'respguard_violations_total{kind="aborted",rule="snapshot"}': 1,
            },
            plainly='Plainly: a transaction does not roll back, and stays as torn as on the left; what on_partial = "fail" adds is that'
            " every member tells the client. A guarded group is asked about first, and nothing of it runs.",
        )
    ],
)


# Names of different lengths, as names are.
USERS = [f"user-{place}-{'n' * (place * 7 % 23)}" for place in range(AT_ONCE)]
TOKEN = "t" * 64


def login(user, token=TOKEN):
    return [
        ("SETEX", f"rt:{user}:{token}", LIFETIME, "what the token stands for " * 8),
        ("SADD", f"sess:{user}", token),
        ("EXPIRE", f"sess:{user}", LIFETIME),
        ("SMEMBERS", f"sess:{user}"),
    ]


def at_once(n, commands):
    """The commands of every user's request in one pipeline, another user first in each round."""
    users = [USERS[(place + n) % AT_ONCE] for place in range(AT_ONCE)]
    return [command for user in users for command in commands(user)]


def login_is_torn(seen):
    """Of each user: is the token there, is it listed, how long does the session live."""
    each = zip(seen[0::3], seen[1::3], seen[2::3])
    return any(token != listed or lifetime == -1 for token, listed, lifetime in each)


def login_left(redis):
    token, listed = redis.must("EXISTS", "rt:eve:t1"), redis.must("SISMEMBER", "sess:eve", "t1")
    lifetime = redis.must("TTL", "sess:eve")
    if listed and lifetime == -1:
        return "sess:eve lists the token and never expires", True
    return ("nothing", False) if not token and not listed else (f"a session that ends in {lifetime} s", False)


LOGIN = Story(
    name="Login",
    about=f"SETEX token, SADD session, EXPIRE session, SMEMBERS session: {AT_ONCE} users at once, auto-pipelined into one write",
    group="login",
    groups=AT_ONCE,
    commands=lambda n: at_once(n, login),
    look=[
        command
        for user in USERS
        for command in (("EXISTS", f"rt:{user}:{TOKEN}"), ("SISMEMBER", f"sess:{user}", TOKEN), ("TTL", f"sess:{user}"))
    ],
    is_torn=login_is_torn,
    between=lambda n: [("DEL", *(key for user in USERS for key in (f"rt:{user}:{TOKEN}", f"sess:{user}")))],
    failures=[
        Failure(
            title="the user may not EXPIRE (refused while it is queued)",
            user="portal",
            prepare=lambda redis: redis.must("ACL", "SETUSER", "portal", "on", f">{PASSWORD}", "+@all", "-expire", "~*"),
            commands=login("eve", "t1"),
            left=login_left,
            straight=["+OK", ":1", "-NOPERM", "[t1]"],
            guarded=["-EXECABORT", "-EXECABORT", "-NOPERM", "-EXECABORT"],
            metrics={
                'respguard_groups_total{group="login",outcome="aborted"}': 1,
                'respguard_violations_total{kind="aborted",rule="login"}': 1,
            },
        )
    ],
)


def counter(user):
    return f"rate:{user}:{'/a/path/as/long/as/paths/are' * 6}"


def count(user):
    return [("INCR", counter(user)), ("EXPIRE", counter(user), 60)]


def counter_left(redis):
    if not redis.must("EXISTS", "rate:eve"):
        return "nothing", False
    lifetime = redis.must("TTL", "rate:eve")
    return (f"rate:eve = {redis.must('GET', 'rate:eve').decode()}, " + (
        "which never expires" if lifetime == -1 else f"which ends in {lifetime} s"), lifetime == -1)


RATE = Story(
    name="Rate counter",
    about=f"INCR counter, EXPIRE counter: {AT_ONCE} requests at once, auto-pipelined into one write",
    group="rate",
    groups=AT_ONCE,
    commands=lambda n: at_once(n, count),
    look=[("TTL", counter(user)) for user in USERS],
    # -1 is a key that never expires, -2 none at all.
    is_torn=lambda seen: -1 in seen,
    between=lambda n: [("DEL", *map(counter, USERS))],
    failures=[
        Failure(
            title="EXPIRE without its seconds (wrong arity: refused while it is queued)",
            prepare=lambda redis: None,
            commands=[("INCR", "rate:eve"), ("EXPIRE", "rate:eve")],
            left=counter_left,
            straight=[":1", "-ERR"],
            guarded=["-EXECABORT", "-ERR"],
            metrics={
                'respguard_groups_total{group="rate",outcome="refused"}': 1,
                'respguard_violations_total{kind="aborted",rule="rate"}': 1,
            },
        ),
        Failure(
            title="seconds that are not a number (fails while it runs)",
            prepare=lambda redis: None,
            commands=[("INCR", "rate:eve"), ("EXPIRE", "rate:eve", "soon")],
            left=counter_left,
            straight=[":1", "-ERR"],
            guarded=["-EXECABORT", "-ERR"],
            transaction=[":1", "-ERR"],
            torn=("transaction",),
            metrics={
                'respguard_groups_total{group="rate",outcome="refused"}': 1,
                'respguard_violations_total{kind="aborted",rule="rate"}': 1,
            },
        ),
        Failure(
            title="the EXPIRE never comes",
            prepare=lambda redis: None,
            commands=[("INCR", "rate:eve")],
            left=counter_left,
            straight=[":1"],
            guarded=[":1"],
            torn=("guarded", "transaction", "rollback"),
            metrics={
                'respguard_violations_total{kind="ttl_missing",rule="rates"}': 1,
            },
            patience=3,
            plainly="Plainly: nothing can be made whole that did not come. But the [[ttl]] rule finds the key.",
        ),
    ],
)

STORIES = [BLOB, SNAPSHOT, LOGIN, RATE]


def begins(reply_shown, word):
    """Whether a shown reply is what was predicted: the first word of an error, or the whole of anything else."""
    return reply_shown.split(" ")[0] == word if word.startswith("-") else reply_shown == word

