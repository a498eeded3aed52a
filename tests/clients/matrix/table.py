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
    "sequential": "each call after the reply to the former, one caller",
    "sequential-many": "each call after the reply to the former, 20 callers on one connection",
}

HEAD = """# Clients

For developers: what respguard makes of a group of four commands (`SETEX`, `SADD`, `EXPIRE`, `SMEMBERS`, keys of their own each time), sent by
unmodified clients in the ways in which their users send it. `make clients` measures it and writes this file: every setting
but the group itself has its default (`hold_ms = 2`, `hold_max_ms = 20`), Redis, respguard and the client share one machine
over loopback, and rounds straight to Redis and through respguard alternate. Styles in which callers share a connection are measured with
`between = "carry"`, the default, and with `"pass"` ([atomicity.md](atomicity.md#commands-between-the-members)).

- **wrapped**: groups that ran as one transaction. **split**: groups that were seen to begin and went on unwrapped; each was
  reported as the violation `split`. A group in neither column was not recognised as one: its members came only after replies
  (`sequential` is reported once for a connection), or over several connections.
- **median**, **p99**: how long a group took through respguard, as a multiple of the same rounds straight to Redis.
- A client that is marked *replayed* is not the library itself but its documented bytes, written in its pieces, handshake
  included. Versions without a mark are the libraries.
"""

NOTES = """
## What to know about some of them

- A write of its own for each command arrives as fast as the client's process gets a core. Where a process waits for one longer
  than `hold_ms`, the beginning goes on alone: the shares of loose calls, and of node-redis and fred, which cut large pipelines
  in two, fall on a machine with too much to do. A larger `hold_ms` costs only those who send a beginning without its rest.
- Libraries that share a connection among many callers (StackExchange.Redis, Lettuce, redis-rs, node-redis) put commands of others between a
  group's members. With `between = "carry"`, the default, those ride in its transaction and wait with it; where callers do not rely on each
  other's order `"pass"` spares them that ([atomicity.md](atomicity.md#commands-between-the-members)).
- predis, Redis.pm and fred leave Nagle's algorithm on: the rest of their pipeline leaves only when its first part is
  acknowledged. respguard acknowledges at once what it holds (on Linux).
- redis-rs' calls at once of many tasks may overtake each other in the client's own queue; groups whose members change places
  are not the group that was declared, unless it has `order = "any"`.
- redis-py's `asyncio.gather` sends each call over a connection of its own. No proxy can bring them together, and each
  beginning waits for `hold_ms`; `pipeline(transaction=False)` is the cure.
"""

SCALE = """
Latencies are ratios because they hold from machine to machine better than times do; what was measured, in microseconds, is in
`clients.csv` beside this file, with the number of groups of each line.
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
    lines = ["| style | callers | `between` | groups | wrapped | least of any line |", "|---|---|---|---|---|---|"]
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
