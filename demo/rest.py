"""The fifth story: six commands that an SDK for Upstash's REST protocol sends by /pipeline, of which the fourth fails."""

import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from resp import Client, ReplyError

NAME = "A post, by /pipeline over HTTP"
ABOUT = "HSET post, SADD tag, LPUSH feed, ZADD index, HINCRBY statistics, DEL draft: one request of @upstash/redis' pipeline()"
GROUP = "post"
COMMANDS = [
    ["HSET", "post:7", "title", "Hello", "text", "..."],
    ["SADD", "tag:news", "7"],
    ["LPUSH", "feed", "7"],
    ["ZADD", "posts", "1700000000", "7"],
    ["HINCRBY", "stats", "posts", "1"],
    ["DEL", "draft:7"],
]
ALL_WELL = [{"result": 2}, {"result": 1}, {"result": 1}, {"result": 1}, {"result": 1}, {"result": 1}]


def prepare(redis, index_is_good=False):
    redis.must("FLUSHALL")
    redis.must("SET", "draft:7", "Hello ...")
    if not index_is_good:
        redis.must("SET", "posts", "written by an old release")


def left(redis):
    """A sentence, and whether the data has drifted apart."""
    post, draft, told = redis.must("EXISTS", "post:7"), redis.must("EXISTS", "draft:7"), redis.must("LLEN", "feed")
    if (post, draft, told) == (1, 0, 1):
        return "a post in the feed and in no index, its draft gone: drifted apart", True
    return ("the draft, and nothing else", False) if (post, draft, told) == (0, 1, 0) else (f"{post}, {draft}, {told}", False)


def ask(port):
    """What the six commands are answered."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/pipeline", json.dumps(COMMANDS).encode(), {"Host": "localhost"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=15) as answer:
        return json.loads(answer.read())


def shown(answer):
    """As redis-cli would show it, so that both sides read alike."""
    return [f"-{one['error']}" if "error" in one else f":{one['result']}" for one in answer]


class Gateway:
    """What stands between such an SDK and a Redis elsewhere: it runs one command after the other, whatever comes of them."""

    def __init__(self, redis_port):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                commands = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                redis = Client(redis_port)
                replies = [redis.ask(command)[0] for command in commands]
                redis.close()
                answer = [{"error": str(one)} if isinstance(one, ReplyError) else {"result": one} for one in replies]
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def end(self):
        self.server.shutdown()
        self.server.server_close()
