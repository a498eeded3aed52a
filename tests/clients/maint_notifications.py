"""redis-py 8 is told that a proxy is about to end, and goes to its successor: maint_notifications.py HOST PORT READY-FILE."""

import pathlib
import sys
import time

import redis
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from report import Report, expect

# What clients have to leave, and some time behind that.
LONGEST_S = 60


def follows(host, port, ready):
    config = MaintNotificationsConfig(enabled=True, proactive_reconnect=True)
    # Nothing is sent again by itself: an error would be seen.
    client = redis.Redis(
        host, port, protocol=3, decode_responses=True, socket_timeout=10, retry=Retry(NoBackoff(), 0), maint_notifications_config=config
    )
    expect(client.get("who"), "first", "who answers at first")
    pathlib.Path(ready).touch()
    deadline = time.monotonic() + LONGEST_S
    while client.get("who") == "first":
        expect(time.monotonic() < deadline, True, "going to the successor in time")
        time.sleep(0.005)
    expect(client.get("who"), "second", "who answers then")


def main(host, port, ready):
    report = Report(f"redis-py {redis.__version__}")
    try:
        follows(host, port, ready)
        report.passed("maint_notifications", 3, 0)
    except Exception as error:
        report.failed_with("maint_notifications", 3, error)
    report.finish()


main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
