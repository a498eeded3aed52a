"""redis-py, blocking API, through a proxy: redis_py_sync.py HOST PORT [SETTINGS AS JSON]."""

import json
import sys
import threading
import time

import redis
from report import BIG, GROUPS, Report, expect, knows_setinfo


def handshake(r, connect):
    expect(r.ping(), True, "PING")
    expect(r.client_setname("checker"), True, "CLIENT SETNAME")
    named = connect(single_connection_client=True, client_name="named")
    expect(named.client_getname(), "named", "CLIENT GETNAME")
    info = named.client_info()
    expect(info["name"], "named", "name in CLIENT INFO")
    if knows_setinfo(r.info("server")):
        expect(info["lib-name"].startswith("redis-py"), True, "lib-name in CLIENT INFO")
        expect(info["lib-ver"], redis.__version__, "lib-ver in CLIENT INFO")
    expect(named.client_id(), int(info["id"]), "CLIENT ID")


def plain_commands(r, connect):
    expect(r.set("plain:a", b"\x00\r\n$-1\r\n\xff"), True, "SET")
    raw = connect(decode_responses=False)
    expect(raw.get("plain:a"), b"\x00\r\n$-1\r\n\xff", "GET of bytes")
    expect(r.get("plain:missing"), None, "GET of nothing")
    expect([r.incr("plain:n"), r.incrby("plain:n", 41)], [1, 42], "INCR, INCRBY")
    expect(r.hset("plain:h", mapping={"f": "1", "g": "2"}), 2, "HSET")
    expect(r.hgetall("plain:h"), {"f": "1", "g": "2"}, "HGETALL")
    expect(r.rpush("plain:l", *range(100)), 100, "RPUSH")
    expect(r.lrange("plain:l", 0, -1), [str(n) for n in range(100)], "LRANGE")
    expect(r.zadd("plain:z", {"m": 1.5}), 1, "ZADD")
    expect(r.zscore("plain:z", "m"), 1.5, "ZSCORE")
    expect(sorted(r.scan_iter(match="plain:*")), ["plain:" + k for k in "ahlnz"], "SCAN")
    expect(r.info("server")["redis_mode"], "standalone", "INFO")


def pipelines(r, connect):
    with r.pipeline(transaction=False) as pipe:
        for _ in range(500):
            pipe.incr("pipe:n")
        expect(pipe.execute(), list(range(1, 501)), "500 INCR")


def groups(r, connect):
    for n in range(GROUPS):
        user, token = f"u{n}", f"t{n}"
        with r.pipeline(transaction=False) as pipe:
            if n % 2:
                pipe.execute_command("SETEX", f"rt:{user}:{token}", 60, "v")
            else:
                pipe.set(f"rt:{user}:{token}", "v", ex=60)
            pipe.sadd(f"sess:{user}", token).expire(f"sess:{user}", 60).smembers(f"sess:{user}")
            expect(pipe.execute(), [True, 1, True, {token}], "replies of a group")
        expect([r.get(f"rt:{user}:{token}"), 30 < r.ttl(f"sess:{user}") <= 60], ["v", True], "what a group left")
    return GROUPS


def groups_among_others(r, connect):
    with r.pipeline(transaction=False) as pipe:
        for n in range(GROUPS):
            pipe.get("missing").set(f"rt:m{n}:t", "v", ex=60).sadd(f"sess:m{n}", "t").expire(f"sess:m{n}", 60).echo("after")
        expect(pipe.execute(), [None, True, 1, True, "after"] * GROUPS, "groups between other commands")
    return GROUPS


def group_with_a_value_sent_in_pieces(r, connect):
    for n in range(GROUPS):
        value = "x" * (20_000 + n)
        with r.pipeline(transaction=False) as pipe:
            pipe.set(f"rt:p{n}:t", value, ex=60).sadd(f"sess:p{n}", "t").expire(f"sess:p{n}", 60).smembers(f"sess:p{n}")
            expect(pipe.execute(), [True, 1, True, {"t"}], "replies of a group")
        expect(r.get(f"rt:p{n}:t"), value, "the value")
    return GROUPS


def groups_of_many_threads(r, connect):
    problems = []

    def session(user):
        try:
            own = connect()
            for n in range(GROUPS):
                with own.pipeline(transaction=False) as pipe:
                    pipe.set(f"rt:{user}:t{n}", "v", ex=60).sadd(f"sess:{user}", f"t{n}").expire(f"sess:{user}", 60)
                    expect(pipe.execute(), [True, 1, True], "replies of a group")
        except Exception as error:
            problems.append(str(error))

    threads = [threading.Thread(target=session, args=(f"c{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(problems, [], "problems of 8 threads")
    return 8 * GROUPS


def transaction(r, connect):
    with r.pipeline(transaction=True) as pipe:
        pipe.set("tx:a", "1").incr("tx:a").lrange("tx:none", 0, -1)
        expect(pipe.execute(), [True, 2, []], "EXEC")


def transaction_that_is_a_group_itself(r, connect):
    with r.pipeline(transaction=True) as pipe:
        pipe.set("rt:tx:t", "v", ex=60).sadd("sess:tx", "t").expire("sess:tx", 60).smembers("sess:tx")
        expect(pipe.execute(), [True, 1, True, {"t"}], "EXEC")


def watch(r, connect):
    r.set("watched", "1")
    with r.pipeline() as pipe:
        pipe.watch("watched")
        expect(pipe.get("watched"), "1", "GET while watching")
        connect().set("watched", "other")
        pipe.multi()
        pipe.set("watched", "mine")
        try:
            pipe.execute()
            expect("executed", "WatchError", "EXEC after a change")
        except redis.WatchError:
            pass
        pipe.watch("watched")
        pipe.multi()
        pipe.set("watched", "mine")
        expect(pipe.execute(), [True], "EXEC without a change")
    expect(r.get("watched"), "mine", "the watched key")


def pubsub(r, connect):
    protocol = r.connection_pool.connection_kwargs["protocol"]
    subscriber = connect().pubsub()
    subscriber.subscribe("news")
    subscriber.psubscribe("pat.*")
    kinds = [message(subscriber)["type"] for _ in range(2)]
    expect(kinds, ["subscribe", "psubscribe"], "confirmations")
    expect(r.publish("news", "hello"), 1, "PUBLISH")
    expect(message(subscriber)["data"], "hello", "message")
    expect(r.publish("pat.x", "p"), 1, "PUBLISH to a pattern")
    got = message(subscriber)
    expect([got["type"], got["pattern"], got["channel"], got["data"]], ["pmessage", "pat.*", "pat.x", "p"], "pmessage")
    if protocol == 2:
        # In RESP3 redis-py takes the reply for a message, with a bare Redis too.
        subscriber.ping()
        expect(message(subscriber)["type"], "pong", "PING while subscribed")
    subscriber.unsubscribe()
    subscriber.punsubscribe()
    expect([message(subscriber)["type"] for _ in range(2)], ["unsubscribe", "punsubscribe"], "goodbyes")
    subscriber.close()


def message(subscriber):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        got = subscriber.get_message(timeout=0.5)
        if got:
            return got
    return {"type": "nothing in 20 s", "data": None}


def blocking_pop(r, connect):
    pusher = threading.Timer(0.2, lambda: connect().rpush("queue", "job"))
    pusher.start()
    expect(list(r.blpop(["queue"], timeout=5)), ["queue", "job"], "BLPOP")
    pusher.join()
    expect(r.blpop(["queue"], timeout=0.2), None, "BLPOP of nothing")
    expect(r.ping(), True, "PING after it")


def error_inside_a_pipeline(r, connect):
    r.set("text", "x")
    with r.pipeline(transaction=False) as pipe:
        pipe.set("before", "1").sadd("text", "m").get("before").execute_command("NOSUCHCOMMAND").get("text")
        replies = pipe.execute(raise_on_error=False)
    expect([replies[0], replies[2], replies[4]], [True, "1", "x"], "the good replies")
    expect(str(replies[1]).split("WRONGTYPE ")[-1][:22], "Operation against a ke", "WRONGTYPE")
    expect("unknown command 'NOSUCHCOMMAND'" in str(replies[3]), True, "unknown command")
    with r.pipeline(transaction=False) as pipe:
        pipe.set("before", "2").sadd("text", "m")
        try:
            pipe.execute()
            expect("executed", "ResponseError", "a pipeline with an error")
        except redis.ResponseError as error:
            expect("Command # 2" in str(error), True, f"the failing command's place in: {error}")


def error_inside_a_group(r, connect):
    r.set("sess:bad", "a string", ex=60)
    with r.pipeline(transaction=False) as pipe:
        pipe.set("rt:bad:t", "v", ex=60).sadd("sess:bad", "t").expire("sess:bad", 60)
        replies = pipe.execute(raise_on_error=False)
    expect([replies[0], replies[2]], [True, True], "the members that did not fail")
    expect(isinstance(replies[1], redis.ResponseError), True, "the member that failed")
    r.delete("sess:bad")


def select(r, connect):
    other = connect(db=1)
    r.set("where", "zero")
    other.set("where", "one")
    expect([r.get("where"), other.get("where")], ["zero", "one"], "two databases")
    expect(int(other.client_info()["db"]), 1, "db in CLIENT INFO")
    single = connect(single_connection_client=True)
    expect(single.select(1), True, "SELECT")
    expect(single.get("where"), "one", "GET after SELECT")
    other.flushdb()
    expect([r.get("where"), other.get("where")], ["zero", None], "FLUSHDB of one")


def large_values(r, connect):
    value = "".join(chr(33 + n % 90) for n in range(BIG))
    expect(r.set("big", value), True, "SET of 1 MB")
    expect(r.get("big") == value, True, "GET of 1 MB is what was set")
    with r.pipeline(transaction=False) as pipe:
        for n in range(4):
            pipe.set(f"big:{n}", value).get(f"big:{n}")
        expect([reply in (True, value) for reply in pipe.execute()], [True] * 8, "a pipeline of 8 MB")


def scripts(r, connect):
    expect(r.eval("return {KEYS[1], ARGV[1]}", 1, "k", "a"), ["k", "a"], "EVAL")
    try:
        r.evalsha("f" * 40, 0)
        expect("ran", "NoScriptError", "EVALSHA of nothing")
    except redis.exceptions.NoScriptError:
        pass
    add = r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    expect([add(keys=["script:n"], args=[4]), add(keys=["script:n"], args=[5])], [4, 9], "a registered script")
    expect(r.script_exists(add.sha), [True], "SCRIPT EXISTS")


CHECKS = [
    handshake, plain_commands, pipelines, groups, groups_among_others, group_with_a_value_sent_in_pieces,
    groups_of_many_threads, transaction, transaction_that_is_a_group_itself, watch, pubsub, blocking_pop,
    error_inside_a_pipeline, error_inside_a_group, select, large_values, scripts,
]  # fmt: skip


def main(host, port, settings):
    report = Report(f"redis-py {redis.__version__} sync")
    for protocol in (2, 3):

        def connect(**more):
            usual = {"host": host, "port": port, "protocol": protocol, "decode_responses": True, "socket_timeout": 10}
            return redis.Redis(**{**usual, **settings, **more})

        connect().flushall()
        for check in CHECKS:
            try:
                with connect() as r:
                    report.passed(check.__name__, protocol, check(r, connect))
            except Exception as error:
                report.failed_with(check.__name__, protocol, error)
    report.finish()


main(sys.argv[1], int(sys.argv[2]), json.loads("".join(sys.argv[3:]) or "{}"))
