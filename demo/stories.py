"""The four stories: what each writes, what a reader must never see, what goes wrong, and what is expected of that."""

from dataclasses import dataclass, field
from typing import Callable

from resp import ReplyError

PASSWORD = "demo"
# Large enough that a server needs several reads for one pipeline, and serves others in between.
UPLOAD = b"x" * 48 * 1024
LIFETIME = 900


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
    # The facts that must come out: first words of the replies, whether torn, and which metrics move by how much.
    straight: list
    proxied: list
    torn: tuple
    metrics: dict
    user: str | None = None
    # How long the proxy may take to notice.
    patience: float = 0
    plainly: str = ""


@dataclass
class Story:
    name: str
    about: str
    group: str
    # The harmless case: round n as a list of commands.
    commands: Callable
    # What the reader reads at one moment, and whether that is torn.
    look: list
    is_torn: Callable
    # Whether the client gives each command to its socket on its own.
    one_by_one: bool = False
    # Undone between two rounds, in one transaction, straight at Redis.
    between: Callable = lambda n: []
    failures: list = field(default_factory=list)


def number(value):
    """The round that a document was written in: its first eight bytes."""
    return int(value[:8]) if value else None


def document(n):
    return b"%08d" % n + UPLOAD


BLOB = Story(
    name="Blob upload",
    about=f"HSET blobs:1 <{len(UPLOAD) // 1024} KiB>, HSET info:1 <its metadata>; the pipeline leaves in one write",
    group="blob",
    commands=lambda n: [("HSET", "blobs:1", "version", n, "bytes", UPLOAD), ("HSET", "info:1", "version", n, "type", "image/png")],
    look=[("HGET", "blobs:1", "version"), ("HGET", "info:1", "version")],
    is_torn=lambda seen: seen[0] != seen[1],
    failures=[
        Failure(
            title="the user may not write info:* (refused while it is queued)",
            user="uploader",
            prepare=lambda redis: redis.must(
                "ACL", "SETUSER", "uploader", "on", f">{PASSWORD}", "+@all", "~blobs:*", "%R~info:*"
            ),
            commands=[("HSET", "blobs:2", "version", 1, "bytes", UPLOAD), ("HSET", "info:2", "version", 1, "type", "image/png")],
            left=lambda redis: orphan(redis, "blobs:2", "info:2"),
            straight=[":2", "-NOPERM"],
            proxied=["-EXECABORT", "-NOPERM"],
            torn=(True, False),
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


def snapshot(n):
    return [
        ("SET", f"snap:time:{n}", document(n)),
        ("SET", f"snap:id:s{n}", document(n)),
        ("SET", "snap:latest", document(n)),
        ("ZADD", "snap:index", n, f"s{n}"),
        ("ZREMRANGEBYSCORE", "snap:index", "-inf", n - 10),
        ("DEL", "snap:live"),
    ]


def snapshot_is_torn(seen):
    latest, newest, live = number(seen[0]), seen[1], number(seen[2])
    indexed = int(newest[0][1:]) if newest else None
    return latest != indexed or (latest is not None and latest == live)


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
    about="SET by time, SET by id, SET latest, ZADD index, ZREMRANGEBYSCORE index, DEL live; in one write",
    group="snapshot",
    commands=snapshot,
    look=[("GETRANGE", "snap:latest", 0, 7), ("ZREVRANGE", "snap:index", 0, 0), ("GETRANGE", "snap:live", 0, 7)],
    is_torn=snapshot_is_torn,
    # The next recording goes live; documents that the index has forgotten go.
    between=lambda n: [("SET", "snap:live", document(n + 1)), ("DEL", f"snap:time:{n - 10}", f"snap:id:s{n - 10}")],
    failures=[
        Failure(
            title="the index is of another type (fails while it runs)",
            prepare=break_index,
            commands=snapshot(7),
            left=snapshot_left,
            straight=["+OK", "+OK", "+OK", "-WRONGTYPE", "-WRONGTYPE", ":1"],
            proxied=["-PARTIAL"] * 6,
            torn=(True, True),
            metrics={
                'respguard_groups_total{group="snapshot",outcome="torn"}': 1,
                'respguard_violations_total{kind="partial_failure",rule="snapshot"}': 1,
                'respguard_partial_failures_total{place="group"}': 1,
            },
            plainly='Plainly: a transaction does not roll back. Redis holds the same on both sides; what on_partial = "fail"'
            " adds is that every member tells the client, and that it is counted. Four of six replies on the left say all is well.",
        )
    ],
)


def login(user, token):
    return [
        ("SETEX", f"rt:{user}:{token}", LIFETIME, "a refresh token"),
        ("SADD", f"sess:{user}", token),
        ("EXPIRE", f"sess:{user}", LIFETIME),
        ("SMEMBERS", f"sess:{user}"),
    ]


def login_is_torn(seen):
    token, listed, lifetime = seen
    return token != listed or lifetime == -1


def login_left(redis):
    token, listed = redis.must("EXISTS", "rt:eve:t1"), redis.must("SISMEMBER", "sess:eve", "t1")
    lifetime = redis.must("TTL", "sess:eve")
    if listed and lifetime == -1:
        return "sess:eve lists the token and never expires", True
    return ("nothing", False) if not token and not listed else (f"a session that ends in {lifetime} s", False)


LOGIN = Story(
    name="Login",
    about="SETEX token, SADD session, EXPIRE session, SMEMBERS session; each command in a write of its own",
    group="login",
    commands=lambda n: login("ann", "t1"),
    look=[("EXISTS", "rt:ann:t1"), ("SISMEMBER", "sess:ann", "t1"), ("TTL", "sess:ann")],
    is_torn=login_is_torn,
    one_by_one=True,
    between=lambda n: [("DEL", "rt:ann:t1", "sess:ann")],
    failures=[
        Failure(
            title="the user may not EXPIRE (refused while it is queued)",
            user="portal",
            prepare=lambda redis: redis.must("ACL", "SETUSER", "portal", "on", f">{PASSWORD}", "+@all", "-expire", "~*"),
            commands=login("eve", "t1"),
            left=login_left,
            straight=["+OK", ":1", "-NOPERM", "[t1]"],
            proxied=["-EXECABORT", "-EXECABORT", "-NOPERM", "-EXECABORT"],
            torn=(True, False),
            metrics={
                'respguard_groups_total{group="login",outcome="aborted"}': 1,
                'respguard_violations_total{kind="aborted",rule="login"}': 1,
            },
        )
    ],
)


def counter_left(redis):
    if not redis.must("EXISTS", "rate:eve"):
        return "nothing", False
    lifetime = redis.must("TTL", "rate:eve")
    return (f"rate:eve = {redis.must('GET', 'rate:eve').decode()}, " + (
        "which never expires" if lifetime == -1 else f"which ends in {lifetime} s"), lifetime == -1)


RATE = Story(
    name="Rate counter",
    about="INCR counter, EXPIRE counter; each command in a write of its own",
    group="rate",
    commands=lambda n: [("INCR", "rate:ann"), ("EXPIRE", "rate:ann", 60)],
    look=[("EXISTS", "rate:ann"), ("TTL", "rate:ann")],
    is_torn=lambda seen: seen[0] == 1 and seen[1] == -1,
    one_by_one=True,
    between=lambda n: [("DEL", "rate:ann")],
    failures=[
        Failure(
            title="EXPIRE without its seconds (wrong arity: refused while it is queued)",
            prepare=lambda redis: None,
            commands=[("INCR", "rate:eve"), ("EXPIRE", "rate:eve")],
            left=counter_left,
            straight=[":1", "-ERR"],
            proxied=["-EXECABORT", "-ERR"],
            torn=(True, False),
            metrics={
                'respguard_groups_total{group="rate",outcome="aborted"}': 1,
                'respguard_violations_total{kind="aborted",rule="rate"}': 1,
            },
        ),
        Failure(
            title="seconds that are not a number (fails while it runs)",
            prepare=lambda redis: None,
            commands=[("INCR", "rate:eve"), ("EXPIRE", "rate:eve", "soon")],
            left=counter_left,
            straight=[":1", "-ERR"],
            proxied=[":1", "-ERR"],
            torn=(True, True),
            metrics={
                'respguard_groups_total{group="rate",outcome="torn"}': 1,
                'respguard_violations_total{kind="partial_failure",rule="rate"}': 1,
                'respguard_violations_total{kind="ttl_missing",rule="rates"}': 1,
            },
            patience=3,
            plainly="Plainly: the counter stays, as on the left; nothing here rolls back and no TTL is added. It is reported"
            " twice: the group was torn, and the [[ttl]] rule finds a key that will never expire.",
        ),
        Failure(
            title="the EXPIRE never comes",
            prepare=lambda redis: None,
            commands=[("INCR", "rate:eve")],
            left=counter_left,
            straight=[":1"],
            proxied=[":1"],
            torn=(True, True),
            metrics={
                'respguard_violations_total{kind="split",rule="rate"}': 1,
                'respguard_violations_total{kind="ttl_missing",rule="rates"}': 1,
            },
            patience=3,
            plainly="Plainly: nothing can be made whole that did not come. The beginning was held for a moment (hold_ms), then"
            " passed on and reported as split; the [[ttl]] rule finds the key.",
        ),
    ],
)

STORIES = [BLOB, SNAPSHOT, LOGIN, RATE]


def begins(reply_shown, word):
    """Whether a shown reply is what was foretold: the first word of an error, or the whole of anything else."""
    return reply_shown.split(" ")[0] == word if word.startswith("-") else reply_shown == word


__all__ = ["PASSWORD", "STORIES", "ReplyError", "begins"]
