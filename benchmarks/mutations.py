"""Label files made wrong in the ways that files go wrong: damage, other tools, hostility; for fuzz_formats.py and a test."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

Mutation = Callable[[bytes, random.Random], bytes]

_NUMBER: Final = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORD: Final = re.compile(rb"[A-Za-z_][\w./\\-]*")
_NUMBERS: Final = (
    b"NaN",
    b"-NaN", b"Infinity", b"-Infinity", b"nan", b"inf", b"1e999", b"-1e308", b"1e300", b"99999999999999999999999", b"-1",
    b"0", b"-0.0", b"0.5", b"1e-320", b"9223372036854775807", b"-9223372036854775808", b"2147483648", b"1" * 5000, b"", b"null",
    b"true", b'""', b'"7"', b"[]", b"{}", b"0x10", b"1_000", b"\xd9\xa3", b"1,5",
)  # fmt: skip
_WORDS: Final = (
    b"../../../etc/passwd", b"/etc/passwd", b"..\\..\\x.png", b"C:\\x.png", b"\\\\host\\share\\x.png", b"file:///etc/passwd",
    b"", b"\x00",
    b"a" * 5000, b"\xff\xfe", b"\xe2\x80\xae", b"%s%n", b"{}", b"__class__", b"nan", b"..", b".", b"CON", b"\n", b"<a>",
    b"&amp;", b"&x;", b'"', b"'", b",", b"!!python/object/apply:os.system ['true']", b"*a", b"&a [*a]",
)  # fmt: skip
_VALUES: Final = (
    None, True,
    False, 0, -1, 1.5, 10**30, -(10**30), float("nan"), float("inf"), "", "x", "../x", "\0", "7", [], {}, [[]], [None],
    [1, 2], {"a": 1}, [1e308] * 4, "\ud800", ["x"] * 3, 2**63, [True] * 6,
)  # fmt: skip
_DEEP: Final = (b"[" * 50_000, b'{"a":' * 50_000, b"<a>" * 50_000, b"- " * 3000, b"(" * 5000)


def _place(content: bytes, rng: random.Random) -> int:
    return rng.randrange(len(content) + 1)


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 8, 40))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: _place(content, rng)]


def _without_slice(content: bytes, rng: random.Random) -> bytes:
    first = _place(content, rng)
    return content[:first] + content[first + rng.choice((1, 10, 100, 1000)) :]


def _twice(content: bytes, rng: random.Random) -> bytes:
    first = _place(content, rng)
    return content[:first] + content[first : first + rng.choice((1, 30, 400))] * rng.choice((2, 3, 50)) + content[first:]


def _other_number(content: bytes, rng: random.Random) -> bytes:
    return _replaced(content, _NUMBER, _NUMBERS, rng)


def _other_word(content: bytes, rng: random.Random) -> bytes:
    return _replaced(content, _WORD, _WORDS, rng)


def _replaced(content: bytes, pattern: re.Pattern[bytes], values: tuple[bytes, ...], rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 3))):
        found = pattern.search(content, _place(content, rng)) or pattern.search(content)
        if found is None:
            return _flip(content, rng)
        content = content[: found.start()] + rng.choice(values) + content[found.end() :]
    return content


def _exchanged_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b"\n".join(lines)


def _without_line(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    del lines[rng.randrange(len(lines))]
    return b"\n".join(lines)


def _without_cell(content: bytes, rng: random.Random) -> bytes:
    mark = rng.choice((b",", b" ", b";", b"=", b":", b'"', b">", b"\t"))
    parts = content.split(mark)
    del parts[rng.randrange(len(parts))]
    return mark.join(parts)


def _encoded(content: bytes, rng: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    encoding = rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp037", "latin-1"))
    return text.encode(encoding, "replace")


def _deep(content: bytes, rng: random.Random) -> bytes:
    first = _place(content, rng)
    return content[:first] + rng.choice(_DEEP) + content[first:]


def _tree(content: bytes, rng: random.Random) -> bytes:
    """Change one node of a JSON file: take it out, put something else there, or give it twice."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return _other_number(content, rng)
    for _ in range(rng.choice((1, 1, 2, 5))):
        node: Any = values
        # Down by chance; every level may be the one that is changed.
        while isinstance(node, dict | list) and node:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            key = keys[rng.randrange(len(keys))]
            below = node[key]
            if isinstance(below, dict | list) and below and rng.random() < 0.8:
                node = below
                continue
            action = rng.random()
            if action < 0.3:
                del node[key]
            elif action < 0.9 or isinstance(node, dict):
                node[key] = deepcopy(rng.choice(_VALUES))
            else:
                node.insert(key, deepcopy(below))
            break
    return json.dumps(values).encode("utf-8", "surrogatepass")


def _joined(content: bytes, rng: random.Random) -> bytes:
    return content + content if rng.random() < 0.5 else content[::-1]


MUTATIONS: Final[dict[str, Mutation]] = {
    "bytes flipped": _flip,
    "cut": _cut,
    "a slice missing": _without_slice,
    "a slice repeated": _twice,
    "other numbers": _other_number,
    "other words": _other_word,
    "lines exchanged": _exchanged_lines,
    "a line missing": _without_line,
    "a cell missing": _without_cell,
    "another encoding": _encoded,
    "nested too deep": _deep,
    "tree changed": _tree,
    "joined or reversed": _joined,
}
"""Every way by its name; each gives a changed copy of a file's bytes, the same for the same generator."""

# Trees, numbers and words go deepest into a reader; damage of bytes mostly ends at the parser.
_WEIGHTS: Final = {"tree changed": 6, "other numbers": 6, "other words": 4, "a cell missing": 3, "nested too deep": 0.2}


def mutate(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Change a file's bytes in one or two ways drawn by chance; gives them and the ways' names."""
    names = rng.choices(list(MUTATIONS), [_WEIGHTS.get(name, 1.0) for name in MUTATIONS], k=rng.choice((1, 1, 1, 2)))
    for name in names:
        content = MUTATIONS[name](content, rng)
    return content, " and ".join(names)
