"""upstash-redis and upstash-ratelimit through the REST front: upstash_redis.py HOST PORT TOKEN [plain]."""

import asyncio
import importlib.metadata
import sys
import time

# The packages have this file's own name: they are looked for elsewhere first.
sys.path.append(sys.path.pop(0))

from upstash_ratelimit import FixedWindow, Ratelimit, SlidingWindow, TokenBucket
from upstash_redis import Redis
from upstash_redis.asyncio import Redis as AsyncRedis
from upstash_redis.errors import UpstashError
from report import BIG, GROUPS, Report, expect

HOST, PORT, TOKEN, *MORE = sys.argv[1:]
URL = f"http://{HOST}:{PORT}"
ENCODING = False if MORE == ["plain"] else "base64"


def refused(call, what):
    try:
        value = call()
    except UpstashError as error:
        return str(error)
    raise AssertionError(f"{what}: expected an error, got {value!r}")


def typed_calls(r):
    expect(r.ping(), "PONG", "PING")
    expect([r.set("plain:a", "ü\n\"v"), r.get("plain:a")], [True, "ü\n\"v"], "SET, GET")
    expect([r.set("plain:ok", "OK"), r.get("plain:ok"), r.get("plain:missing")], [True, "OK", None], "OK as a value")
    expect([r.incr("plain:n"), r.incrby("plain:n", 9007199254740993)], [1, 9007199254740994], "INCR, INCRBY")
    expect(r.hset("plain:h", values={"f": 1, "g": "two"}), 2, "HSET")
    expect(r.hgetall("plain:h"), {"f": "1", "g": "two"}, "HGETALL")
    expect(r.zadd("plain:z", {"m": 1.5}), 1, "ZADD")
    expect(r.zrange("plain:z", 0, -1, withscores=True), [("m", 1.5)], "ZRANGE")
    expect(r.lrange("plain:missing", 0, -1), [], "LRANGE of nothing")
    expect(r.execute(["client", "setinfo", "LIB-NAME", "x"]), "OK", "CLIENT SETINFO")


def errors_are_raised(r):
    r.set("error:s", "v")
    expect(refused(lambda: r.lpush("error:s", "x"), "LPUSH").startswith("WRONGTYPE "), True, "WRONGTYPE")
    wrong = Redis(url=URL, token="wrong", rest_retries=0)
    expect("WRONGPASS" in refused(lambda: wrong.get("k"), "a wrong token"), True, "WRONGPASS")


def session(pipe, user):
    pipe.setex(f"rt:{user}:t", 60, "v")
    pipe.sadd(f"sess:{user}", "t")
    pipe.expire(f"sess:{user}", 60)
    pipe.smembers(f"sess:{user}")
    return pipe


def groups_in_pipelines(r):
    for n in range(GROUPS):
        expect(session(r.pipeline(), f"p{n}").exec(), [True, 1, True, ["t"]], "replies of a group")
    return GROUPS


def groups_side_by_side(r):
    async def play():
        async with AsyncRedis(url=URL, token=TOKEN, rest_encoding=ENCODING or None) as client:
            await asyncio.gather(*(session(client.pipeline(), f"q{n}").exec() for n in range(GROUPS)))

    asyncio.run(play())
    return GROUPS


def transactions(r):
    multi = r.multi()
    multi.set("multi:a", 1)
    multi.incr("multi:a")
    expect(multi.exec(), [True, 2], "MULTI")
    discarded = r.multi()
    discarded.set("multi:b", 1)
    discarded.execute(["set", "multi:b"])
    error = refused(discarded.exec, "a transaction that is discarded")
    expect("EXECABORT" in error or "wrong number" in error, True, f"EXECABORT in {error}")
    expect(r.get("multi:b"), None, "nothing of it")


def scripts(r):
    expect(r.eval("return {KEYS[1], ARGV[1]}", keys=["k"], args=["a"]), ["k", "a"], "EVAL")
    sha = r.script_load("return 7")
    expect([r.evalsha(sha), r.script_exists(sha)], [7, [True]], "EVALSHA")


def large_values(r):
    value = "x" * (3 * BIG)
    expect([r.set("large", value), r.get("large") == value], [True, True], "a large value")


def rate_limits(r):
    limiters = {
        "fixed": FixedWindow(max_requests=5, window=60),
        "sliding": SlidingWindow(max_requests=5, window=60),
        "bucket": TokenBucket(max_tokens=5, refill_rate=5, interval=60),
    }
    for name, limiter in limiters.items():
        # A window that ends in between begins anew.
        if name == "fixed" and time.time() % 60 > 55:
            time.sleep(5.5)
        ratelimit = Ratelimit(redis=r, limiter=limiter, prefix=f"limit:{name}")
        answers = [ratelimit.limit("someone").allowed for _ in range(7)]
        expect(answers, [True] * 5 + [False] * 2, f"{name}: whether allowed")
        expect(ratelimit.limit("another").allowed, True, f"{name}: another one")


CHECKS = [
    typed_calls, errors_are_raised, groups_in_pipelines, groups_side_by_side, transactions, scripts, large_values, rate_limits,
]

if __name__ == "__main__":
    report = Report(f"upstash-redis {importlib.metadata.version('upstash-redis')}")
    client = Redis(url=URL, token=TOKEN, rest_encoding=ENCODING or None)
    client.flushall()
    for check in CHECKS:
        try:
            report.passed(check.__name__, str(ENCODING), check(client))
        except Exception as error:
            report.failed_with(check.__name__, str(ENCODING), error)
    report.finish()
