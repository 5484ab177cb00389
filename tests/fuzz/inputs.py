"""Bad inputs: any value, a good tree that is spoilt in one place, and documents that are hostile as text."""

from __future__ import annotations

import copy
import json
from typing import Any

import yaml
from hypothesis import strategies as st

from wsis.configuration import schema
from wsis.declare.recipe import Recipe

TEXTS = [
    "", " ", "../../x", "/etc/passwd", "~nobody/x", "a\0b", "x" * 5000, "1e5", "1e-4", "{", "null", "é 漢字",
    "$(touch pwned)", "a\nb", "'\"`", ".".join("a" * 300), "\u202eb", "nan", "-1", "0x10", "boxinst", "coco",
]  # fmt: skip
texts = st.sampled_from(TEXTS) | st.text(max_size=8)
numbers = (
    st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, 10**400, 1e308, -1e308, 5e-324, 0.5]) | st.integers()
)
numbers |= st.floats()
leaves = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def deep(depth: int) -> list[Any]:
    tree: list[Any] = []
    for _ in range(depth):
        tree = [tree]
    return tree


hostile = values | st.integers(30, 300).map(deep)


def places(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to each value inside of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [each for key, value in items for each in ((*above, key), *places(value, (*above, key)))]


@st.composite
def spoilt(draw: st.DrawFn, good: Any) -> tuple[Any, str]:
    """A copy of a good tree that is changed in one place, and what was done."""
    tree = copy.deepcopy(good)
    *path, key = draw(st.sampled_from(places(tree)))
    part = tree
    for name in path:
        part = part[name]
    how = draw(st.sampled_from(["replace", "replace", "replace", "delete", "add", "twice"]))
    if how == "delete":
        del part[key]
    elif how == "add" and isinstance(part, dict):
        key = draw(texts)
        part[key] = draw(hostile)
    elif how == "twice" and isinstance(part, list):
        part.append(part[key])
    else:
        how, part[key] = "replace", draw(hostile)
    return tree, f"{how} {'.'.join(map(str, (*path, key)))}"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dumped(tree: Any) -> bytes:
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True).encode("utf-8", "replace")


def lines(levels: int, width: int) -> bytes:
    """Aliases of aliases: width ** levels nodes."""
    rows = ["a0: &a0 [x]"]
    rows += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(rows).encode()


documents = st.one_of(
    st.builds(lines, st.integers(2, 12), st.integers(2, 9)),
    st.integers(41, 100_000).map(lambda n: b"a: " + b"[" * n),
    st.integers(41, 5_000).map(lambda n: b"a: " + b"[" * n + b"]" * n),
    st.integers(101, 20_000).map(lambda n: b"a: " + b"9" * n),
    st.integers(101, 20_000).map(lambda n: b"a: 0x" + b"f" * n),
    st.integers(101, 9_000).map(lambda n: b"a: " + b"1:" * n + b"1"),
    st.text(max_size=30).map(lambda text: text.encode("utf-16")),
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"", b"hello", b"- a", b"a: &a [*a]", b"&a {b: *a}", b"a: 1\na: 2", b"a: 1\n---\nb: 2",
            b"? [1, 2]\n: 3",
            b"a: 2021-13-45", b"a: 2021-06-19", b"a: !!binary x", b"a: !!python/name:os.system", b"a: \x00",
            b"a: !!set {b, c}", b"a: !!omap [b: c]", b"x: &x {a: 1}\n<<: *x", b"=: 1", b"a: !!float x",
            b"%YAML 9.9",
            b"!!python/object/apply:os.system ['touch pwned']", b"a: *b", b"\xef\xbb\xbfa: 1", b"a: !!int x",
            b"a:\tb",
        ]
    ),
)  # fmt: skip


@st.composite
def cut(draw: st.DrawFn, good: bytes) -> bytes:
    """A file that is cut, or some bytes of which are others."""
    start = draw(st.integers(0, len(good)))
    if draw(st.booleans()):
        return good[:start]
    return good[:start] + draw(st.binary(max_size=4)) + good[start + draw(st.integers(0, 4)) :]


def keys_of_recipes() -> list[str]:
    """Dotted keys that a recipe has, as its schema says."""
    tree = Recipe.model_json_schema()

    def below(part: dict[str, Any]) -> list[str]:
        part = tree["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        inner = [key for each in part.get("anyOf", ()) for key in below(each)]
        for name, each in part.get("properties", {}).items():
            inner += [name, *(f"{name}.{key}" for key in below(each))]
        return inner

    return sorted(set(below(tree)))


settings = st.dictionaries(st.sampled_from(keys_of_recipes()) | texts, hostile, min_size=1, max_size=2)
configurations = st.dictionaries(st.sampled_from(sorted(schema())) | texts, hostile | settings, max_size=2)
configurations |= settings.map(lambda given: {"set": given})


def as_json(tree: Any) -> bytes:
    """JSON with what Python's own writer leaves out or refuses: NaN, and numbers of any length."""
    return json.dumps(tree).encode()
