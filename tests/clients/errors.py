"""What redis-py shows of the proxy's own errors: errors.py HOST PORT, where a server answers SET of a word with that error."""

import sys

import redis
from report import Report, expect

WORDS = ("EXECABORT", "PARTIAL", "TIMEOUT", "COMMITTED", "DUPLICATE")


def shown(client):
    for word in WORDS:
        pipe = client.pipeline(transaction=False)
        replies = pipe.set(word, 1).set("k", 1).execute(raise_on_error=False)
        errors = [reply for reply in replies if isinstance(reply, redis.ResponseError)]
        applied = not errors or any(str(error).startswith(("COMMITTED", "DUPLICATE")) for error in errors)
        expect([len(errors), replies[1], applied], [1, True, word in ("COMMITTED", "DUPLICATE")], word)
        is_abort = word == "EXECABORT"
        expect(type(errors[0]) is redis.exceptions.ExecAbortError, is_abort, f"{word}: its class")
        expect(str(errors[0]), "respguard: text" if is_abort else f"{word} respguard: text", f"{word}: its text")


def main(host, port):
    report = Report(f"redis-py {redis.__version__}")
    try:
        shown(redis.Redis(host, port, protocol=2, decode_responses=True, socket_timeout=20))
        report.passed("errors", 2, 0)
    except Exception as error:
        report.failed_with("errors", 2, error)
    report.finish()


main(sys.argv[1], int(sys.argv[2]))
