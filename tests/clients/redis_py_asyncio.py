"""redis-py, asyncio API, through a proxy: redis_py_asyncio.py HOST PORT."""

import asyncio
import sys

import redis
from redis import asyncio as aredis
from report import BIG, GROUPS, Report, expect, knows_setinfo


async def handshake(r, connect):
    expect(await r.ping(), True, "PING")
    named = connect(single_connection_client=True, client_name="named")
    expect(await named.client_getname(), "named", "CLIENT GETNAME")
    if knows_setinfo(await r.info("server")):
        expect((await named.client_info())["lib-ver"], redis.__version__, "lib-ver in CLIENT INFO")
    await named.aclose()


async def plain_commands(r, connect):
    expect(await r.set("plain:a", "1"), True, "SET")
    expect([await r.get("plain:a"), await r.get("plain:missing")], ["1", None], "GET")
    expect(await r.hset("plain:h", mapping={"f": "1"}), 1, "HSET")
    expect(await r.hgetall("plain:h"), {"f": "1"}, "HGETALL")


async def many_connections_at_once(r, connect):
    replies = await asyncio.gather(*(r.incr("many") for _ in range(50)))
    expect(sorted(replies), list(range(1, 51)), "50 INCR at once")


async def pipelines(r, connect):
    async with r.pipeline(transaction=False) as pipe:
        for _ in range(500):
            pipe.incr("pipe:n")
        expect(await pipe.execute(), list(range(1, 501)), "500 INCR")


async def groups(r, connect):
    async def session(n):
        async with r.pipeline(transaction=False) as pipe:
            pipe.set(f"rt:u{n}:t", "v", ex=60).sadd(f"sess:u{n}", "t").expire(f"sess:u{n}", 60).smembers(f"sess:u{n}")
            expect(await pipe.execute(), [True, 1, True, {"t"}], "replies of a group")

    for n in range(GROUPS):
        await session(n)
    await asyncio.gather(*(session(n) for n in range(GROUPS, 2 * GROUPS)))
    return 2 * GROUPS


async def transaction(r, connect):
    async with r.pipeline(transaction=True) as pipe:
        pipe.set("tx:a", "1").incr("tx:a").lrange("tx:none", 0, -1)
        expect(await pipe.execute(), [True, 2, []], "EXEC")


async def watch(r, connect):
    await r.set("watched", "1")
    async with r.pipeline() as pipe:
        await pipe.watch("watched")
        expect(await pipe.get("watched"), "1", "GET while watching")
        await r.set("watched", "other")
        pipe.multi()
        pipe.set("watched", "mine")
        try:
            await pipe.execute()
            expect("executed", "WatchError", "EXEC after a change")
        except redis.WatchError:
            pass
    expect(await r.get("watched"), "other", "the watched key")


async def pubsub(r, connect):
    subscriber = r.pubsub()
    await subscriber.subscribe("news")
    expect((await message(subscriber))["type"], "subscribe", "confirmation")
    expect(await r.publish("news", "hello"), 1, "PUBLISH")
    expect((await message(subscriber))["data"], "hello", "message")
    await subscriber.unsubscribe("news")
    expect((await message(subscriber))["type"], "unsubscribe", "goodbye")
    await subscriber.aclose()


async def message(subscriber):
    for _ in range(10):
        got = await subscriber.get_message(timeout=0.5)
        if got:
            return got
    return {"type": "nothing in 5 s", "data": None}


async def blocking_pop(r, connect):
    popping = asyncio.create_task(r.blpop(["queue"], timeout=5))
    await asyncio.sleep(0.2)
    await r.rpush("queue", "job")
    expect(list(await popping), ["queue", "job"], "BLPOP")
    expect(await r.blpop(["queue"], timeout=0.2), None, "BLPOP of nothing")


async def error_inside_a_pipeline(r, connect):
    await r.set("text", "x")
    async with r.pipeline(transaction=False) as pipe:
        pipe.set("before", "1").sadd("text", "m").get("before")
        replies = await pipe.execute(raise_on_error=False)
    expect([replies[0], replies[2]], [True, "1"], "the good replies")
    expect("Operation against a key" in str(replies[1]), True, f"WRONGTYPE in {replies[1]!r}")


async def select(r, connect):
    other = connect(db=1)
    await r.set("where", "zero")
    await other.set("where", "one")
    expect([await r.get("where"), await other.get("where")], ["zero", "one"], "two databases")
    await other.flushdb()
    await other.aclose()


async def large_values(r, connect):
    value = "x" * BIG
    expect(await r.set("big", value), True, "SET of 1 MB")
    expect(await r.get("big") == value, True, "GET of 1 MB is what was set")
    async with r.pipeline(transaction=False) as pipe:
        for n in range(1000):
            pipe.set(f"kb:{n}", value[:1000])
        expect(await pipe.execute(), [True] * 1000, "1000 values of 1 KB")


async def scripts(r, connect):
    expect(await r.eval("return {KEYS[1], ARGV[1]}", 1, "k", "a"), ["k", "a"], "EVAL")
    add = r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    expect([await add(keys=["script:n"], args=[4]), await add(keys=["script:n"], args=[5])], [4, 9], "a registered script")


CHECKS = [
    handshake, plain_commands, many_connections_at_once, pipelines, groups, transaction, watch, pubsub, blocking_pop,
    error_inside_a_pipeline, select, large_values, scripts,
]  # fmt: skip


async def main(host, port):
    report = Report(f"redis-py {redis.__version__} asyncio")
    for protocol in (2, 3):

        def connect(**more):
            settings = {"host": host, "port": port, "protocol": protocol, "decode_responses": True, "socket_timeout": 10, **more}
            return aredis.Redis(**settings)

        async with connect() as r:
            await r.flushall()
            for check in CHECKS:
                try:
                    report.passed(check.__name__, protocol, await check(r, connect))
                except Exception as error:
                    report.failed_with(check.__name__, protocol, error)
    report.finish()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
