"""One JSON line for each check: its name, protocol, outcome, and how many whole groups it sent."""

import json
import sys
import traceback

GROUPS = 25
BIG = 1 << 20


class Mismatch(AssertionError):
    """What came is not what was expected."""


def expect(actual, expected, what):
    if actual != expected or type(actual) is not type(expected):
        raise Mismatch(f"{what}: expected {brief(expected)}, got {brief(actual)}")


def knows_setinfo(server):
    """Whether CLIENT SETINFO exists there (Redis 7.2)."""
    return tuple(int(part) for part in server["redis_version"].split(".")[:2]) >= (7, 2)


def brief(value):
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


class Report:
    """Collects outcomes; `finish` ends the process, with 1 when a check failed."""

    def __init__(self, client):
        self.client = client
        self.failed = 0

    def passed(self, check, protocol, groups):
        self._line(check, protocol, ok=True, groups=groups or 0)

    def failed_with(self, check, protocol, error):
        self.failed += 1
        reason = str(error) if isinstance(error, Mismatch) else traceback.format_exc()
        self._line(check, protocol, ok=False, groups=0, reason=reason)

    def finish(self):
        sys.exit(1 if self.failed else 0)

    def _line(self, check, protocol, **rest):
        print(json.dumps({"client": self.client, "check": check, "protocol": protocol, **rest}), flush=True)
