"""A Redis client, as small as the demo allows: requests as arrays of bulk strings, RESP2 replies."""

import socket


class ReplyError(Exception):
    """An error reply; its text is what Redis sent behind the minus sign."""


def encode(*words):
    """The bytes of one request."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


class Client:
    """One connection. Errors are returned in their place, never raised: the demo counts them."""

    def __init__(self, port, user=None, password=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=15)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.socket.makefile("rb")
        if user:
            self.must("AUTH", user, password)

    def close(self):
        self.replies.close()
        self.socket.close()

    def must(self, *words):
        """Sends one command whose failure would be a mistake of the demo."""
        reply = self.ask(words)[0]
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def ask(self, *commands):
        """Sends a pipeline in one write, then reads a reply for each command."""
        self.socket.sendall(b"".join(encode(*command) for command in commands))
        return [self.read() for _ in commands]

    def look(self, *commands):
        """Reads at one moment: the commands in one MULTI .. EXEC."""
        return self.ask(("MULTI",), *commands, ("EXEC",))[-1]

    def read(self):
        line = self.replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection was closed")
        kind, text = line[:1], line[1:-2]
        if kind == b"+":
            return text.decode()
        if kind == b"-":
            return ReplyError(text.decode())
        if kind == b":":
            return int(text)
        length = int(text)
        if length < 0:
            return None
        if kind == b"$":
            return self.replies.read(length + 2)[:-2]
        return [self.read() for _ in range(length)]


def show(reply):
    """A reply as one would read it on a terminal."""
    if isinstance(reply, ReplyError):
        return f"-{reply}"
    if isinstance(reply, int):
        return f":{reply}"
    if isinstance(reply, list):
        return "[" + " ".join(show(each) for each in reply) + "]"
    if isinstance(reply, bytes):
        return reply.decode(errors="replace")
    return "nil" if reply is None else f"+{reply}"
