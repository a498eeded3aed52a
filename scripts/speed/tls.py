"""TLS: what it costs to end that of clients, before a server that speaks it too and before one that does not."""

import shutil
import subprocess

from rates import CLIENTS, DEPTHS, close, play
from stage import Failed, await_reply, free_port, loopback, request
from ways import DIRECT, Way

#: To the client always TLS 1.3; to the server one or the other.
PLAIN, BOTH = "plain", "TLS"
#: The one suite that the load generator offers.
SUITE = "TLS_AES_128_GCM_SHA256"


def tls(run):
    """GET of 64 B over 50 connections of TLS 1.3 at each depth, the server's side plain and with TLS; direct, Redis ends the TLS."""
    if not shutil.which("openssl"):
        print("tls: there is no openssl to make certificates with")
        return
    files = Certificates(run.ways.stage.folder)
    server_port = serve_tls(run, files)
    direct = Way(DIRECT, server_port)
    for server in (PLAIN, BOTH):
        upstream = run.ways.redis_port if server == PLAIN else server_port
        starts = {"respguard": respguard, "haproxy": haproxy, "envoy": envoy}
        wanted = [name for name in starts if name == "respguard" or run.wishes.peers is None or name in run.wishes.peers]
        through = [way for way in (starts[name](run.ways, files, upstream, server == BOTH) for name in wanted) if way]
        all_ways = [direct, *through]
        for way in all_ways:
            run.load.ask("connect-tls", way.name, way.port, CLIENTS, files.authority)
        for depth in DEPTHS:
            play(run, "tls", f"{server}, depth {depth}", all_ways, f"get:{depth}")
        close(run, all_ways)
        run.ways.stop(*through)


class Certificates:
    """An authority's certificate, and that of `localhost` with its key."""

    def __init__(self, folder):
        self.authority, self.shown, self.key = (folder / name for name in ("authority.pem", "shown.pem", "key.pem"))
        self.both = folder / "shown-and-key.pem"
        authority_key, wanted, names = folder / "authority-key.pem", folder / "wanted.pem", folder / "names"
        names.write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=bench authority", "-keyout", authority_key, "-out", self.authority)
        openssl("req", *new_key, "-subj", "/CN=localhost", "-keyout", self.key, "-out", wanted)
        openssl("x509", "-req", "-in", wanted, "-CA", self.authority, "-CAkey", authority_key, "-CAcreateserial", "-days", "2",
                "-extfile", names, "-out", self.shown)
        self.both.write_text(self.shown.read_text() + self.key.read_text())


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"openssl {words[0]}: {done.stderr[-500:]}")


def serve_tls(run, files):
    """The private Redis takes TLS at a second port from now on."""
    port = free_port()
    settings = {"tls-cert-file": files.shown, "tls-key-file": files.key, "tls-ca-cert-file": files.authority, "tls-auth-clients": "no",
                "tls-ciphersuites": SUITE, "tls-port": port}
    with loopback(run.ways.redis_port) as wire:
        wire.sendall(request("CONFIG", "SET", *(word for pair in settings.items() for word in pair)))
        await_reply(wire, b"+OK\r\n")
    return port


def respguard(ways, files, upstream, with_tls):
    lines = f'listen.tls = {{ cert = "{files.shown}", key = "{files.key}" }}\n'
    if with_tls:
        lines += f'upstream.tls = {{ ca = "{files.authority}", server_name = "localhost" }}\n'
    return ways.respguard(listen=lines, upstream_port=upstream, is_up=accepts)


def haproxy(ways, files, upstream, with_tls):
    more = f" ssl verify required ca-file {files.authority} sni str(localhost) verifyhost localhost" if with_tls else ""
    return ways.haproxy(bind=f" ssl crt {files.both} ssl-min-ver TLSv1.3", server=more, upstream_port=upstream, is_up=accepts)


def envoy(ways, files, upstream, with_tls):
    to_client = CONTEXT.format(kind="Downstream", certificates=SHOWN.format(shown=files.shown, key=files.key), more="")
    vouched = VOUCHED.format(authority=files.authority)
    to_server = CONTEXT.format(kind="Upstream", certificates=vouched, more=", sni: localhost") if with_tls else ""
    return ways.envoy(listener=to_client, cluster=to_server, upstream_port=upstream, is_up=accepts)


def accepts(port):
    """Somebody listens there; what it speaks shows when the clients connect."""
    try:
        loopback(port, timeout=2).close()
        return True
    except OSError:
        return False


CONTEXT = (
    "transport_socket: {{name: envoy.transport_sockets.tls, typed_config: {{"
    '"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}TlsContext, '
    "common_tls_context: {{tls_params: {{tls_maximum_protocol_version: TLSv1_3}}, {certificates}}}{more}}}}}"
)
SHOWN = "tls_certificates: [{{certificate_chain: {{filename: {shown}}}, private_key: {{filename: {key}}}}}]"
VOUCHED = "validation_context: {{trusted_ca: {{filename: {authority}}}}}"
