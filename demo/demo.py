#!/usr/bin/env python3
"""Plays six stories straight to Redis and through respguard at each of its levels, and prints what came of them.

Ends with 1 where a story does not come out as the README says. With STAY=1 in the environment, Redis and respguard
are left running.
"""

import multiprocessing
import os
import sys
import textwrap
import time

import compression
import drift
import rest
from resp import Client, ReplyError, show
from stage import LEVELS, Missing, Stage
from stories import PASSWORD, STORIES, begins

WIDTH = 100
LABEL = 16
CELL = (WIDTH - LABEL) // 2 - 2
ROUNDS_MIN = 300
TORN_MIN = 10
STRAIGHT_SECONDS_MAX = 8.0
COLOURS = {"ok": "32", "torn": "31", "head": "1"} if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else {}
# What is shown of /metrics; the other families move with any traffic.
SHOWN = ("respguard_groups_total", "respguard_violations_total", "respguard_partial_failures_total")


def main():
    began = time.monotonic()
    try:
        stage = Stage()
    except Missing as missing:
        print(f"demo: {missing}", file=sys.stderr)
        return 1
    facts = Facts()
    try:
        introduce(stage)
        for place, story in enumerate(STORIES, 1):
            play(place, story, stage, facts)
        compression.show(stage, facts)
        play_rest(len(STORIES) + 1, stage, facts)
        play_drift(len(STORIES) + 2, stage, facts)
        conclude(stage, facts)
        print_table(facts.table)
    except BaseException:
        stage.end()
        raise
    if os.environ.get("STAY", "") not in ("", "0"):
        tell_how_to_stop(stage)
    else:
        facts.check("respguard ended in good order (exit code 0)", stage.end() == 0)
    return facts.sum_up(time.monotonic() - began)


class Facts:
    """What must be so. Each is said as it is checked."""

    def __init__(self):
        self.checked = 0
        self.wrong = []
        # Each story or case with what became of it: straight, and at each level.
        self.table = []

    def check(self, fact, is_so):
        self.checked += 1
        if not is_so:
            self.wrong.append(fact)
        said = textwrap.fill(fact, WIDTH, initial_indent="  ok      " if is_so else "  NOT SO  ", subsequent_indent=" " * 10)
        print(coloured("ok" if is_so else "torn", said[:10]) + said[10:])

    def sum_up(self, seconds):
        print()
        if self.wrong:
            print(f"{len(self.wrong)} of {self.checked} facts are not as the README says:")
            for fact in self.wrong:
                print(f"  {fact}")
            return 1
        print(f"All {self.checked} facts are as the README says ({seconds:.0f} s).")
        return 0


def coloured(what, text):
    """On a terminal only."""
    return f"\033[{COLOURS[what]}m{text}\033[0m" if COLOURS else text


def introduce(stage):
    print(f"Redis on port {stage.redis_port}; in front of it respguard on port {stage.proxy_port}, where every group is guarded,")
    others = [f"{stage.proxies[level].port} ({level})" for level in LEVELS[1:]]
    print(f"and on ports {' and '.join(others)} with the same rules otherwise. Dashboard and /metrics: http://127.0.0.1:{stage.admin_port}/")
    print("The client's code is the same on both sides. The reader always looks straight at Redis, at one moment")
    print("(MULTI, its reads, EXEC), again and again, while the writer sends one whole group after the other.")


def play(place, story, stage, facts):
    redis = Client(stage.redis_port)
    title(place, story.name, story.about, "STRAIGHT TO REDIS")
    play_healthy(story, stage, redis, facts)
    for failure in story.failures:
        play_failure(story, failure, stage, redis, facts)
    redis.close()


def title(place, name, about, left):
    print("\n" + "=" * WIDTH + "\n" + coloured("head", f"{place}. {name}") + "\n" + textwrap.fill(about, WIDTH, initial_indent="   ", subsequent_indent="   "))
    print("=" * WIDTH)
    if left:
        row("", left, "THROUGH RESPGUARD, GUARDED")


def play_rest(place, stage, facts):
    title(place, rest.NAME, rest.ABOUT, "THROUGH A GATEWAY")
    redis, gateway = Client(stage.redis_port), rest.Gateway(stage.redis_port)
    print("\n-- the index is of another type (the fourth command fails while it runs)")
    sides = {}
    for way, port in (("straight", gateway.port), *((level, stage.proxies[level].rest_port) for level in LEVELS)):
        rest.prepare(redis)
        before = stage.metrics()
        sides[way] = (rest.shown(rest.ask(port)), *rest.left(redis), differences(before, stage.metrics()))
    (unguarded, unguarded_left, _, _), (proxied, proxied_left, _, moved) = sides["straight"], sides["guarded"]
    for command, *replies in zip(rest.COMMANDS, shortened(unguarded), shortened(proxied)):
        row(command[0], *replies)
    row("left in Redis", unguarded_left, proxied_left)
    print_metrics(moved)
    print_other_levels(sides)
    torn = {way: side[2] for way, side in sides.items()}
    facts.table.append(("post over HTTP: the index has another type", torn))
    facts.check("through the gateway five of six run", all_begin(unguarded, [":2", ":1", ":1", "-WRONGTYPE", ":1", ":1"]))
    refused = ["-EXECABORT"] * 3 + ["-WRONGTYPE"] + ["-EXECABORT"] * 2
    facts.check(f"guarded and with rollback, the client reads {' '.join(refused)}", all(all_begin(sides[level][0], refused) for level in ("guarded", "rollback")))
    wanted = {"straight": True, "guarded": False, "transaction": True, "rollback": False}
    facts.check("through the gateway and a transaction the data drift apart, guarded and with rollback they do not", torn == wanted)
    facts.check("the metrics name it", moved.get(f'respguard_groups_total{{group="{rest.GROUP}",outcome="refused"}}') == 1)
    rest.prepare(redis, index_is_good=True)
    facts.check("with a good index all six run as one", rest.ask(stage.rest_port) == rest.ALL_WELL)
    gateway.end()
    redis.close()


def play_drift(place, stage, facts):
    title(place, drift.NAME, drift.ABOUT, None)
    redis = Client(stage.redis_port)
    drift.prepare(redis, stage.proxy_port)
    code, said = show_command(stage, "audit")
    facts.check("what went through respguard is whole (exit code 0)", code == 0 and not any(broken in said for broken in drift.BROKEN))
    print("\n-- straight to Redis")
    for command, why in drift.STRAIGHT:
        print(f"  {' '.join(command):<40}{why}")
    drift.drift(redis)
    before = drift.state(redis)
    code, said = show_command(stage, "audit")
    orphans = sum(value for name, value in stage.metrics().items() if name.startswith("respguard_relation_orphans"))
    facts.check("exactly these three are found (exit code 1), and the metrics count them",
                (code, said.count(": without "), orphans) == (1, 3, 3) and all(broken in said for broken in drift.BROKEN))
    code, said = show_command(stage, "repair")
    facts.check("without --apply a repair only says what it would do", (code, said.count("would ")) == (1, 3) and drift.state(redis) == before)
    code, said = show_command(stage, "repair", "--apply")
    run = drift.run_id(said) if code == 0 else ""
    facts.check("with it, the three are removed and nothing else", redis.must("EXISTS", "blobs:7", "info:99") == 0
                and redis.must("SCARD", drift.TOUCHED[2]) == drift.BLOBS - 1 and redis.must("DBSIZE") == 3 * drift.BLOBS - 2)
    code, _ = drift.told(stage, "audit")
    facts.check("the next audit finds nothing (exit code 0)", code == 0)
    code, _ = show_command(stage, "repair", "--undo-run", run)
    facts.check("and the repair can be taken back: all is as it was, with its lifetime", code == 0 and drift.state(redis) == before)
    redis.close()


def show_command(stage, *words):
    print(f"\n$ respguard {' '.join(words)} --config demo/config.toml")
    code, said = drift.told(stage, *words)
    print(textwrap.indent(said.rstrip(), "  "))
    return code, said


def play_healthy(story, stage, redis, facts):
    print("\n-- every member is fine")
    redis.must("FLUSHALL")
    straight = race(story, stage, stage.redis_port, rounds=None)
    races, moved, torn = {}, {}, {"straight": straight.torn > 0}
    for level, proxy in stage.proxies.items():
        redis.must("FLUSHALL")
        before = stage.metrics(proxy.admin_port)
        races[level] = race(story, stage, proxy.port, rounds=straight.rounds)
        moved[level] = differences(before, stage.metrics(proxy.admin_port))
        torn[level] = races[level].torn > 0
    guarded = races["guarded"]
    row("groups written", straight.rounds * story.groups, guarded.rounds * story.groups)
    row("reader looked", f"{straight.looks} times", f"{guarded.looks} times")
    row("and saw it torn", f"{straight.torn} times", f"{guarded.torn} times")
    print_metrics(moved["guarded"])
    for level in LEVELS[1:]:
        print(f"with {level:<11}  the reader looked {races[level].looks} times, and saw it torn {races[level].torn} times")
    facts.table.append((f"{story.name.lower()}: every member fine, readers look on", torn))
    facts.check("straight, readers see torn groups", straight.torn > 0)
    facts.check("through respguard, at each level, no reader sees a torn group", all(each.torn == 0 and each.looks >= 100 for each in races.values()))
    applied = f'respguard_groups_total{{group="{story.group}",outcome="applied"}}'
    facts.check(f"{applied} has counted each", all(each == {applied: guarded.rounds * story.groups} for each in moved.values()))


class Race:
    """One writer of whole groups against one reader."""

    def __init__(self, rounds, looks, torn):
        self.rounds, self.looks, self.torn = rounds, looks, torn


def race(story, stage, port, rounds):
    """Writes `rounds` groups to `port`; without a number, until the reader has seen enough or time is up."""
    forked = multiprocessing.get_context("fork")
    looks, torn, stop = forked.Value("Q", 0, lock=False), forked.Value("Q", 0, lock=False), forked.Value("b", 0, lock=False)
    reader = forked.Process(target=read_on, args=(story, stage.redis_port, looks, torn, stop), daemon=True)
    reader.start()
    writer, ground = Client(port), Client(stage.redis_port)
    try:
        while looks.value == 0 and reader.is_alive():
            time.sleep(0.001)
        end = time.monotonic() + STRAIGHT_SECONDS_MAX
        done = 0
        while done < rounds if rounds else done < ROUNDS_MIN or (torn.value < TORN_MIN and time.monotonic() < end):
            done += 1
            for reply in writer.ask(*story.commands(done)):
                if isinstance(reply, ReplyError):
                    raise reply
            if undo := story.between(done):
                ground.look(*undo)
    finally:
        stop.value = 1
        reader.join(10)
        writer.close()
        ground.close()
    if reader.exitcode != 0:
        raise RuntimeError("the reader has failed")
    return Race(done, looks.value, torn.value)


def read_on(story, port, looks, torn, stop):
    """The reader, in a process of its own."""
    redis = Client(port)
    while not stop.value:
        torn.value += story.is_torn(redis.look(*story.look))
        looks.value += 1


def play_failure(story, failure, stage, redis, facts):
    print(f"\n-- {failure.title}")
    sides = {}
    for way, port in (("straight", stage.redis_port), *((level, stage.proxies[level].port) for level in LEVELS)):
        redis.must("FLUSHALL")
        failure.prepare(redis)
        before = stage.metrics()
        client = Client(port, failure.user, PASSWORD if failure.user else None)
        replies = [show(reply) for reply in client.ask(*failure.commands)]
        client.close()
        moved = wait_for_metrics(stage, before, failure) if way == "guarded" else {}
        sides[way] = (replies, *failure.left(redis), moved)
    (straight, straight_left, _, _), (guarded, guarded_left, _, moved) = sides["straight"], sides["guarded"]
    for command, *replies in zip(failure.commands, shortened(straight), shortened(guarded)):
        row(command[0], *replies)
    row("left in Redis", straight_left, guarded_left)
    print_metrics(moved)
    print_other_levels(sides)
    if failure.plainly:
        print(textwrap.fill(failure.plainly, WIDTH, initial_indent="  ", subsequent_indent="  "))
    torn = {way: side[2] for way, side in sides.items()}
    facts.table.append((f"{story.name.lower()}: {failure.title.split(' (')[0]}", torn))
    facts.check(f"straight, the client reads {' '.join(failure.straight)}", all_begin(straight, failure.straight))
    facts.check(f"guarded and with rollback, it reads {' '.join(failure.guarded)}", all(all_begin(sides[level][0], failure.guarded) for level in ("guarded", "rollback")))
    in_transaction = failure.transaction or failure.guarded
    facts.check(f"in a transaction, it reads {' '.join(in_transaction)}", all_begin(sides["transaction"][0], in_transaction))
    still = " and ".join(failure.torn) or "at no level"
    facts.check(f"straight it stays torn; so it does through respguard: {still}", torn == {"straight": True} | {level: level in failure.torn for level in LEVELS})
    facts.check("the metrics name it", all(moved.get(name) == by for name, by in failure.metrics.items()))


def print_other_levels(sides):
    """What the levels beside `guarded` made of it, each in a line: the first words of the replies, and what is left."""
    for level in LEVELS[1:]:
        replies, left, *_ = sides[level]
        words = [reply.split(" ")[0] if reply.startswith("-") else reply for reply in replies]
        print(textwrap.fill(f"{' '.join(words)}; left: {left}", WIDTH, initial_indent=f"with {level:<11}  ", subsequent_indent=" " * 18))


def wait_for_metrics(stage, before, failure):
    """What has moved, as soon as all that is expected has, or when patience ends."""
    end = time.monotonic() + failure.patience
    while True:
        moved = differences(before, stage.metrics())
        if all(name in moved for name in failure.metrics) or time.monotonic() > end:
            return moved
        time.sleep(0.05)


def shortened(replies):
    """Long texts that repeat the reply before them are not printed again."""
    befores = [None, *replies]
    return ["the same" if reply == before and len(reply) > CELL else reply for before, reply in zip(befores, replies)]


def all_begin(replies, words):
    return len(replies) == len(words) and all(map(begins, replies, words))


def differences(before, after):
    shown = (name for name in after if name.split("{")[0] in SHOWN)
    return {name: int(after[name] - before.get(name, 0)) for name in shown if after[name] != before.get(name, 0)}


def row(label, left, right):
    cells = [textwrap.wrap(str(cell), CELL) or [""] for cell in (left, right)]
    for line in range(max(map(len, cells))):
        one, two = (cell[line] if line < len(cell) else "" for cell in cells)
        print(f"{label if line == 0 else '':<{LABEL}}  {one:<{CELL}}  {two}".rstrip())


def print_metrics(moved):
    for place, (name, by) in enumerate(sorted(moved.items())):
        print(f"{'metrics moved' if place == 0 else '':<{LABEL}}  {name}  +{by}")


def print_table(table):
    """What became of each, in words that say whether the data is whole."""
    ways = ("straight", "transaction", "guarded", "rollback")
    label = max(len(name) for name, _ in table)
    print("\n" + "=" * WIDTH)
    print(coloured("head", f"{'':<{label}}  " + "".join(f"{way:<13}" for way in ways)).rstrip())
    for name, torn in table:
        cells = [coloured("torn", f"{'torn':<13}") if torn[way] else coloured("ok", f"{'whole':<13}") for way in ways]
        print(f"{name:<{label}}  {''.join(cells)}".rstrip())


def conclude(stage, facts):
    print("\n" + "=" * WIDTH)
    events = [event for event in stage.log() if event.get("target") == "respguard::violation"]
    if events:
        print("One of respguard's log lines (JSON; --log-format text is there too):")
        line = " ".join(f"{name}={value}" for name, value in events[0].items())
        print(textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="  "))
    counted = sum(value for name, value in stage.metrics().items() if name.startswith("respguard_violations_total"))
    facts.check(f"each of the {counted:.0f} violations is in the log", counted == len(events) > 0)
    facts.check("no reply was ever out of place", stage.metrics().get("respguard_out_of_sync_total", 0) == 0)


def tell_how_to_stop(stage):
    print(f"\nLeft running, with files in {stage.folder}:")
    print(f"  http://127.0.0.1:{stage.admin_port}/                   its dashboard")
    print(f"  redis-cli -p {stage.proxy_port}                          through respguard, every group guarded")
    for level in LEVELS[1:]:
        print(f"  redis-cli -p {stage.proxies[level].port}                          the same with {level}")
    print(f"  redis-cli -p {stage.redis_port}                          straight to Redis")
    print(f"  curl -s http://127.0.0.1:{stage.admin_port}/metrics      what respguard counts")
    print(f"  tail -f {stage.folder}/respguard.log")
    print(f"Stop all: kill {' '.join(str(process.pid) for process in reversed(stage.processes))}")


if __name__ == "__main__":
    sys.exit(main())
