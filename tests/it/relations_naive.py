"""What is broken in a keyspace, found out the plain way: reads both as JSON from standard input, writes findings as JSON.

Patterns are read by regular expressions: a capture takes as little as it can, and a run likewise, or nothing.
"""

import json
import re
import sys


def compiled(pattern, bound=None):
    """The regular expression of a pattern, in which captures that are bound stand for their text."""
    parts = re.split(r"(\{\w+\})", pattern)
    seen = set()
    out = ""
    for part in parts:
        name = part[1:-1]
        if not (part.startswith("{") and part.endswith("}")):
            out += ".*?".join(re.escape(literal) for literal in part.split("*"))
        elif bound and name in bound:
            out += re.escape(bound[name])
        elif name in seen:
            out += f"(?P={name})"
        else:
            seen.add(name)
            out += f"(?P<{name}>.+?)"
    return re.compile(out, re.DOTALL)


def read(pattern, text, bound=None):
    """What the captures are bound to, or None."""
    found = compiled(pattern, bound).fullmatch(text)
    return None if found is None else {**(bound or {}), **found.groupdict()}


def build(pattern, bound):
    return re.sub(r"\{(\w+)\}", lambda capture: bound[capture.group(1)], pattern)


def elements(kind, held):
    if held is None:
        return []
    wanted = {"member": ("set", "zset"), "field": ("hash",), "item": ("list",), "value": ("string",)}[kind]
    return held["elements"] if held["type"] in wanted else []


def is_there(place, bound, space):
    words = place.split()
    if len(words) == 1:
        return build(place, bound) in space
    kind, element, _, key = words
    return build(element, bound) in elements(kind, space.get(build(key, bound)))


def sets(keys, space):
    """Every set that one of the keys is a part of, told once, by the first of its keys that is there."""
    found = set()
    for number, pattern in enumerate(keys):
        for key in space:
            bound = read(pattern, key)
            if bound is None:
                continue
            all_keys = [build(other, bound) for other in keys]
            if all(one in space for one in all_keys):
                continue
            earlier = False
            for before in range(number):
                again = read(keys[before], all_keys[before])
                same = again is not None and [build(other, again) for other in keys] == all_keys
                earlier = earlier or (same and all_keys[before] in space)
            if not earlier:
                found.add((key, None))
    return found


def lives_rightly(bound_by, own, other):
    """Whether two keys' lifetimes compare as they should; a key without one lives for ever."""
    own, other = (float("inf") if held["ttl"] is None else held["ttl"] for held in (own, other))
    return own >= other if bound_by == "at-least" else own <= other


def references(place, needs, ttl, space):
    found = set()
    words = place.split()
    kind, element, key_pattern = (words[0], None, words[1]) if words[0] == "key" else (words[0], words[1], words[3])
    for key, held in space.items():
        bound = read(key_pattern, key)
        if bound is None:
            continue
        for one in [None] if kind == "key" else elements(kind, held):
            whole = bound if one is None else read(element, one, bound)
            if whole is None:
                continue
            keys = [build(need.split()[-1], whole) for need in needs]
            if not all(is_there(need, whole, space) for need in needs):
                found.add((key, one))
            elif ttl and not all(lives_rightly(ttl, held, space[need]) for need in keys):
                found.add((key, one))
    return found


def main():
    told = json.load(sys.stdin)
    space = told["space"]
    answer = {}
    for relation in told["relations"]:
        if "keys" in relation:
            found = sets(relation["keys"], space)
        else:
            found = references(relation["from"], relation["needs"], relation.get("ttl"), space)
        answer[relation["name"]] = sorted([key, element] for key, element in found)
    json.dump(answer, sys.stdout)


main()
