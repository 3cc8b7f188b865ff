"""Rule files nobody means well with: two hundred of them, made here, each with the name of its trick."""

from __future__ import annotations

from collections.abc import Iterator

GOOD = """title: Good
id: 00000000-0000-4000-8000-00000000000a
logsource: {product: csirt, service: flow}
detection:
  s: {destination.port: 445}
  condition: s
"""
HEAD = "title: Bad\nid: 00000000-0000-4000-8000-00000000000b\nlogsource: {product: csirt, service: flow}\n"


# What is written over and over until a file has fifty megabytes.
LARGE = (b"a: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", b"\n", b"[", b"\0", GOOD.encode() + b"---\n")


def rule(selection: str, condition: str = "s") -> bytes:
    """A rule with that selection, in flow style."""
    return f"{HEAD}detection:\n  s: {selection}\n  condition: {condition}\n".encode("utf-8", "surrogatepass")


def files() -> Iterator[tuple[str, bytes]]:
    """(trick, content) of every file; the largest ones are `LARGE`."""
    yield from _nests()
    yield from _aliases()
    yield from _bytes()
    yield from _tags()
    yield from _expressions()
    yield from _wrong_types()
    yield from _conditions()
    yield from _values()


def _nests() -> Iterator[tuple[str, bytes]]:
    for count in (40, 333, 1_000, 20_000, 100_000, 200_000):
        yield f"nest of {count} lists", b"[" * count
        yield f"nest of {count} maps", b"{a: " * count
        yield f"nest of {count} closed lists", b"[" * count + b"]" * count
        yield f"nest of {count} in a rule", rule("[" * count + "]" * count)
        yield f"nest of {count} brackets in a condition", rule("{a: 1}", "(" * count + "s" + ")" * count)
        yield f"nest of {count} negations", rule("{a: 1}", "not " * count + "nothing")
    yield "nest by indentation", "\n".join(" " * depth + "a:" for depth in range(600)).encode()
    yield "nest by dashes", b"- " * 100_000
    yield "nest by question marks", b"? " * 50_000


def _aliases() -> Iterator[tuple[str, bytes]]:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
    )
    yield "billion laughs", bomb.encode()
    yield "billion laughs in a rule", (bomb + GOOD).encode()
    yield "an alias to itself", b"a: &a [*a]"
    yield "an alias that is nowhere", b"a: *b"
    yield "an anchor alone", rule("&x {a: 1}")
    yield "a merge key", b"a: &a {b: 1}\nc: {<<: *a}"
    yield "anchors by the thousand", b"".join(b"a%d: &a%d 1\n" % (n, n) for n in range(20_000))


def _bytes() -> Iterator[tuple[str, bytes]]:
    yield "two megabytes of one value", b"a: " + b"x" * (2 << 20)
    yield "two megabytes of nothing", b"\n" * (2 << 20)
    yield "a megabyte of keys", b"".join(b"k%d: 1\n" % n for n in range(90_000))
    yield "not UTF-8", b"title: \xff\xfe"
    yield "UTF-16", GOOD.encode("utf-16")
    for name, raw in (
        ("NUL", b"\0"),
        ("escape", b"\x1b[2J"),
        ("delete", b"\x7f"),
        ("bell", b"\x07"),
        ("C1", b"\xc2\x9b"),
    ):
        yield f"{name} in a title", GOOD.encode().replace(b"Good", b"Go" + raw + b"od")
        yield f"{name} alone", raw
    for name, raw in (
        ("tab", b"\ta: 1"),
        ("percent", b"%"),
        ("at", b"@a"),
        ("backtick", b"`a"),
        ("surrogate", b"\xed\xa0\x80"),
    ):
        yield f"{name} at the start", raw
    yield "a program", b"#!/bin/sh\nrm -rf /\n"
    yield "a pickle", b"\x80\x04\x95\x0b\x00\x00\x00"
    yield "JSON torn off", b'{"title": "x", "detection": {'
    yield "a quote without end", b"title: 'x\n" * 2
    yield "empty documents", b"---\n" * 30_000


def _tags() -> Iterator[tuple[str, bytes]]:
    for tag in (
        "!!python/object/apply:os.system ['true']",
        "!!python/name:os.system",
        "!!python/object/new:subprocess.Popen [['true']]",
        "!!python/module:os",
        "!!binary aGVsbG8=",
        "!!set {a}",
        "!!omap [a: 1]",
        "!include /etc/passwd",
        "!!timestamp 2001-99-99",
        "!!int x",
        "!!float x",
        "!custom {a: 1}",
    ):
        yield f"tag {tag.split()[0]}", f"title: {tag}\n".encode()
        yield f"tag {tag.split()[0]} in a selection", rule(f"{{a: {tag}}}")


def _expressions() -> Iterator[tuple[str, bytes]]:
    for pattern in (
        "(?=x)y",
        "(?<=x)y",
        "(?!x)y",
        "(?<!x)y",
        r"(a)\1",
        r"(?P<n>a)(?P=n)",
        "a{2000}",
        "((a{100}){100}){100}",
        "(x{999}){999}",
        "(" * 2_000 + "a" + ")" * 2_000,
        "(",
        "[z-a]",
        "*",
        "a**",
        "(?z)a",
        r"\p{Nonsense}",
        "(?>a+)b",
        "(?R)",
        "(?(1)a|b)",
        r"\X",
    ):
        yield f"expression {pattern[:24]}", rule("{a|re: '" + pattern + "'}")
    yield "expression of 100 kB", rule("{a|re: '" + "(a|b|[c-f]{1,500})" * 6_000 + "'}")
    yield "expression of unicode classes", rule("{a|re: '" + r"(\\pL{1,900}\\pN{1,900})" * 500 + "'}")


def _wrong_types() -> Iterator[tuple[str, bytes]]:
    for key in ("title", "id", "logsource", "detection", "level", "status", "tags", "date"):
        for value in ("[1, 2]", "{a: 1}", "2.5"):
            if (key, value) in (("tags", "[1, 2]"), ("title", "2.5"), ("detection", "{a: 1}")):
                continue
            lines = [line for line in GOOD.replace("id: 0", "id: 0").splitlines() if not line.startswith(f"{key}:")]
            if key == "detection":
                lines = lines[:3]
            yield f"{key} is {value}", "\n".join([*lines, f"{key}: {value}"]).encode()
    yield "no detection", HEAD.encode()
    yield "detection without a condition", (HEAD + "detection: {s: {a: 1}}\n").encode()
    yield "a list of nothing", b"[]"
    yield "a number", b"7"
    yield "a text", b"hello"
    for name in ("title", "detection", "logsource"):
        doubled = GOOD + f"{name}: {{}}\n"
        yield f"{name} twice", doubled.encode()
    yield "a field twice", rule("{a: 1, a: 2}")
    yield "a key that is a list", rule("{[a]: 1}")
    yield "a key that is a map", b"? {a: 1}\n: 2"


def _conditions() -> Iterator[tuple[str, bytes]]:
    for condition in (
        "s and t",
        "1 of t*",
        "all of",
        "of them",
        "s |",
        "s | count() > 5",
        "s and",
        "not",
        "()",
        "(s",
        "s)",
        "5 of them",
        "s near t",
        "''",
        "[]",
        "{a: 1}",
        "s; import os",
        "__import__('os')",
        "../../etc/passwd",
        "1 of",
        "all",
        "s not t",
        "not not",
        "s or or s",
        "1 s",
        "%s",
        "s AND",
        "*",
        "1 of *_",
        "s && t",
        "!s",
        "-1 of them",
    ):
        yield f"condition {condition}", rule("{a: 1}", condition)


def _values() -> Iterator[tuple[str, bytes]]:
    for value in (
        "{a|nope: 1}",
        "{a|contains|nope: x}",
        "{a|cidr: 10.0.0.0/99}",
        "{a|cidr: nothing}",
        "{a|cidr: [10.0.0.0/8, {x: 1}]}",
        "{a|gt: many}",
        "{a|lt: [a, b]}",
        "{a|gte: {x: 1}}",
        "{a|exists: maybe}",
        "{a|expand: '%../../etc/passwd%'}",
        "{a|re: 5}",
        "{a|base64offset: 'x*y'}",
        "{a|wide: [{x: 1}]}",
        "{a|hour: noon}",
        "{a|fieldref: [1, 2]}",
        "{a: {b: {c: 1}}}",
        "{'|contains|gt': x}",
        "[]",
        "null",
        "{}",
    ):
        yield f"selection {value}", rule(value)
