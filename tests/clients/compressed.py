"""redis-py stores 10 MB of JSON that a rule compresses, and reads it back; the decoder of docs/compression.md reads what is
stored: compressed.py HOST PORT PORT-OF-THE-SERVER DOCUMENT."""

import json
import re
import sys
from pathlib import Path

import redis
from report import Report, expect

ITEMS = [{"id": number, "user": f"u{number * 7919 % 100_003:06x}", "tags": ["new", "sale"]} for number in range(160_000)]


def decoder(document):
    blocks = re.findall(r"```text\n(import struct\n.*?)```", Path(document).read_text(), re.S)
    expect(len(blocks), 1, "the decoder of the document")
    names = {}
    exec(blocks[0], names)
    return names["decompress"]


def large_values(r, direct, decompress):
    text = json.dumps(ITEMS)
    expect(len(text) > 10_000_000, True, "10 MB")
    for key in ("page:1", "lz4:1"):
        expect(r.set(key, text), True, "stored")
        expect(r.get(key).decode() == text, True, f"{key} as it was")
        stored = direct.get(key)
        expect(len(stored) < len(text) / 2, True, f"{key} is stored compressed")
        expect(decompress(stored).decode() == text, True, f"{key} by the document's decoder")
        with r.pipeline(transaction=True) as pipe:
            pipe.get(key)
            pipe.hset(f"{key}:h", mapping={"body": text, "short": "s"})
            pipe.hgetall(f"{key}:h")
            read, _, fields = pipe.execute()
        expect(read.decode() == text and fields[b"body"].decode() == text and fields[b"short"] == b"s", True, "in a transaction")
    expect(json.loads(r.mget("page:1", "other")[0]) == ITEMS, True, "JSON")
    headed = b"\xffRGCOMP\xfe and more"
    r.set("page:2", headed)
    expect([r.get("page:2"), decompress(direct.get("page:2")), decompress(b"plain")], [headed, headed, b"plain"], "what begins so")


def main(host, port, server, document):
    report = Report(f"redis-py {redis.__version__}")
    for protocol in (2, 3):
        try:
            direct = redis.Redis(host, server)
            direct.flushall()
            large_values(redis.Redis(host, port, protocol=protocol, socket_timeout=60), direct, decoder(document))
            report.passed("large_values", protocol, 0)
        except Exception as error:
            report.failed_with("large_values", protocol, error)
    report.finish()


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
