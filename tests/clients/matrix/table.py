"""The document of the matrix: rows from their CSV to Markdown, always the same from the same rows."""

import csv
import statistics

from clients import ROOT
from play import BETWEEN, CALLERS, SIZES, Row

DOCUMENT = ROOT / "docs" / "clients.md"
ROWS = ROOT / "docs" / "clients.csv"

STYLES = {
    "pipeline": "explicit pipeline, one caller",
    "building": "explicit pipeline, flushed by its buffer while the application still adds to it",
    "pipelines": "explicit pipelines of 20 callers",
    "loose": "four calls at once (`Promise.all`, `join!`, `WhenAll`), one caller",
    "loose-many": "four calls at once, 20 callers",
    "auto": "four calls at once with auto-pipelining, 20 callers",
    "gather": "`asyncio.gather` of four calls, one caller",
    "sequential": "each call after the reply to the previous one, one caller",
    "sequential-many": "each call after the reply to the previous one, 20 callers on one connection",
}

HEAD = """# Clients

For developers: how well respguard recognises a group of four commands, by client library and style of sending.

The group is `SETEX`, `SADD`, `EXPIRE`, `SMEMBERS`, with new keys each time. Unmodified clients send it in the ways in which
applications use them. `make clients` takes the measurements and writes this file. All settings but the group itself have their
defaults (`hold_ms = 2`, `hold_max_ms = 20`). Redis, respguard and the client share one machine over loopback, and rounds straight to
Redis alternate with rounds through respguard. Styles in which callers share a connection are measured with
`between = "carry"`, the default, and with `"pass"` ([atomicity.md](atomicity.md#commands-between-the-members)).

- **wrapped**: groups that ran as one transaction. **split**: groups whose beginning was recognised but that were sent unwrapped; each was
  reported as the violation `split`. Groups in neither column were not recognised: their members came one after each reply
  (`sequential` is reported once per connection), or over several connections.
- **median**, **p99**: how long a group took through respguard, as a multiple of the same rounds straight to Redis.
- For a client marked *replayed*, the library itself did not run: its documented bytes, handshake included, were written in the same
  pieces. All others are the libraries themselves.
"""

NOTES = """
## Notes

- When a client writes each command separately, the gap between two writes depends on how soon its process gets a core. If it waits
  longer than `hold_ms`, the beginning of the group is sent alone. On an overloaded machine, the shares therefore fall for calls at once,
  and for node-redis and fred, which cut large pipelines in two. A larger `hold_ms` only costs clients that send a beginning without its
  rest.
- Libraries that share a connection among many callers (StackExchange.Redis, Lettuce, redis-rs, node-redis) interleave other commands with
  a group's members. With `between = "carry"`, the default, these commands join the group's transaction and wait with it. If the callers
  do not rely on each other's order, `"pass"` avoids that wait ([atomicity.md](atomicity.md#commands-between-the-members)).
- predis, Redis.pm and fred leave Nagle's algorithm on: the rest of their pipeline is sent only when its first part has been
  acknowledged. respguard acknowledges held data at once (on Linux).
- With redis-rs, calls of many tasks may overtake each other in the client's own queue. A group whose members arrive in another order
  is not the declared group, unless it has `order = "any"`.
- redis-py's `asyncio.gather` sends each call over a separate connection. No proxy can join them, and each
  beginning waits for `hold_ms`; use `pipeline(transaction=False)` instead.
"""

SCALE = """
Latencies are given as ratios because these vary less between machines than times do. `clients.csv`, beside this file, has the measured
times in microseconds and the number of groups of each row.
"""


def load():
    with ROWS.open(newline="") as file:
        kinds = Row.__annotations__
        return [Row(**{name: kinds[name](value) for name, value in line.items()}) for line in csv.DictReader(file)]


def save(rows):
    """Puts the rows in the place of former ones of the same clients, styles and sizes."""
    place = {(row.client, row.version, row.style, row.bytes, row.between): row for row in (load() if ROWS.exists() else []) + rows}
    rows = list(place.values())
    with ROWS.open("w", newline="") as file:
        out = csv.DictWriter(file, fieldnames=list(Row.__annotations__), lineterminator="\n")
        out.writeheader()
        out.writerows(row.cells() for row in rows)


def render(rows):
    """The whole document."""
    parts = [HEAD, summary(rows)]
    for style, meaning in STYLES.items():
        for between, own in by_between(rows, style).items():
            also = f", `between = \"{between}\"`" if len(by_between(rows, style)) > 1 else ""
            parts.append(f"## {meaning[0].upper()}{meaning[1:]}{also}\n\n{table(own)}")
    return "\n".join(parts) + NOTES + SCALE.format(load=load_of(rows))


def by_between(rows, style):
    """The rows of a style, apart where its callers share a connection; elsewhere nobody's commands come between a group's."""
    own = {between: [row for row in rows if (row.style, row.between) == (style, between)] for between in BETWEEN}
    own = {between: lines for between, lines in own.items() if lines}
    return own if CALLERS[style] > 1 else dict(list(own.items())[:1])


def goals(rows):
    """How each style of 20 callers stands to its goal: 97 % wrapped in the mean, and no line worse than with `pass`."""
    said = []
    passed = {(row.client, row.version, row.style, row.bytes): row for row in rows if row.between == "pass"}
    for style in (style for style in STYLES if CALLERS[style] > 1):
        if own := [row for row in rows if (row.style, row.between) == (style, BETWEEN[0])]:
            mean = statistics.mean(row.wrapped / row.groups for row in own)
            said.append(f"{style}: {share(mean)} wrapped as the mean of {len(own)} lines")
        for row in own:
            other = passed.get((row.client, row.version, row.style, row.bytes))
            if other and row.wrapped / row.groups < other.wrapped / other.groups - 0.005:
                said.append(f"  {row.client} {row.version}, {row.bytes} B: {share(row.wrapped / row.groups)}, with pass "
                            f"{share(other.wrapped / other.groups)}")
    return said


def load_of(rows):
    return f"{statistics.median(row.load_per_core for row in rows if row.load_per_core):.1f}"


def summary(rows):
    """The least share of each style over all clients and sizes."""
    lines = ["| style | callers | `between` | groups | wrapped | lowest of any row |", "|---|---|---|---|---|---|"]
    for style, meaning in STYLES.items():
        for between, own in by_between(rows, style).items():
            sent, wrapped = sum(row.groups for row in own), sum(row.wrapped for row in own)
            least = min(row.wrapped / row.groups for row in own)
            said = f"`{between}`" if CALLERS[style] > 1 else ""
            lines.append(f"| {meaning} | {CALLERS[style]} | {said} | {sent} | {share(wrapped / sent)} | {share(least)} |")
    return "\n".join(lines) + "\n"


def table(rows):
    """One line for each client, one column for each size."""
    head = [f"{size} B" if size < 1000 else f"{size // 1000} KB" for size in SIZES]
    lines = [
        "| client | version | " + " | ".join(f"wrapped, {size}" for size in head) + " | split | median | p99 |",
        "|---" * (5 + len(head)) + "|",
    ]
    for client, version in dict.fromkeys((row.client, row.version) for row in rows):
        own = {row.bytes: row for row in rows if (row.client, row.version) == (client, version)}
        wrapped = [share(own[size].wrapped / own[size].groups) if size in own else "" for size in SIZES]
        each = [own[size] for size in SIZES if size in own]
        split = " / ".join(share(row.split / row.groups) for row in each)
        median = " / ".join(ratio(row.median_us, row.direct_median_us) for row in each)
        p99 = " / ".join(ratio(row.p99_us, row.direct_p99_us) for row in each)
        lines.append(f"| {client} | {version} | " + " | ".join(wrapped) + f" | {split} | {median} | {p99} |")
    return "\n".join(lines) + "\n"


def share(part):
    """Never rounded up to all, nor down to none."""
    percent = f"{part * 100:.1f}"
    if part < 1 and percent == "100.0":
        percent = f"{part * 100:.2f}" if f"{part * 100:.2f}" != "100.00" else "> 99.99"
    if part > 0 and percent == "0.0":
        percent = "< 0.1"
    return percent.removesuffix(".0") + " %"


def ratio(through, direct):
    return f"{through / direct:.2f}"
