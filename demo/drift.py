"""The sixth story: what drifts apart past respguard is found, shown, repaired and put back."""

import subprocess

from resp import Client

NAME = "Drift"
ABOUT = "Fifty blobs and logins go through respguard, whole. Then others write straight to Redis, as scripts, evictions and old releases do."
BLOBS = 50
USER = "ann"
#: What is done straight, and why anybody would.
STRAIGHT = [
    (("DEL", "info:7"), "a clean-up that knows one of two keys"),
    (("HSET", "info:99", "type", "image/png"), "an importer that was stopped"),
    (("DEL", f"rt:{USER}:t3"), "a token that ended before its session"),
]
#: What is broken then, as an audit shows it.
BROKEN = ["blobs:7: without info:{id}", "info:99: without blobs:{id}", f"sess:{USER} t3: without rt:{{user}}:{{token}}"]
TOUCHED = ["blobs:7", "info:99", f"sess:{USER}"]


def prepare(redis, port):
    redis.must("FLUSHALL")
    client = Client(port)
    for number in range(BLOBS):
        client.ask(("HSET", f"blobs:{number}", "bytes", "x" * 40), ("HSET", f"info:{number}", "type", "image/png"))
        token = f"t{number}"
        client.ask(("SETEX", f"rt:{USER}:{token}", 900, "claims"), ("SADD", f"sess:{USER}", token), ("EXPIRE", f"sess:{USER}", 900),
                   ("SMEMBERS", f"sess:{USER}"))
    client.close()


def drift(redis):
    for command, _ in STRAIGHT:
        redis.must(*command)


def state(redis):
    """Everything that a repair may change, in a form that can be compared."""
    held = [sorted(redis.must("HGETALL", key)) for key in TOUCHED[:2]] + [sorted(redis.must("SMEMBERS", TOUCHED[2]))]
    return held, [redis.must("PEXPIRETIME", key) for key in TOUCHED]


def told(stage, *words):
    """What the command line says, and its exit code."""
    words = [stage.program, *words, "--config", stage.config]
    ran = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    return ran.returncode, ran.stdout.decode()


def run_id(said):
    """The id of a repair, in the line that says how to take it back."""
    return said.split("--undo-run ")[1].split()[0]
