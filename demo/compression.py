"""The blob story with a compress rule on: what the server holds of a document, and what is read through respguard."""

import json

from resp import Client

DOCUMENT = json.dumps([{"id": number, "state": ("new", "paid", "sent")[number % 3], "price": number * 17 % 991} for number in range(1000)]).encode()


def show(stage, facts):
    redis, proxied = Client(stage.redis_port), Client(stage.proxy_port)
    redis.must("HSET", "blobs:straight", "bytes", DOCUMENT)
    proxied.ask(("HSET", "blobs:rule", "bytes", DOCUMENT), ("HSET", "info:rule", "type", "application/json"))
    plain, stored = (redis.must("HSTRLEN", key, "bytes") for key in ("blobs:straight", "blobs:rule"))
    print(f"\n-- a blob of {plain:,} bytes of JSON takes {stored:,} at the server, by the rule [[compress]] of demo/config.toml")
    facts.check("through respguard it takes less than half, and is read as it was written",
                stored * 2 < plain and proxied.must("HGET", "blobs:rule", "bytes") == DOCUMENT)
    facts.check("what would look into it is refused", str(proxied.ask(("HSTRLEN", "blobs:rule", "bytes"))[0]).startswith("ERR respguard: HSTRLEN is refused"))
    redis.must("DEL", "blobs:straight", "blobs:rule", "info:rule")
    redis.close()
    proxied.close()
