"""YAML with its lines: texts, lists and names alone, read from events so that nothing is built that was not said.

No anchors, which let a kilobyte stand for gigabytes, no tags, which call Python, and one document. A text without
quotes keeps the letters it was written with: what YAML 1.1 makes of `no`, `010` or `16:9` the reader may refuse.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from farm.formats.badline import BadLine

MOST_BYTES = 4 * 2**20
_DEEPEST = 20

# The parser of libyaml is ten times as fast, and not everywhere.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What begins an entry of a list, or a name with its value.
_ENTRY = re.compile(r"\s*(?:-\s|[\w-][\w -]{0,40}:(?:\s|$))")
_RESOLVER: Any = yaml.resolver.Resolver()


class BadYaml(BadLine):
    """Text that is no YAML, or YAML that is not read, and where."""


@dataclass(frozen=True)
class Node:
    """What stands in one place: a text, a list, or named values in their order; `line` is counted from 1.

    `kind` is what YAML takes a text without quotes for: str, bool, int, float, null, timestamp.
    """

    line: int
    value: "str | list[Node] | dict[str, Node]"
    kind: str = "str"


def read_yaml(text: str) -> Node | None:
    """The one document of a text; None where it says nothing. Raises BadYaml."""
    try:
        return _Reader(text).document()
    except yaml.MarkedYAMLError as error:
        line = _line_of(error.problem_mark or error.context_mark)
        raise BadYaml(line, f"is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise BadYaml(line, f"is not YAML: {str(error).splitlines()[0]}") from None


def _line_of(mark: Any) -> int:
    return mark.line + 1 if mark else 1


class _Reader:
    """Builds nodes from the events of a text."""

    def __init__(self, text: str) -> None:
        self._events = iter(yaml.parse(text, Loader=_LOADER))
        self._lines = text.split("\n")

    def document(self) -> Node | None:
        found: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise BadYaml(_line_of(event.start_mark), "begins a second document; one is read")
            elif isinstance(event, yaml.NodeEvent):
                found = self._node(event, 1)
        return found

    def _node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        _check(event, line, depth)
        if isinstance(event, yaml.ScalarEvent):
            self._refuse_swallowed(event)
            return Node(line, event.value, _kind(event))
        if isinstance(event, yaml.SequenceStartEvent):
            items = self._until(yaml.SequenceEndEvent)
            return Node(line, [self._node(item, depth + 1) for item in items], "list")
        return Node(line, self._names(depth), "dict")

    def _names(self, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for event in self._until(yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key.value, str):
                raise BadYaml(key.line, "a name must be a text")
            if key.value in found:
                raise BadYaml(key.line, f"`{key.value}` stands twice, first on line {found[key.value].line}")
            found[key.value] = self._node(next(self._events), depth + 1)
        return found

    def _until(self, end: type) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield event

    def _refuse_swallowed(self, event: Any) -> None:
        """Raise BadYaml for a text outside of a block over what look like entries: a stray quote or indentation."""
        first, last = event.start_mark.line, event.end_mark.line
        if event.style in ("|", ">") or not any(map(_ENTRY.match, self._lines[first + 1 : last + 1])):
            return
        raise BadYaml(
            first + 1,
            f"a text goes on from here to line {last + 1}, over what look like entries of their own. Close its "
            "quote, or put the entries below one another",
        )


def _check(event: Any, line: int, depth: int) -> None:
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise BadYaml(line, "anchors and aliases (& and *) are not read; write the text out, or in quotes")
    if event.tag is not None and event.tag != "!":
        raise BadYaml(line, f"the tag {event.tag[:80]} is not read; texts, lists and names alone are")
    if depth > _DEEPEST:
        raise BadYaml(line, f"is nested more than {_DEEPEST} deep")


def _kind(event: Any) -> str:
    if not event.implicit[0]:
        return "str"
    kind: str = _RESOLVER.resolve(yaml.ScalarNode, event.value, (True, False)).rpartition(":")[2]
    return "str" if kind in ("merge", "value") else kind
