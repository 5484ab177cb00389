"""The one reader of YAML: safe, every key once, and bounded in size, depth, digits and what aliases repeat.

A document is looked at as a stream of events first, which takes no recursion and repeats nothing: what would
not end, or not fit, is refused before an object is made of it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from wsis.errors import WsisError

LARGEST = 4_000_000  # bytes of a document
DEEPEST = 40  # lists and mappings in one another
MOST = 200_000  # nodes, those that aliases repeat counted each time
DIGITS = 100  # of a number


class DeclarationError(WsisError):
    """A declaration that can't be loaded: the file, the line or the key, and what was expected."""


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe loader that refuses a key given twice, which YAML silently accepts, and endless numbers."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        try:
            twice = sorted(str(key) for key, times in Counter(keys).items() if times > 1)
        except TypeError:  # a list or a mapping as a key: refused below
            twice = []
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"key given twice: {', '.join(twice)}", node.start_mark
            )
        return super().construct_mapping(node, deep)

    def number(self, node: yaml.ScalarNode) -> int | float:
        """A number of up to DIGITS digits."""
        if len(node.value) > DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of {len(node.value)} digits", node.start_mark
            )
        whole = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


for kind in ("int", "float"):
    Loader.add_constructor(f"tag:yaml.org,2002:{kind}", Loader.number)


def read_yaml(path: Path, loader: type[Loader] = Loader) -> Any:
    """The content of a YAML file in UTF-8. Raises DeclarationError naming the file and the line."""
    try:
        if path.exists() and not path.is_file():
            raise DeclarationError(f"{path}: not a file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise DeclarationError(f"{path}: larger than {LARGEST:,} bytes")
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise DeclarationError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise DeclarationError(f"{path}: not UTF-8: byte {error.start} ({error.reason})") from None
    except (OSError, ValueError) as error:
        raise DeclarationError(f"{path}: can't be read: {error}") from None
    return document(text, f"{path}: not valid YAML", loader)


def document(text: str, said: str, loader: type[Loader] = Loader) -> Any:
    """The YAML value of `text`. Raises DeclarationError, which begins with `said`, where there is none."""
    try:
        _bounded(text, loader)
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise DeclarationError(f"{said}: {place}{reason}") from None
    except (ValueError, OverflowError) as error:  # a date with a month 13
        raise DeclarationError(f"{said}: {error}") from None


def _bounded(text: str, loader: type[Loader]) -> None:
    """Raise ValueError for a document that is too large, too deep, or contains itself."""
    if len(text) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} characters")
    made: dict[str, tuple[int, int]] = {}  # anchor -> nodes in it and its height
    open_: list[tuple[str | None, int]] = []  # anchor of each list or mapping, nodes before it
    deepest = [0]  # below each of these, and below the document
    nodes = 0
    for event in yaml.parse(text, Loader=loader):
        height = 0
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(open_) == DEEPEST:
                raise ValueError(_at(event, f"more than {DEEPEST} lists and mappings in one another"))
            open_.append((anchor, nodes))
            deepest.append(0)
            nodes += 1
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            height = deepest.pop() + 1
            inside = nodes - before
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == name for name, _ in open_):
                raise ValueError(_at(event, f"an anchor that contains itself: {anchor}"))
            inside, height = made.get(anchor, (1, 0))  # the loader refuses one that there isn't
            nodes += inside
        elif isinstance(event, yaml.ScalarEvent):
            inside = 1
            nodes += 1
        else:
            continue
        if anchor:
            made[anchor] = inside, height
        deepest[-1] = max(deepest[-1], height)
        if len(open_) + height > DEEPEST:
            raise ValueError(_at(event, f"more than {DEEPEST} lists and mappings in one another"))
        if nodes > MOST:
            raise ValueError(_at(event, f"more than {MOST:,} keys and values, with what aliases repeat"))


def check_bounds(value: Any, said: str) -> None:
    """Raise DeclarationError for what somebody else's reader made of a document that has no bounds."""
    nodes, waiting = 0, [(value, 0)]
    while waiting:
        each, depth = waiting.pop()
        nodes += 1
        if depth > DEEPEST or nodes > MOST:
            raise DeclarationError(f"{said}: more than {DEEPEST} lists in one another, or {MOST:,} values")
        if isinstance(each, dict):
            waiting += [(inner, depth + 1) for pair in each.items() for inner in pair]
        elif isinstance(each, list):
            waiting += [(inner, depth + 1) for inner in each]


def _at(event: yaml.Event, text: str) -> str:
    return f"line {event.start_mark.line + 1}: {text}"
