"""redis-py's blocking API."""

import threading
import time

import redis
from player import KILLED_SECONDS, SECONDS, Group, Watch, groups, outcome, serve


def connect(port, **more):
    return redis.Redis(host="127.0.0.1", port=port, socket_timeout=SECONDS, **more)


def note(pipe, group):
    pipe.set(group.key, group.value, ex=SECONDS).sadd(group.sessions, group.token)
    return pipe.expire(group.sessions, SECONDS).smembers(group.sessions)


def play(client, job, caller=0):
    watch = Watch()
    for group in groups(job, caller):
        with client.pipeline(transaction=False) as pipe, watch:
            replies = note(pipe, group).execute()
        group.check(replies)
    return watch.took_us


def pipeline(job):
    with connect(job["port"]) as client:
        client.ping()
        return play(client, job)


def pipelines_of_threads(job):
    took_us = []
    with connect(job["port"]) as client:
        threads = [threading.Thread(target=lambda caller=caller: took_us.extend(play(client, job, caller)))
                   for caller in range(job["callers"])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(took_us) == job["groups"], "a thread failed"
    return took_us


def one_after_the_other(job):
    watch = Watch()
    with connect(job["port"]) as client:
        for group in groups(job):
            with watch:
                replies = [client.set(group.key, group.value, ex=SECONDS), client.sadd(group.sessions, group.token),
                           client.expire(group.sessions, SECONDS), client.smembers(group.sessions)]
            group.check(replies)
    return watch.took_us


def handshake(port):
    with connect(port, client_name="named") as client:
        return outcome(lambda: (client.ping(), client.client_getname(), client.client_info()["name"]))


def error_in_a_group(port):
    with connect(port) as client:
        group = Group({"name": "bad", "bytes": 1}, 0)
        client.set(group.sessions, "text")
        raised = outcome(lambda: note(client.pipeline(transaction=False), group).execute())
        replies = note(client.pipeline(transaction=False), group).execute(raise_on_error=False)
        return [raised, *map(repr, replies)]


def killed_connection(port):
    with connect(port) as client, connect(port) as other:
        client.delete("killed")
        other.client_kill_filter(_id=client.client_id())
        time.sleep(KILLED_SECONDS)
        return [outcome(client.incr, "killed") for _ in range(3)] + [outcome(other.get, "killed")]


serve(
    redis.__version__,
    {"pipeline": pipeline, "pipelines": pipelines_of_threads, "sequential": one_after_the_other},
    {"handshake": handshake, "error in a group": error_in_a_group, "killed connection": killed_connection},
)
