"""Plays groups of four commands in a client's style, as asked on standard input, and times each."""

import json
import sys
import time
import traceback

SECONDS = 60
#: In which a connection that was killed is certainly closed.
KILLED_SECONDS = 0.2


class Group:
    """One group of the rule `refresh-token`: keys of its own, and what Redis must answer to a new one."""

    def __init__(self, job, n):
        self.token, self.value = f"t{n}", "v" * job["bytes"]
        self.key, self.sessions = f"rt:{job['name']}-{n}:{self.token}", f"sess:{job['name']}-{n}"

    def check(self, replies):
        ok, added, expires, members = replies
        members = {member.decode() if isinstance(member, bytes) else member for member in members}
        if ok not in (True, "OK", b"OK") or int(added) != 1 or int(expires) != 1 or members != {self.token}:
            raise AssertionError(f"wrong replies: {replies}")


def groups(job, caller=0):
    """The groups of one of the job's callers."""
    return (Group(job, n) for n in range(caller, job["groups"], job["callers"]))


class Watch:
    """Collects how long groups took."""

    def __init__(self):
        self.took_us = []

    def __enter__(self):
        self.start = time.perf_counter()
        return self

    def __exit__(self, kind, error, trace):
        self.took_us.append((time.perf_counter() - self.start) * 1e6)


def outcome(call, *arguments):
    """What a call gave or raised, as text."""
    try:
        return repr(call(*arguments))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def serve(version, styles, checks):
    """Answers each job, a line of JSON, with a line: `styles` play groups, `checks` tell what the client shows its user."""
    say({"version": version, "styles": list(styles)})
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if job["style"] == "checks":
                say({"said": {name: check(job["port"]) for name, check in checks.items()}})
            else:
                say({"took_us": [round(took) for took in styles[job["style"]](job)]})
        except Exception:
            say({"failed": traceback.format_exc()})


def say(answer):
    print(json.dumps(answer), flush=True)
