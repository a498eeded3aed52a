"""redis-py's RedisCluster through a proxy before a cluster: redis_py_cluster.py HOST PORT."""

import sys

import redis
from redis.cluster import RedisCluster
from report import GROUPS, Report, expect


def one_node(r):
    nodes = r.get_nodes()
    expect([node.server_type for node in nodes], ["primary"], "the nodes that it knows")
    expect(r.cluster_keyslot("foo"), 12182, "CLUSTER KEYSLOT")


def plain_commands(r):
    for n in range(100):
        expect(r.set(f"plain:{n}", n), True, "SET")
    expect([r.get(f"plain:{n}") for n in range(100)], [str(n) for n in range(100)], "GET")
    expect(r.mget_nonatomic([f"plain:{n}" for n in range(100)]), [str(n) for n in range(100)], "MGET, slot by slot")
    expect(r.dbsize(), 100, "DBSIZE")
    expect(sorted(r.scan_iter(match="plain:*")), sorted(f"plain:{n}" for n in range(100)), "SCAN")
    expect(r.delete(*[f"plain:{n}" for n in range(100)]), 100, "DEL")


def pipelines(r):
    with r.pipeline() as pipe:
        for n in range(200):
            pipe.incr(f"pipe:{n % 10}")
        expect(pipe.execute(), [n // 10 + 1 for n in range(200)], "200 INCR on ten keys")


def groups(r):
    for n in range(GROUPS):
        with r.pipeline() as pipe:
            pipe.set(f"rt:{{u{n}}}:t", "v", ex=60).sadd(f"sess:{{u{n}}}", "t").expire(f"sess:{{u{n}}}", 60)
            expect(pipe.execute(), [True, 1, True], "replies of a group")
    return GROUPS


def scripts(r):
    add = r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    expect([add(keys=[f"script:{n}"], args=[n]) for n in range(10)], list(range(10)), "a script on ten keys")


def pubsub(r):
    with r.pubsub() as listening:
        listening.subscribe("news")
        expect(listening.get_message(timeout=5)["type"], "subscribe", "SUBSCRIBE")
        r.publish("news", "hello")
        expect(listening.get_message(timeout=5)["data"], "hello", "a message")


CHECKS = [one_node, plain_commands, pipelines, groups, scripts, pubsub]


def main(host, port):
    report = Report(f"redis-py {redis.__version__} RedisCluster")
    for protocol in (2, 3):
        r = RedisCluster(host=host, port=port, protocol=protocol, decode_responses=True, socket_timeout=10)
        r.flushall()
        for check in CHECKS:
            try:
                report.passed(check.__name__, protocol, check(r))
            except Exception as error:
                report.failed_with(check.__name__, protocol, error)
        r.close()
    report.finish()


main(sys.argv[1], int(sys.argv[2]))
