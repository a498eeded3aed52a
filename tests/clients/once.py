"""redis-py loses the reply to a group and sends it again by itself: once.py HOST PORT PORT-OF-THE-SERVER."""

import sys
import time

import redis
from report import Report, expect


def wait_for(direct, key):
    deadline = time.monotonic() + 30
    while not direct.exists(key):
        expect(time.monotonic() < deadline, True, f"waiting for {key}")
        time.sleep(0.005)


def lost_reply(r, direct):
    def pay(id):
        with r.pipeline(transaction=False) as pipe:
            pipe.incrby("balance:{a}", 5)
            pipe.rpush("log:{a}", id)
            return pipe.execute(raise_on_error=False)

    expect(pay("first"), [5, 1], "a reply that comes")
    direct.set("ready", 1)
    wait_for(direct, "armed")
    expect(pay("second"), [10, 2], "what was answered the first time")
    expect([direct.get("balance:{a}"), direct.lrange("log:{a}", 0, -1)], ["10", ["first", "second"]], "what was applied")


def main(host, port, server):
    report = Report(f"redis-py {redis.__version__}")
    for protocol in (2, 3):
        try:
            direct = redis.Redis(host, server, decode_responses=True)
            direct.flushall()
            client = redis.Redis(host, port, protocol=protocol, decode_responses=True, socket_timeout=10)
            lost_reply(client, direct)
            report.passed("lost_reply", protocol, 2)
        except Exception as error:
            report.failed_with("lost_reply", protocol, error)
    report.finish()


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
