"""The grammar of a parameters text, as the WebUI's 1.10 release reads it.

The prompt; a line `Negative prompt: ...` unless empty; one last line of `Key: value` items, where a value
with a comma, a colon or a line break is a JSON string. A last line with fewer than three items belongs to
the prompt. Spaces around lines and empty lines before a prompt get lost.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_NEGATIVE = "Negative prompt:"
_FEWEST_ITEMS = 3

# The WebUI's, but for the bound on keys: without it a long line of letters takes quadratic time.
_ITEM = re.compile(r'(\w[\w \-/]{1,99}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


@dataclass(frozen=True)
class Parsed:
    """A text taken apart: its prompts, and the values by key as they stand there, unquoted."""

    prompt: str
    negative_prompt: str
    items: Mapping[str, str]


def parse(text: str) -> Parsed:
    """Take a text apart. Every text has a meaning: what holds no items is all prompt."""
    *lines, last = text.strip().split("\n")
    found = _ITEM.findall(last)
    if len(found) < _FEWEST_ITEMS:
        lines, found = [*lines, last], []
    prompt, negative = _prompts(lines)
    return Parsed(prompt, negative, {key: _unquoted(value) for key, value in found})


def _prompts(lines: Iterable[str]) -> tuple[str, str]:
    prompt: list[str] = []
    negative: list[str] = []
    current = prompt
    for line in map(str.strip, lines):
        if line.startswith(_NEGATIVE):
            current = negative
        current.append(line.removeprefix(_NEGATIVE).strip())
    return "\n".join(prompt).lstrip("\n"), "\n".join(negative).lstrip("\n")


def _unquoted(value: str) -> str:
    """A JSON string's value. What is none stays as it is, and so does one with half of a surrogate pair."""
    if not (value.startswith('"') and value.endswith('"')):
        return value
    try:
        unquoted: str = json.loads(value)
        unquoted.encode()
    except ValueError:
        return value
    return unquoted


def compose(prompt: str, negative_prompt: str, items: Iterable[tuple[str, str]]) -> str:
    """Put a text together from its prompts and its items, the values quoted already."""
    lines = [prompt]
    if negative_prompt:
        lines.append(f"{_NEGATIVE} {negative_prompt}")
    lines.append(", ".join(f"{key}: {value}" for key, value in items))
    return "\n".join(lines).strip()


def quoted(value: str) -> str:
    """A value as the WebUI writes it: as a JSON string where it would not be read back as it is."""
    is_plain = value and value == value.strip() and not value.startswith('"')
    if is_plain and not any(mark in value for mark in ",:\n"):
        return value
    return json.dumps(value, ensure_ascii=False)


def sealed(value: str) -> str:
    """A value as a JSON string without a comma or colon: readers that split at any of these pass over it."""
    return json.dumps(value, ensure_ascii=False).replace(",", "\\u002c").replace(":", "\\u003a")
